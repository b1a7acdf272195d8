//! /api/users*

use gochat_infra::errors::Error;
use gochat_proto::logic::v1::{FindUserRequest, GetMeRequest, GetProfilesRequest, Profile, UpdateMeRequest};

use super::{Answer, Call, Caller, Work, invalid, work};
use crate::protocol::json::{self, Object};

/// GET /api/users/me
pub(crate) fn me(call: &Call<'_>, caller: Caller<'_>) -> Result<Work, Error> {
    call.query()?.finish()?;
    let request = GetMeRequest { user_id: caller.sub };
    work(move |mut clients| async move {
        let profile = clients.users.get_me(request).await?.into_inner();
        Ok(own(&profile))
    })
}

/// PATCH /api/users/me
pub(crate) fn update_me(call: &Call<'_>, caller: Caller<'_>) -> Result<Work, Error> {
    let mut body = call.body()?;
    let request = UpdateMeRequest {
        user_id: caller.sub,
        display_name: body.optional_string("displayName")?,
        avatar_url: body.optional_string("avatarUrl")?,
    };
    body.finish()?;
    work(move |mut clients| async move {
        let profile = clients.users.update_me(request).await?.into_inner();
        Ok(own(&profile))
    })
}

/// GET /api/users?username= · GET /api/users?ids=
pub(crate) fn find(call: &Call<'_>, _caller: Caller<'_>) -> Result<Work, Error> {
    let mut query = call.query()?;
    let username = query.take("username");
    let user_ids = query.ids("ids", call.limits.profiles_max as usize)?;
    query.finish()?;
    match (username, user_ids) {
        (Some(username), None) => {
            let request = FindUserRequest { username };
            work(move |mut clients| async move {
                let profile = clients.users.find_user(request).await?.into_inner();
                Ok(Answer::json(200, |body| public_members(body, &profile)))
            })
        }
        (None, Some(user_ids)) => {
            let request = GetProfilesRequest { user_ids };
            work(move |mut clients| async move {
                let found = clients.users.get_profiles(request).await?.into_inner().profiles;
                Ok(Answer::json(200, |body| {
                    body.array("users", &found, |out, profile| {
                        json::object(out, |user| public_members(user, profile));
                    });
                }))
            })
        }
        _ => Err(invalid("the query must have either username or ids")),
    }
}

fn public_members(user: &mut Object<'_>, profile: &Profile) {
    user.id("userId", profile.user_id);
    user.str("username", &profile.username);
    user.str("displayName", &profile.display_name);
    user.str("avatarUrl", &profile.avatar_url);
}

fn own(profile: &Profile) -> Answer {
    Answer::json(200, |body| {
        body.id("userId", profile.user_id);
        body.str("username", &profile.username);
        body.str("email", &profile.email);
        body.str("displayName", &profile.display_name);
        body.str("avatarUrl", &profile.avatar_url);
        body.time("createdAt", profile.created_at_ms);
    })
}
