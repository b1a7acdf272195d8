//! Cursors of tasks that work in pages.
use gochat_proto::repo::v1::{
    DeleteTaskCursorRequest, GetTaskCursorRequest, GetTaskCursorResponse, PurgeTaskCursorsRequest,
    PurgeTaskCursorsResponse, SetTaskCursorRequest,
};

use super::Service;
use crate::store::{Result, refuse, unix_ms};

/// Bytes of a task's id at most.
const TASK_ID_MAX_BYTES: usize = 200;

impl Service {
    pub(crate) async fn get_task_cursor(
        &self,
        request: GetTaskCursorRequest,
    ) -> Result<GetTaskCursorResponse> {
        check_task_id(&request.task_id)?;
        Ok(GetTaskCursorResponse { cursor: self.store.task_cursor(&request.task_id).await? })
    }

    pub(crate) async fn set_task_cursor(&self, request: SetTaskCursorRequest) -> Result<()> {
        check_task_id(&request.task_id)?;
        self.store.set_task_cursor(request.task_id, request.cursor, unix_ms()).await
    }

    pub(crate) async fn delete_task_cursor(&self, request: DeleteTaskCursorRequest) -> Result<()> {
        check_task_id(&request.task_id)?;
        self.store.delete_task_cursor(request.task_id).await
    }

    pub(crate) async fn purge_task_cursors(
        &self,
        request: PurgeTaskCursorsRequest,
    ) -> Result<PurgeTaskCursorsResponse> {
        let limit = request.limit.min(self.limits.purge_max);
        let deleted = self.store.purge_task_cursors(request.updated_before_ms, limit).await?;
        Ok(PurgeTaskCursorsResponse { deleted })
    }
}

fn check_task_id(task_id: &str) -> Result<()> {
    match (1..=TASK_ID_MAX_BYTES).contains(&task_id.len()) {
        true => Ok(()),
        false => Err(refuse::invalid(format!("a task's id has 1 to {TASK_ID_MAX_BYTES} bytes"))),
    }
}
