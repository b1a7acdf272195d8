//! Brings a stored message to the members of a large group who are online: page by page of members, one record for
//! each gateway and page. Where it stands is stored every few pages, so that it goes on there after a crash: the pages
//! behind are sent again, and clients drop what they have. Stored behind each page, a fan-out took twice as long.
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use gochat_infra::errors::Error;
use gochat_infra::mq::{Outgoing, SendError, Target};
use gochat_infra::registry::Instance;
use gochat_infra::rpc;
use gochat_proto::downstream::{Audience, delivery, message};
use gochat_proto::queue::v1::FanOutGroup;
use gochat_proto::repo::v1::group_repo_client::GroupRepoClient;
use gochat_proto::repo::v1::task_repo_client::TaskRepoClient;
use gochat_proto::repo::v1::{
    DeleteTaskCursorRequest, GetOnlineGroupMembersRequest, GetTaskCursorRequest, OnlineMember,
    SetTaskCursorRequest,
};
use gochat_proto::topics;

use super::{Tools, Turn};

/// A fan-out under way; a turn is one page.
pub(crate) struct FanOut {
    task_id: String,
    group_id: u64,
    seq_id: u64,
    /// Encoded once for all gateways and pages.
    message: Bytes,
    /// Members up to this id have it; `None` until the store was asked.
    after_user_id: Option<u64>,
    /// Pages sent since the store was told.
    pages_ahead: u32,
    /// The store may hold a cursor of this task.
    has_cursor: bool,
    tools: Arc<Tools>,
}

/// Why a page is not done.
enum Failure {
    Call(Error),
    Send(SendError),
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        Failure::Call(Error::from(status))
    }
}

impl FanOut {
    pub(super) fn open(task_id: String, body: FanOutGroup, tools: Arc<Tools>) -> Result<Self, String> {
        let Some(stored) = body.message else { return Err("a fan-out without a message".into()) };
        if task_id.is_empty() || stored.seq_id == 0 {
            return Err("a fan-out without a task id, or of a message that was never stored".into());
        }
        Ok(Self {
            task_id,
            group_id: body.group_id,
            seq_id: stored.seq_id,
            message: message(&stored),
            after_user_id: None,
            pages_ahead: 0,
            has_cursor: false,
            tools,
        })
    }

    pub(super) async fn turn(&mut self) -> Turn {
        match self.page().await {
            Ok(true) => Turn::More,
            Ok(false) => Turn::Done,
            Err(Failure::Call(error)) => Turn::failed(error),
            Err(Failure::Send(error)) => Turn::Retry(error.to_string()),
        }
    }

    /// True when more members follow.
    async fn page(&mut self) -> Result<bool, Failure> {
        let after_user_id = match self.after_user_id {
            Some(after) => after,
            None => self.stored_cursor().await?,
        };
        self.after_user_id = Some(after_user_id);
        let mut groups = GroupRepoClient::new(self.repo());
        let request = GetOnlineGroupMembersRequest {
            group_id: self.group_id,
            after_user_id,
            limit: self.tools.config.fan_out_page_members,
            members_max: 0,
        };
        let page = groups.get_online_group_members(request).await?.into_inner();
        self.deliver(&page.members).await.map_err(Failure::Send)?;
        let task_id = self.task_id.clone();
        if page.has_more && page.next_after_user_id > after_user_id {
            if self.pages_ahead + 1 >= self.tools.config.fan_out_cursor_every_pages {
                self.has_cursor = true;
                let request = SetTaskCursorRequest { task_id, cursor: page.next_after_user_id };
                TaskRepoClient::new(self.repo()).set_task_cursor(request).await?;
                self.pages_ahead = 0;
            } else {
                self.pages_ahead += 1;
            }
            self.after_user_id = Some(page.next_after_user_id);
            return Ok(true);
        }
        if self.has_cursor {
            TaskRepoClient::new(self.repo()).delete_task_cursor(DeleteTaskCursorRequest { task_id }).await?;
        }
        Ok(false)
    }

    async fn stored_cursor(&mut self) -> Result<u64, Failure> {
        let request = GetTaskCursorRequest { task_id: self.task_id.clone() };
        let cursor = TaskRepoClient::new(self.repo()).get_task_cursor(request).await?.into_inner().cursor;
        self.has_cursor = cursor.is_some();
        Ok(cursor.unwrap_or(0))
    }

    /// Sends the message to those of a page who joined before it, each gateway's in one record.
    async fn deliver(&self, members: &[OnlineMember]) -> Result<(), SendError> {
        let gateways = self.tools.registry.instances(topics::SERVICE_GATEWAY);
        let members = members.iter().filter(|member| member.joined_seq < self.seq_id);
        for (gateway, users) in by_gateway(members, &gateways, crate::unix_ms()) {
            let record = Outgoing {
                topic: topics::DOWNSTREAM,
                target: Target::Partition(gateway.slot),
                key: Bytes::new(),
                value: delivery(&gateway.instance_id, &self.message, Audience::Crowd(&users)),
            };
            self.tools.producer.send_wait(record).await?;
        }
        Ok(())
    }

    fn repo(&self) -> rpc::Client {
        self.tools.repo.clone()
    }
}

/// The live gateways of these members' sessions, each with its users. Sessions that ended without a word are expired,
/// or belong to a gateway that is gone.
fn by_gateway<'a>(
    members: impl Iterator<Item = &'a OnlineMember>,
    gateways: &[Instance],
    now_ms: i64,
) -> Vec<(&Instance, Vec<u64>)> {
    let by_id: HashMap<&str, usize> =
        gateways.iter().enumerate().map(|(i, gateway)| (gateway.instance_id.as_str(), i)).collect();
    let mut users: Vec<Vec<u64>> = vec![Vec::new(); gateways.len()];
    for member in members {
        let live = member.sessions.iter().filter(|session| session.expires_at_ms > now_ms);
        for index in live.filter_map(|session| by_id.get(session.gateway_instance.as_str())) {
            // Several devices on one gateway: he is named once.
            if users[*index].last() != Some(&member.user_id) {
                users[*index].push(member.user_id);
            }
        }
    }
    gateways.iter().zip(users).filter(|(_, users)| !users.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use gochat_proto::common::v1::Session;

    use super::*;

    #[test]
    fn a_member_is_told_where_his_sessions_have_not_expired() {
        let gateways = ["g0", "g1"].map(|id| Instance {
            service: topics::SERVICE_GATEWAY.into(),
            instance_id: id.into(),
            slot: 0,
            address: String::new(),
        });
        let member = |user_id: u64, sessions: &[(&str, i64)]| {
            let session = |(gateway, expires_at_ms): &(&str, i64)| Session {
                gateway_instance: (*gateway).into(),
                expires_at_ms: *expires_at_ms,
                ..Session::default()
            };
            OnlineMember { user_id, joined_seq: 0, sessions: sessions.iter().map(session).collect() }
        };
        let members = [
            member(1, &[("g0", 1001), ("g0", 2000), ("g1", 1000)]),
            member(2, &[("g0", 999), ("g1", 1001)]),
            member(3, &[("g0", 1000), ("g1", 0)]),
            member(4, &[("gone", 2000)]),
        ];
        let found = by_gateway(members.iter(), &gateways, 1000);
        let found: Vec<_> =
            found.iter().map(|(gateway, users)| (&gateway.instance_id[..], &users[..])).collect();
        assert_eq!(found, [("g0", &[1][..]), ("g1", &[2][..])]);
        assert!(by_gateway(members.iter(), &gateways, 2000).is_empty(), "all are over");
    }
}
