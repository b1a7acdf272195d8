//! Groups and their members; who of them is online.
use gochat_proto::repo::v1::{
    AddGroupMemberRequest, AddGroupMemberResponse, CheckGroupMembersRequest, CheckGroupMembersResponse,
    CreateGroupRequest, CreateGroupResponse, GetGroupMembersRequest, GetGroupMembersResponse,
    GetGroupRequest, GetGroupResponse, GetOnlineGroupMembersRequest, GetOnlineGroupMembersResponse, Group,
    GroupType, OnlineMember, RemoveGroupMemberRequest, RemoveGroupMemberResponse,
};

use super::{Service, check};
use crate::store::{MemberSince, Page, Result, refuse, unix_ms};

impl Service {
    pub(crate) async fn create_group(&self, request: CreateGroupRequest) -> Result<CreateGroupResponse> {
        let group = self.ready_to_store(request.group.unwrap_or_default())?;
        check::ids(&request.member_ids, self.limits.group_change_max, "members")?;
        let group =
            self.store.create_group(group, &request.member_ids, self.limits.groups_per_user_max).await?;
        Ok(CreateGroupResponse { group: Some(group) })
    }

    fn ready_to_store(&self, mut group: Group) -> Result<Group> {
        refuse::id(group.group_id, "a group id")?;
        refuse::id(group.owner_id, "an owner's id")?;
        if group.group_name.is_empty() {
            return Err(refuse::invalid("a group has a name"));
        }
        let allowed = self.limits.group_members_max;
        if !(1..=allowed).contains(&group.max_members) {
            return Err(refuse::invalid(format!("a group allows 1 to {allowed} members")));
        }
        if group.group_type() == GroupType::Unspecified {
            group.set_group_type(GroupType::Private);
        }
        if group.created_at_ms == 0 {
            group.created_at_ms = unix_ms();
        }
        Ok(group)
    }

    pub(crate) async fn get_group(&self, request: GetGroupRequest) -> Result<GetGroupResponse> {
        let group = self.store.group(request.group_id).await?;
        Ok(GetGroupResponse { group: Some(group.ok_or_else(refuse::unknown_group)?) })
    }

    pub(crate) async fn add_group_member(
        &self,
        request: AddGroupMemberRequest,
    ) -> Result<AddGroupMemberResponse> {
        check::ids(&request.user_ids, self.limits.group_change_max, "members")?;
        let added = self.store.add_members(&request, unix_ms(), self.limits.groups_per_user_max).await?;
        self.caches.forget_group_members(request.group_id).await;
        Ok(added)
    }

    pub(crate) async fn remove_group_member(
        &self,
        request: RemoveGroupMemberRequest,
    ) -> Result<RemoveGroupMemberResponse> {
        let removed = self.store.remove_member(request.group_id, request.user_id, unix_ms()).await?;
        self.caches.forget_group_members(request.group_id).await;
        Ok(removed)
    }

    pub(crate) async fn get_group_members(
        &self,
        request: GetGroupMembersRequest,
    ) -> Result<GetGroupMembersResponse> {
        let limit = check::page(request.limit, &self.limits);
        // Before the members: a change in between makes the version look older than they are, never newer.
        let (version, _) = self.group_version(request.group_id).await?;
        let page = self.store.members(request.group_id, request.after_user_id, limit).await?;
        Ok(GetGroupMembersResponse { members: page.items, version, has_more: page.has_more })
    }

    pub(crate) async fn check_group_members(
        &self,
        request: CheckGroupMembersRequest,
    ) -> Result<CheckGroupMembersResponse> {
        check::length(request.user_ids.len(), self.limits.lookup_max, "members")?;
        let found = self.store.check_members(request.group_id, &request.user_ids).await?;
        let (member_ids, version) = found.ok_or_else(refuse::unknown_group)?;
        Ok(CheckGroupMembersResponse { member_ids, version })
    }

    pub(crate) async fn get_online_group_members(
        &self,
        request: GetOnlineGroupMembersRequest,
    ) -> Result<GetOnlineGroupMembersResponse> {
        let (group_id, after) = (request.group_id, request.after_user_id);
        let limit = check::page(request.limit, &self.limits);
        let (version, count) = self.group_version(group_id).await?;
        if request.members_max > 0 && count > request.members_max.into() {
            return Ok(GetOnlineGroupMembersResponse { version, member_count: count, ..Default::default() });
        }
        let page = self.members_page(group_id, version, count, after, limit).await?;
        let next_after_user_id = page.items.last().map_or(after, |member| member.user_id);
        let mut members = Vec::new();
        for MemberSince { user_id, joined_seq } in page.items {
            let sessions = self.caches.sessions(user_id, unix_ms()).await?;
            if !sessions.is_empty() {
                members.push(OnlineMember { user_id, joined_seq, sessions });
            }
        }
        Ok(GetOnlineGroupMembersResponse {
            members,
            has_more: page.has_more,
            next_after_user_id,
            version,
            member_count: count,
        })
    }

    async fn group_version(&self, group_id: u64) -> Result<(u64, u64)> {
        self.store.group_version(group_id).await?.ok_or_else(refuse::unknown_group)
    }

    /// A page of members; small groups are kept whole in the cache, as of a version.
    async fn members_page(
        &self,
        group_id: u64,
        version: u64,
        count: u64,
        after: u64,
        limit: u32,
    ) -> Result<Page<MemberSince>> {
        if !self.caches.keeps_members(count) {
            return self.store.members_since(group_id, after, limit).await;
        }
        let members = match self.caches.group_members(group_id, version).await {
            Some(members) => members,
            None => {
                let all =
                    self.store.members_since(group_id, 0, u32::try_from(count).unwrap_or(u32::MAX)).await?;
                if all.has_more {
                    // Somebody joined since the version was read.
                    return self.store.members_since(group_id, after, limit).await;
                }
                self.caches.keep_group_members(group_id, version, &all.items).await;
                all.items
            }
        };
        Ok(Page::cut(members.into_iter().filter(|member| member.user_id > after).collect(), limit))
    }
}
