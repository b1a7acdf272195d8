//! Which gateways hold the connections of a user or of a group's members, cached for two seconds at most.
mod cache;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gochat_infra::errors::Error;
use gochat_infra::registry::{Instance, Registry};
use gochat_infra::rpc;
use gochat_infra::telemetry::{TROUBLE_LINE_PERIOD, Trouble};
use gochat_proto::common::v1::Session;
use gochat_proto::repo::v1::group_repo_client::GroupRepoClient;
use gochat_proto::repo::v1::user_repo_client::UserRepoClient;
use gochat_proto::repo::v1::{GetOnlineGroupMembersRequest, GetUserSessionsRequest};
use gochat_proto::topics::SERVICE_GATEWAY;

use self::cache::Cache;
use crate::config::RoutesConfig;

/// Users or members asked for in one call.
const PAGE: usize = 1000;

/// Of finding out where receivers are.
pub(crate) static UNREADABLE: Trouble = Trouble::new(TROUBLE_LINE_PERIOD);

/// One run of a gateway and the partition that it reads.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Gateway {
    pub instance: String,
    pub slot: u32,
}

/// The gateways where a user is connected; empty when he is offline.
pub(crate) type UserRoute = Arc<[Arc<Gateway>]>;

/// The online members of a group.
#[derive(Debug)]
pub(crate) struct OnlineMembers {
    /// Membership version that the list was read at: good for messages saved at this version or before.
    pub version: u64,
    pub gateways: Vec<(Arc<Gateway>, Vec<Member>)>,
    /// Too many to be listed: `gateways` is empty.
    large: bool,
}

/// How a group's messages reach its members.
#[derive(Clone, Debug)]
pub(crate) enum GroupRoute {
    Small(Arc<OnlineMembers>),
    /// More members than may be listed here: bringing it to them is a task.
    Large,
}

/// A member who is online.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub user_id: u64,
    /// He gets messages with a higher seq.
    pub joined_seq: u64,
}

impl OnlineMembers {
    fn route(self: Arc<Self>) -> GroupRoute {
        if self.large { GroupRoute::Large } else { GroupRoute::Small(self) }
    }

    fn entries(&self) -> usize {
        // One for the list itself, so that many empty groups are bounded too.
        1 + self.gateways.iter().map(|(_, members)| members.len()).sum::<usize>()
    }
}

/// Finds routes. Shared by the pipeline and the services.
pub(crate) struct Routes {
    users: UserRepoClient<rpc::Client>,
    groups: GroupRepoClient<rpc::Client>,
    registry: Registry,
    ttl: Duration,
    listed_max: u32,
    cache: Mutex<Cache>,
    known: Mutex<Known>,
}

/// The live gateways, by instance; rebuilt when the registry has another list.
struct Known {
    listed: Arc<[Instance]>,
    gateways: Arc<HashMap<String, Arc<Gateway>>>,
}

impl Routes {
    pub(crate) fn new(config: &RoutesConfig, repo: &rpc::Client, registry: Registry) -> Self {
        let listed = registry.instances(SERVICE_GATEWAY);
        let known = Known { gateways: index(&listed), listed };
        Self {
            users: UserRepoClient::new(repo.clone()),
            groups: GroupRepoClient::new(repo.clone()),
            registry,
            ttl: Duration::from_millis(config.cache_ms),
            listed_max: config.fan_out_members_min,
            cache: Mutex::new(Cache::new(config.cached_users, config.cached_group_members)),
            known: Mutex::new(known),
        }
    }

    /// Every live gateway.
    pub(crate) fn gateways(&self) -> Arc<HashMap<String, Arc<Gateway>>> {
        let listed = self.registry.instances(SERVICE_GATEWAY);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&listed, &known.listed) {
            *known = Known { gateways: index(&listed), listed };
        }
        known.gateways.clone()
    }

    /// Routes of all `users`, each of them in the answer.
    pub(crate) async fn of_users(&self, users: &HashSet<u64>) -> Result<HashMap<u64, UserRoute>, Error> {
        let mut routes = HashMap::with_capacity(users.len());
        let mut missing = Vec::new();
        {
            let now = Instant::now();
            let cache = self.cache();
            for user in users {
                match cache.user(*user, now) {
                    Some(route) => drop(routes.insert(*user, route)),
                    None => missing.push(*user),
                }
            }
        }
        for page in missing.chunks(PAGE) {
            // The age of a route counts from before it was read.
            let read_at = Instant::now();
            let request = GetUserSessionsRequest { user_ids: page.to_vec() };
            let sessions = self.users.clone().get_user_sessions(request).await?.into_inner().sessions;
            readable_again();
            let online = self.group_by_user(&sessions);
            let mut cache = self.cache();
            for user in page {
                let route: UserRoute =
                    online.get(user).map_or_else(|| Arc::from([]), |list| list.as_slice().into());
                cache.put_user(*user, route.clone(), read_at + self.ttl);
                routes.insert(*user, route);
            }
        }
        Ok(routes)
    }

    /// The online members of a group as of membership version `version` or a later one, or that it is large.
    pub(crate) async fn of_group(&self, group_id: u64, version: u64) -> Result<GroupRoute, Error> {
        let cached = self.cache().group(group_id, Instant::now());
        if let Some(list) = cached.filter(|list| list.version >= version) {
            return Ok(list.route());
        }
        let read_at = Instant::now();
        let list = Arc::new(self.read_group(group_id).await?);
        readable_again();
        self.cache().put_group(group_id, list.clone(), list.entries(), read_at + self.ttl);
        Ok(list.route())
    }

    /// Their sessions have just changed.
    pub(crate) fn forget_users(&self, users: impl IntoIterator<Item = u64>) {
        self.cache().forget_users(users);
    }

    /// Its members have just changed.
    pub(crate) fn forget_group(&self, group_id: u64) {
        self.cache().forget_group(group_id);
    }

    async fn read_group(&self, group_id: u64) -> Result<OnlineMembers, Error> {
        let mut groups = self.groups.clone();
        let (mut version, mut large) = (None, false);
        let mut gateways: HashMap<Arc<Gateway>, Vec<Member>> = HashMap::new();
        let mut after_user_id = 0;
        loop {
            let request = GetOnlineGroupMembersRequest {
                group_id,
                after_user_id,
                limit: PAGE as u32,
                members_max: self.listed_max,
            };
            let page = groups.get_online_group_members(request).await?.into_inner();
            // The first page's: a list over several versions is good for the oldest of them.
            version.get_or_insert(page.version);
            if page.member_count > self.listed_max.into() {
                // Also when it grew between two pages.
                (large, gateways) = (true, HashMap::new());
                break;
            }
            for online in &page.members {
                let member = Member { user_id: online.user_id, joined_seq: online.joined_seq };
                for gateway in self.live(&online.sessions) {
                    gateways.entry(gateway).or_default().push(member);
                }
            }
            if !page.has_more || page.next_after_user_id <= after_user_id {
                break;
            }
            after_user_id = page.next_after_user_id;
        }
        let gateways = gateways.into_iter().collect();
        Ok(OnlineMembers { version: version.unwrap_or(0), gateways, large })
    }

    fn group_by_user(&self, sessions: &[Session]) -> HashMap<u64, Vec<Arc<Gateway>>> {
        let live = self.gateways();
        let now_ms = crate::pipeline::unix_ms();
        let mut online: HashMap<u64, Vec<Arc<Gateway>>> = HashMap::with_capacity(sessions.len());
        for session in sessions {
            if let Some(gateway) = live_gateway(session, &live, now_ms) {
                let list = online.entry(session.user_id).or_default();
                if !list.contains(gateway) {
                    list.push(gateway.clone());
                }
            }
        }
        online
    }

    /// The distinct live gateways of one user's sessions.
    fn live(&self, sessions: &[Session]) -> Vec<Arc<Gateway>> {
        let live = self.gateways();
        let now_ms = crate::pipeline::unix_ms();
        let mut gateways: Vec<Arc<Gateway>> = Vec::new();
        for gateway in sessions.iter().filter_map(|session| live_gateway(session, &live, now_ms)) {
            if !gateways.contains(gateway) {
                gateways.push(gateway.clone());
            }
        }
        gateways
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sessions that ended without a word are expired, or belong to a gateway that is gone.
fn live_gateway<'a>(
    session: &Session,
    live: &'a HashMap<String, Arc<Gateway>>,
    now_ms: i64,
) -> Option<&'a Arc<Gateway>> {
    if session.expires_at_ms <= now_ms {
        return None;
    }
    live.get(&session.gateway_instance)
}

fn readable_again() {
    if let Some(left_out) = UNREADABLE.over() {
        tracing::info!(left_out, "receivers are known again");
    }
}

fn index(listed: &[Instance]) -> Arc<HashMap<String, Arc<Gateway>>> {
    let gateway = |instance: &Instance| {
        let gateway = Gateway { instance: instance.instance_id.clone(), slot: instance.slot };
        (instance.instance_id.clone(), Arc::new(gateway))
    };
    Arc::new(listed.iter().map(gateway).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_leads_to_a_gateway_until_it_expires() {
        let listed = Instance {
            service: SERVICE_GATEWAY.into(),
            instance_id: "g0".into(),
            slot: 3,
            address: String::new(),
        };
        let live = index(&[listed]);
        let check = |gateway: &str, expires_at_ms: i64, expect: Option<u32>| {
            let session = Session { gateway_instance: gateway.into(), expires_at_ms, ..Session::default() };
            let found = live_gateway(&session, &live, 1000).map(|gateway| gateway.slot);
            assert_eq!(found, expect, "{gateway} until {expires_at_ms}");
        };
        check("g0", 1001, Some(3));
        check("g0", i64::MAX, Some(3));
        for expired in [1000, 999, 0, -1] {
            check("g0", expired, None);
        }
        check("g1", 1001, None);
    }
}
