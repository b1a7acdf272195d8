//! /api/auth/*

use gochat_infra::errors::Error;
use gochat_proto::logic::v1::{
    ChangePasswordRequest, LoginRequest, LoginResponse, LogoutRequest, RefreshTokenRequest, RegisterRequest,
};

use super::{Answer, Call, Caller, Work, work};

/// POST /api/auth/register
pub(crate) fn register(call: &Call<'_>) -> Result<Work, Error> {
    let mut body = call.body()?;
    let request = RegisterRequest {
        username: body.string("username")?,
        email: body.string("email")?,
        password: body.string("password")?,
        display_name: body.optional_string("displayName")?.unwrap_or_default(),
        peer_ip: call.peer_ip(),
    };
    body.finish()?;
    work(move |mut clients| async move {
        let made = Box::pin(clients.auth.register(request)).await?.into_inner();
        Ok(Answer::json(201, |body| body.id("userId", made.user_id)))
    })
}

/// POST /api/auth/login
pub(crate) fn login(call: &Call<'_>) -> Result<Work, Error> {
    let mut body = call.body()?;
    let request = LoginRequest {
        username: body.string("username")?,
        password: body.string("password")?,
        device_id: body.optional_string("deviceId")?.unwrap_or_default(),
        device_name: body.optional_string("deviceName")?.unwrap_or_default(),
        peer_ip: call.peer_ip(),
    };
    body.finish()?;
    work(move |mut clients| async move {
        let tokens = Box::pin(clients.auth.login(request)).await?.into_inner();
        Ok(logged_in(&tokens))
    })
}

/// POST /api/auth/refresh
pub(crate) fn refresh(call: &Call<'_>) -> Result<Work, Error> {
    let mut body = call.body()?;
    let request = RefreshTokenRequest { refresh_token: body.string("refreshToken")? };
    body.finish()?;
    work(move |mut clients| async move {
        let tokens = clients.auth.refresh_token(request).await?.into_inner();
        Ok(logged_in(&tokens))
    })
}

fn logged_in(tokens: &LoginResponse) -> Answer {
    Answer::json(200, |body| {
        body.id("userId", tokens.user_id);
        body.str("deviceId", &tokens.device_id);
        body.str("accessToken", &tokens.access_token);
        body.str("refreshToken", &tokens.refresh_token);
        body.u64("expiresIn", tokens.expires_in.into());
    })
}

/// POST /api/auth/logout
pub(crate) fn logout(call: &Call<'_>, caller: Caller<'_>) -> Result<Work, Error> {
    let mut body = call.optional_body()?;
    let request = LogoutRequest {
        user_id: caller.sub,
        device_id: caller.device.clone(),
        refresh_token: body.optional_string("refreshToken")?.unwrap_or_default(),
    };
    body.finish()?;
    work(move |mut clients| async move {
        clients.auth.logout(request).await?;
        Ok(Answer::empty())
    })
}

/// POST /api/users/me/password
pub(crate) fn change_password(call: &Call<'_>, caller: Caller<'_>) -> Result<Work, Error> {
    let mut body = call.body()?;
    let request = ChangePasswordRequest {
        user_id: caller.sub,
        old_password: body.string("old")?,
        new_password: body.string("new")?,
    };
    body.finish()?;
    work(move |mut clients| async move {
        clients.auth.change_password(request).await?;
        Ok(Answer::empty())
    })
}
