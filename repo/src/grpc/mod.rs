//! The gRPC face: each call is handed to the service, each error becomes a status with its code.
//!
//! A call's form is checked by the service, so there is nothing to decide here; the calls are listed by name
//! so that one screen shows the whole contract.
use gochat_proto::repo::v1::conversation_repo_server::{ConversationRepo, ConversationRepoServer};
use gochat_proto::repo::v1::group_repo_server::{GroupRepo, GroupRepoServer};
use gochat_proto::repo::v1::message_repo_server::{MessageRepo, MessageRepoServer};
use gochat_proto::repo::v1::revocation_repo_server::{RevocationRepo, RevocationRepoServer};
use gochat_proto::repo::v1::store_repo_server::{StoreRepo, StoreRepoServer};
use gochat_proto::repo::v1::task_repo_server::{TaskRepo, TaskRepoServer};
use gochat_proto::repo::v1::user_repo_server::{UserRepo, UserRepoServer};
use gochat_proto::repo::v1::*;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::service::Shared;

/// Implements a generated server trait by calling the service's method of the same name.
macro_rules! serve {
    ($server:ident, $view:ident: $($call:ident($request:ty) -> $response:ty;)*) => {
        struct $view(Shared);

        #[tonic::async_trait]
        impl $server for $view {
            $(async fn $call(&self, request: Request<$request>) -> Result<Response<$response>, Status> {
                Ok(Response::new(self.0.$call(request.into_inner()).await?))
            })*
        }
    };
}

serve! { UserRepo, Users:
    create_user(CreateUserRequest) -> CreateUserResponse;
    create_users(CreateUsersRequest) -> ();
    get_user(GetUserRequest) -> GetUserResponse;
    get_users(GetUsersRequest) -> GetUsersResponse;
    get_user_by_username(GetUserByUsernameRequest) -> GetUserResponse;
    update_user(UpdateUserRequest) -> ();
    get_user_session(GetUserSessionRequest) -> GetUserSessionResponse;
    get_user_sessions(GetUserSessionsRequest) -> GetUserSessionResponse;
    set_user_session(SetUserSessionRequest) -> ();
    create_refresh_token(CreateRefreshTokenRequest) -> CreateRefreshTokenResponse;
    rotate_refresh_token(RotateRefreshTokenRequest) -> RotateRefreshTokenResponse;
    revoke_refresh_tokens(RevokeRefreshTokensRequest) -> RevokeRefreshTokensResponse;
    purge_refresh_tokens(PurgeRefreshTokensRequest) -> PurgeRefreshTokensResponse;
}

serve! { MessageRepo, Messages:
    save_message(SaveMessageRequest) -> ();
    save_messages(SaveMessagesRequest) -> SaveMessagesResponse;
    get_message(GetMessageRequest) -> GetMessageResponse;
    get_messages(GetMessagesRequest) -> GetMessagesResponse;
    find_messages(FindMessagesRequest) -> GetMessagesResponse;
    get_conversation_messages(GetConversationMessagesRequest) -> GetConversationMessagesResponse;
}

serve! { GroupRepo, Groups:
    create_group(CreateGroupRequest) -> CreateGroupResponse;
    get_group(GetGroupRequest) -> GetGroupResponse;
    add_group_member(AddGroupMemberRequest) -> AddGroupMemberResponse;
    remove_group_member(RemoveGroupMemberRequest) -> RemoveGroupMemberResponse;
    get_group_members(GetGroupMembersRequest) -> GetGroupMembersResponse;
    check_group_members(CheckGroupMembersRequest) -> CheckGroupMembersResponse;
    get_online_group_members(GetOnlineGroupMembersRequest) -> GetOnlineGroupMembersResponse;
}

serve! { ConversationRepo, Conversations:
    get_conversation_states(GetConversationStatesRequest) -> GetConversationStatesResponse;
    get_user_conversations(GetUserConversationsRequest) -> GetUserConversationsResponse;
    get_user_heads(GetUserHeadsRequest) -> GetUserHeadsResponse;
    get_membership(GetMembershipRequest) -> GetMembershipResponse;
    mark_read(MarkReadRequest) -> MarkReadResponse;
    get_epoch(()) -> GetEpochResponse;
}

serve! { RevocationRepo, Revocations:
    revoke(RevokeRequest) -> RevokeResponse;
    list_revocations(ListRevocationsRequest) -> ListRevocationsResponse;
    purge_revocations(PurgeRevocationsRequest) -> PurgeRevocationsResponse;
}

serve! { TaskRepo, Tasks:
    get_task_cursor(GetTaskCursorRequest) -> GetTaskCursorResponse;
    set_task_cursor(SetTaskCursorRequest) -> ();
    delete_task_cursor(DeleteTaskCursorRequest) -> ();
    purge_task_cursors(PurgeTaskCursorsRequest) -> PurgeTaskCursorsResponse;
}

serve! { StoreRepo, Whole:
    copy_store(CopyStoreRequest) -> CopyStoreResponse;
}

/// The seven services on one service.
pub(crate) fn routes(service: &Shared) -> Routes {
    Routes::new(UserRepoServer::new(Users(service.clone())))
        .add_service(MessageRepoServer::new(Messages(service.clone())))
        .add_service(GroupRepoServer::new(Groups(service.clone())))
        .add_service(ConversationRepoServer::new(Conversations(service.clone())))
        .add_service(RevocationRepoServer::new(Revocations(service.clone())))
        .add_service(TaskRepoServer::new(Tasks(service.clone())))
        .add_service(StoreRepoServer::new(Whole(service.clone())))
}
