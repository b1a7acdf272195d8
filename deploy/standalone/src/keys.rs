//! The change of the keys that sign access tokens, while everybody stays signed in.
use std::time::{SystemTime, UNIX_EPOCH};

use gochat_infra::errors::Error;
use gochat_infra::token::{RotateError, TokenKeys};
use gochat_proto::admin::v1::key_service_server::KeyService;
use gochat_proto::admin::v1::{RotateKeysRequest, RotateKeysResponse};
use tonic::{Request, Response, Status};

/// KeyService of a running server.
pub(crate) struct Keys {
    pub(crate) keys: TokenKeys,
    /// How long a token may be good after it was signed, in milliseconds.
    pub(crate) token_life_ms: u64,
}

#[tonic::async_trait]
impl KeyService for Keys {
    async fn rotate_keys(
        &self,
        request: Request<RotateKeysRequest>,
    ) -> Result<Response<RotateKeysResponse>, Status> {
        let force = request.into_inner().force;
        let (keys, life_ms) = (self.keys.clone(), self.token_life_ms);
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        // Waits for the disk.
        let rotated = tokio::task::spawn_blocking(move || keys.rotate(life_ms, force, now_ms)).await;
        let rotated = rotated.map_err(Error::internal)?.map_err(|error| match error {
            RotateError::InUse { .. } => Error::invalid(error.to_string()),
            RotateError::File(_) => Error::internal(error),
        })?;
        tracing::info!(
            signs = rotated.signs,
            verifies = rotated.verifies,
            dropped = rotated.dropped.as_deref().unwrap_or("none"),
            "keys rotated"
        );
        Ok(Response::new(RotateKeysResponse {
            signs_kid: rotated.signs,
            verifies_kid: rotated.verifies,
            dropped_kid: rotated.dropped,
        }))
    }
}
