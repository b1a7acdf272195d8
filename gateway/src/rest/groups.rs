//! /api/groups*

use gochat_infra::errors::Error;
use gochat_proto::{
    logic::v1::{
        AddGroupMembersRequest, CreateGroupRequest, GetGroupMembersRequest, RemoveGroupMemberRequest,
    },
    repo::v1::{GroupMember, GroupRole, GroupType},
};

use super::{Answer, Call, Caller, Work, conversations::cursor_member, invalid, work};
use crate::protocol::json::{self, Object};

/// POST /api/groups
pub(crate) fn create(call: &Call<'_>, caller: Caller<'_>) -> Result<Work, Error> {
    let mut body = call.body()?;
    let group_type = match body.optional_string("groupType")?.as_deref() {
        None | Some("private") => GroupType::Private,
        Some("public") => GroupType::Public,
        Some(_) => return Err(invalid("groupType must be private or public")),
    };
    // To logic, 0 means that nothing was said.
    let max_members = match body.optional_u32("maxMembers")? {
        Some(0) => return Err(invalid("maxMembers must be 1 or more")),
        said => said.unwrap_or(0),
    };
    let request = CreateGroupRequest {
        user_id: caller.sub,
        name: body.string("name")?,
        description: body.optional_string("description")?.unwrap_or_default(),
        member_ids: body.ids("memberIds", call.limits.member_ids_max as usize)?,
        max_members,
        group_type: group_type.into(),
    };
    body.finish()?;
    work(move |mut clients| async move {
        let made = clients.conversations.create_group(request).await?.into_inner();
        Ok(Answer::json(201, |body| {
            body.id("groupId", made.group_id);
            body.str("conversationId", &made.conversation_id);
        }))
    })
}

/// GET /api/groups/:id/members
pub(crate) fn members(call: &Call<'_>, caller: Caller<'_>) -> Result<Work, Error> {
    let mut query = call.query()?;
    let request = GetGroupMembersRequest {
        user_id: caller.sub,
        group_id: call.id(0, "the group id")?,
        cursor: query.take("cursor").unwrap_or_default(),
        limit: query.limit(call.limits.page_default, call.limits.page_max)?,
    };
    query.finish()?;
    work(move |mut clients| async move {
        let page = clients.conversations.get_group_members(request).await?.into_inner();
        Ok(Answer::json(200, |body| {
            body.array("members", &page.members, |out, member| {
                json::object(out, |entry| member_members(entry, member));
            });
            cursor_member(body, &page.next_cursor);
        }))
    })
}

fn member_members(entry: &mut Object<'_>, member: &GroupMember) {
    entry.id("userId", member.user_id);
    entry.str("username", &member.username);
    entry.str("displayName", &member.display_name);
    let role = match member.role() {
        GroupRole::Owner => "owner",
        GroupRole::Member | GroupRole::Unspecified => "member",
    };
    entry.str("role", role);
    entry.time("joinedAt", member.joined_at_ms);
}

/// POST /api/groups/:id/members
pub(crate) fn add_members(call: &Call<'_>, caller: Caller<'_>) -> Result<Work, Error> {
    let mut body = call.body()?;
    let request = AddGroupMembersRequest {
        user_id: caller.sub,
        group_id: call.id(0, "the group id")?,
        member_ids: body.ids("userIds", call.limits.member_ids_max as usize)?,
    };
    body.finish()?;
    if request.member_ids.is_empty() {
        return Err(invalid("userIds must list at least one id"));
    }
    work(move |mut clients| async move {
        clients.conversations.add_group_members(request).await?;
        Ok(Answer::empty())
    })
}

/// DELETE /api/groups/:id/members/:userId
pub(crate) fn remove_member(call: &Call<'_>, caller: Caller<'_>) -> Result<Work, Error> {
    call.query()?.finish()?;
    let request = RemoveGroupMemberRequest {
        user_id: caller.sub,
        group_id: call.id(0, "the group id")?,
        member_id: call.id(1, "the user id")?,
    };
    work(move |mut clients| async move {
        clients.conversations.remove_group_member(request).await?;
        Ok(Answer::empty())
    })
}
