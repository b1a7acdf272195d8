//! `group_members:{group_id}`: who is in a small group, at a version. The reader compares the version with the
//! group's, so an old entry is never used, whether or not its removal went through.
use std::time::Duration;

use prost::Message as _;

use super::Caches;
use crate::metrics::{CacheKind, Looked};
use crate::store::MemberSince;

/// Kept as protobuf: two packed lists are a quarter of the JSON.
#[derive(Clone, PartialEq, prost::Message)]
struct Entry {
    #[prost(uint64, tag = "1")]
    version: u64,
    #[prost(uint64, repeated, tag = "2")]
    user_ids: Vec<u64>,
    #[prost(uint64, repeated, tag = "3")]
    joined_seqs: Vec<u64>,
}

fn key(group_id: u64) -> String {
    format!("group_members:{group_id}")
}

impl Caches {
    /// Whether a group of this size is kept.
    pub(crate) fn keeps_members(&self, count: u64) -> bool {
        count <= self.config.group_members_cached_max as u64
    }

    /// All members by user id, if they are kept as of this version.
    pub(crate) async fn group_members(&self, group_id: u64, version: u64) -> Option<Vec<MemberSince>> {
        let found = self.readable(CacheKind::GroupMembers, self.cache.get(&key(group_id)).await)?;
        let entry = found.and_then(|value| {
            Entry::decode(value).inspect_err(|_| self.metrics.cache_unreadable(CacheKind::GroupMembers)).ok()
        });
        let current = entry.filter(|entry| entry.version == version);
        let looked = if current.is_some() { Looked::Hit } else { Looked::Miss };
        self.metrics.cache_read(CacheKind::GroupMembers, looked, 1);
        let Entry { user_ids, joined_seqs, .. } = current?;
        let members = user_ids.into_iter().zip(joined_seqs);
        Some(members.map(|(user_id, joined_seq)| MemberSince { user_id, joined_seq }).collect())
    }

    /// Keeps all members of a group. The version must have been read before the members: the entry is then
    /// at worst taken for older than it is.
    pub(crate) async fn keep_group_members(&self, group_id: u64, version: u64, members: &[MemberSince]) {
        let entry = Entry {
            version,
            user_ids: members.iter().map(|member| member.user_id).collect(),
            joined_seqs: members.iter().map(|member| member.joined_seq).collect(),
        };
        let ttl = Duration::from_secs(self.config.group_members_ttl_s);
        let set = self.cache.set(&key(group_id), entry.encode_to_vec().into(), ttl).await;
        self.written(CacheKind::GroupMembers, set);
    }

    /// Makes room: the entry would not be used any more.
    pub(crate) async fn forget_group_members(&self, group_id: u64) {
        self.written(CacheKind::GroupMembers, self.cache.del(&key(group_id)).await);
    }
}
