//! Groups and their members.
use std::collections::HashSet;

use gochat_infra::errors::{Code, Error};
use gochat_proto::logic::v1::{
    AddGroupMembersRequest, CreateGroupRequest, CreateGroupResponse, GetGroupMembersRequest,
    GetGroupMembersResponse, RemoveGroupMemberRequest,
};
use gochat_proto::queue::v1::group_event::Kind;
use gochat_proto::repo::v1 as repo;

use super::conversations::Conversations;
use super::{notify, present};
use crate::domain::conversation::Conversation;
use crate::domain::group::{Refused, may_add, may_remove};
use crate::domain::{Invalid, fields, page};
use crate::pipeline::unix_ms;

/// Ids that are drawn for one group when the store says that an id exists.
const ID_ATTEMPTS: u32 = 3;

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Error::new(Code::PermissionDenied, refused.0)
    }
}

impl Conversations {
    pub(super) async fn create_group(&self, asked: CreateGroupRequest) -> Result<CreateGroupResponse, Error> {
        fields::group_name(&asked.name)?;
        fields::description(&asked.description)?;
        let mut members = self.distinct_users("memberIds", &asked.member_ids)?;
        members.remove(&asked.user_id);
        let max_members = self.group_size(asked.max_members, members.len() as u64 + 1)?;
        let group_type = match asked.group_type() {
            repo::GroupType::Unspecified => repo::GroupType::Private,
            chosen => chosen,
        };
        let mut group = repo::Group {
            group_name: asked.name,
            description: asked.description,
            owner_id: asked.user_id,
            max_members,
            group_type: group_type.into(),
            created_at_ms: unix_ms(),
            ..repo::Group::default()
        };
        let member_ids: Vec<u64> = members.iter().copied().collect();
        let mut attempt = 0;
        let made = loop {
            attempt += 1;
            group.group_id = self.ids.next().map_err(super::no_id)?;
            let request =
                repo::CreateGroupRequest { group: Some(group.clone()), member_ids: member_ids.clone() };
            match self.groups.clone().create_group(request).await.map_err(Error::from) {
                Ok(made) => break made.into_inner(),
                Err(error) if error.code == Code::StaleData && attempt < ID_ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        };
        let version = present(made.group, "group")?.version;
        members.insert(asked.user_id);
        self.events.group(Kind::Created, group.group_id, version, members.iter().copied().collect());
        notify::joined(&self.downstream, group.group_id, version, &members).await;
        let conversation_id = Conversation::Group(group.group_id).to_string();
        Ok(CreateGroupResponse { group_id: group.group_id, conversation_id })
    }

    pub(super) async fn group_members(
        &self,
        asked: GetGroupMembersRequest,
    ) -> Result<GetGroupMembersResponse, Error> {
        let group_id = valid_group(asked.group_id)?;
        let after_user_id = page::decode_member(&asked.cursor)?;
        let limit = self.page_limit(asked.limit);
        let check = repo::CheckGroupMembersRequest { group_id, user_ids: vec![asked.user_id] };
        let checked = self.groups.clone().check_group_members(check).await?.into_inner();
        if checked.member_ids.is_empty() {
            return Err(Refused("Only members may see who is in this group.").into());
        }
        let request = repo::GetGroupMembersRequest { group_id, after_user_id, limit };
        let found = self.groups.clone().get_group_members(request).await?.into_inner();
        let next_cursor = match found.members.last() {
            Some(last) if found.has_more => page::encode_member(last.user_id),
            _ => String::new(),
        };
        Ok(GetGroupMembersResponse { members: found.members, next_cursor })
    }

    pub(super) async fn add_members(&self, asked: AddGroupMembersRequest) -> Result<(), Error> {
        let group_id = valid_group(asked.group_id)?;
        let users = self.distinct_users("userIds", &asked.member_ids)?;
        if users.is_empty() {
            return Err(Invalid::new("userIds", "Please name at least one user.").into());
        }
        let user_ids: Vec<u64> = users.into_iter().collect();
        may_add(&self.group(group_id).await?, asked.user_id, &user_ids)?;
        let request = repo::AddGroupMemberRequest { group_id, user_ids };
        let added = self.groups.clone().add_group_member(request).await?.into_inner();
        if !added.added_user_ids.is_empty() {
            self.downstream.routes().forget_group(group_id);
            let new: HashSet<u64> = added.added_user_ids.iter().copied().collect();
            self.events.group(Kind::Joined, group_id, added.version, added.added_user_ids);
            notify::joined(&self.downstream, group_id, added.version, &new).await;
        }
        Ok(())
    }

    pub(super) async fn remove_member(&self, asked: RemoveGroupMemberRequest) -> Result<(), Error> {
        let group_id = valid_group(asked.group_id)?;
        may_remove(&self.group(group_id).await?, asked.user_id, asked.member_id)?;
        let request = repo::RemoveGroupMemberRequest { group_id, user_id: asked.member_id };
        let removed = self.groups.clone().remove_group_member(request).await?.into_inner();
        if removed.removed {
            self.downstream.routes().forget_group(group_id);
            self.events.group(Kind::Left, group_id, removed.version, vec![asked.member_id]);
            notify::left(&self.downstream, group_id, removed.version, asked.member_id).await;
        }
        Ok(())
    }

    async fn group(&self, group_id: u64) -> Result<repo::Group, Error> {
        let found = self.groups.clone().get_group(repo::GetGroupRequest { group_id }).await?;
        present(found.into_inner().group, "group")
    }

    fn distinct_users(&self, field: &'static str, ids: &[u64]) -> Result<HashSet<u64>, Error> {
        let max = self.limits.users_per_request;
        if ids.len() > max {
            let reason = format!("At most {max} users may be named at once; more can be added afterwards.");
            return Err(Invalid::new(field, reason).into());
        }
        if ids.iter().any(|id| !(1..=i64::MAX as u64).contains(id)) {
            return Err(Invalid::new(field, "One of these is not a user id.").into());
        }
        Ok(ids.iter().copied().collect())
    }

    fn group_size(&self, asked: u32, members: u64) -> Result<u32, Error> {
        let most = self.limits.group_members_max;
        let size = if asked == 0 { self.limits.group_members_default.min(most) } else { asked };
        if size > most {
            return Err(
                Invalid::new("maxMembers", format!("A group may have {most} members at most.")).into()
            );
        }
        if members > u64::from(size) {
            let reason = format!("This group may have {size} members, and {members} are named.");
            return Err(Error::new(Code::GroupFull, reason));
        }
        Ok(size)
    }
}

fn valid_group(group_id: u64) -> Result<u64, Error> {
    match (1..=i64::MAX as u64).contains(&group_id) {
        true => Ok(group_id),
        false => Err(Error::new(Code::GroupNotFound, "This group does not exist.")),
    }
}
