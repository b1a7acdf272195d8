//! Accounts as a gateway's REST calls them.
use gochat_infra::errors::{Code, Error};
use gochat_proto::logic::v1::{LoginRequest, LoginResponse, RefreshTokenRequest, RegisterRequest};
use tonic::Status;

use super::Running;

pub(crate) fn code(status: Status) -> Code {
    let error = Error::from(status);
    assert!(!error.message.is_empty());
    error.code
}

pub(crate) async fn register(running: &Running, username: &str) -> Result<u64, Status> {
    let request = RegisterRequest {
        username: username.into(),
        email: format!("{username}@example.org"),
        password: "correct horse".into(),
        ..RegisterRequest::default()
    };
    running.auth().register(request).await.map(|answer| answer.into_inner().user_id)
}

pub(crate) async fn login(
    running: &Running,
    username: &str,
    password: &str,
) -> Result<LoginResponse, Status> {
    let request = LoginRequest { username: username.into(), password: password.into(), ..Default::default() };
    running.auth().login(request).await.map(tonic::Response::into_inner)
}

pub(crate) async fn refresh(running: &Running, token: &str) -> Result<LoginResponse, Status> {
    let request = RefreshTokenRequest { refresh_token: token.into() };
    running.auth().refresh_token(request).await.map(tonic::Response::into_inner)
}

/// A right login of this device.
pub(crate) async fn login_on(running: &Running, username: &str, device_id: &str) -> LoginResponse {
    let request = LoginRequest {
        username: username.into(),
        password: "correct horse".into(),
        device_id: device_id.into(),
        ..Default::default()
    };
    running.auth().login(request).await.unwrap().into_inner()
}
