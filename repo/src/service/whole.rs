//! What an operator does to the store as a whole.
use std::path::PathBuf;

use gochat_proto::repo::v1::{CopyStoreRequest, CopyStoreResponse};

use super::{Service, Shared};
use crate::store::{Result, refuse};

impl Service {
    /// Goes on in a task of its own when the caller gives up, so that no half-made copy stays behind.
    pub(crate) async fn copy_store(self: &Shared, request: CopyStoreRequest) -> Result<CopyStoreResponse> {
        let path = PathBuf::from(request.path);
        if !path.is_absolute() {
            return Err(refuse::invalid("the path of a copy must be absolute"));
        }
        let service = self.clone();
        let copy = tokio::spawn(async move { service.store.copy_to(path).await });
        let bytes = copy.await.map_err(|_| refuse::broken("a copy of the database was broken off"))??;
        Ok(CopyStoreResponse { bytes })
    }
}
