//! Promise: passwords and tokens are checked without telling who exists, without delaying messages, and a refresh
//! token that was used again ends its family.
//!
//! Method: the services as a gateway calls them, with the pool of one thread and a queue of one.
use std::time::Duration;

use gochat_infra::errors::{Code, Error};
use gochat_proto::logic::v1::{ChangePasswordRequest, LoginRequest, LogoutRequest, RegisterRequest};
use gochat_proto::repo::v1::user_repo_client::UserRepoClient;
use gochat_proto::repo::v1::{UpdateUserRequest, UserStatus};

use crate::support::account::{code, login, refresh, register};
use crate::support::{House, unix_ms};

#[tokio::test]
async fn a_user_registers_and_logs_in_and_his_token_names_him_and_his_device() {
    let house = House::open().await;
    let running = house.start().await;
    let user_id = register(&running, "Anna").await.unwrap();
    assert_eq!(code(register(&running, "anna").await.unwrap_err()), Code::UsernameTaken);
    let session = login(&running, "anna", "correct horse").await.unwrap();
    assert_eq!((session.user_id, session.expires_in), (user_id, 900));
    let claims = house.keys.verify(&session.access_token, (unix_ms() / 1000) as u64).unwrap();
    assert_eq!((claims.sub, claims.device.as_str()), (user_id, session.device_id.as_str()));
    assert_eq!(claims.exp - claims.iat_ms / 1000, 900);

    let wrong = login(&running, "anna", "wrong horse").await.unwrap_err();
    let unknown = login(&running, "nobody", "correct horse").await.unwrap_err();
    assert_eq!(wrong.message(), unknown.message());
    assert_eq!((code(wrong), code(unknown)), (Code::Unauthenticated, Code::Unauthenticated));

    let ban = UpdateUserRequest { user_id, status: Some(UserStatus::Banned.into()), ..Default::default() };
    UserRepoClient::new(house.direct.clone()).update_user(ban).await.unwrap();
    assert_eq!(code(login(&running, "anna", "correct horse").await.unwrap_err()), Code::PermissionDenied);
    assert_eq!(code(refresh(&running, &session.refresh_token).await.unwrap_err()), Code::PermissionDenied);
    running.stop().await;
}

#[tokio::test]
async fn a_refresh_token_rotates_and_its_reuse_ends_the_family() {
    let house = House::open().await;
    let running = house.start().await;
    register(&running, "anna").await.unwrap();
    let first = login(&running, "anna", "correct horse").await.unwrap();
    let second = refresh(&running, &first.refresh_token).await.unwrap();
    assert_ne!(second.refresh_token, first.refresh_token);
    assert_eq!((second.user_id, &second.device_id), (first.user_id, &first.device_id));
    // The answer was lost: the old one gives the same successor, also from another instance.
    running.stop().await;
    let running = house.start().await;
    assert_eq!(refresh(&running, &first.refresh_token).await.unwrap().refresh_token, second.refresh_token);
    let third = refresh(&running, &second.refresh_token).await.unwrap();
    // Its successor was used, so this is somebody else.
    assert_eq!(code(refresh(&running, &first.refresh_token).await.unwrap_err()), Code::Unauthenticated);
    assert_eq!(code(refresh(&running, &third.refresh_token).await.unwrap_err()), Code::Unauthenticated);
    assert_eq!(running.metric("logic_refresh_reused_total"), 1.0);
    assert_eq!(code(refresh(&running, "nonsense").await.unwrap_err()), Code::Unauthenticated);
    running.stop().await;
}

#[tokio::test]
async fn logging_out_ends_a_device_and_a_new_password_ends_all() {
    let house = House::open().await;
    let running = house.start().await;
    let user_id = register(&running, "anna").await.unwrap();
    let sessions = [
        login(&running, "anna", "correct horse").await.unwrap(),
        login(&running, "anna", "correct horse").await.unwrap(),
        login(&running, "anna", "correct horse").await.unwrap(),
    ];
    let logout = |refresh_token: &str, device_id: &str| LogoutRequest {
        user_id,
        device_id: device_id.into(),
        refresh_token: refresh_token.into(),
    };
    let [a, b, c] = sessions;
    running.auth().logout(logout(&a.refresh_token, &a.device_id)).await.unwrap();
    running.auth().logout(logout("", &b.device_id)).await.unwrap();
    assert_eq!(code(refresh(&running, &a.refresh_token).await.unwrap_err()), Code::Unauthenticated);
    assert_eq!(code(refresh(&running, &b.refresh_token).await.unwrap_err()), Code::Unauthenticated);
    let c = refresh(&running, &c.refresh_token).await.unwrap();

    let change = |old: &str, new: &str| ChangePasswordRequest {
        user_id,
        old_password: old.into(),
        new_password: new.into(),
    };
    let wrong = running.auth().change_password(change("wrong horse", "new battery")).await.unwrap_err();
    assert_eq!(code(wrong), Code::PermissionDenied);
    let short = running.auth().change_password(change("correct horse", "short")).await.unwrap_err();
    assert_eq!(Error::from(short).details.unwrap()["field"], "new");
    running.auth().change_password(change("correct horse", "new battery")).await.unwrap();
    assert_eq!(code(refresh(&running, &c.refresh_token).await.unwrap_err()), Code::Unauthenticated);
    login(&running, "anna", "new battery").await.unwrap();
    login(&running, "anna", "correct horse").await.unwrap_err();
    running.stop().await;
}

#[tokio::test]
async fn what_breaks_a_rule_is_named() {
    let house = House::open().await;
    let running = house.start().await;
    let good = RegisterRequest {
        username: "anna".into(),
        email: "anna@example.org".into(),
        password: "correct horse".into(),
        display_name: "Anna".into(),
        ..RegisterRequest::default()
    };
    let check = |request: RegisterRequest, field: &'static str| {
        let mut auth = running.auth();
        async move {
            let error = Error::from(auth.register(request).await.unwrap_err());
            assert_eq!(error.code, Code::InvalidInput);
            assert_eq!(error.details.unwrap()["field"], field);
        }
    };
    check(RegisterRequest { username: "a b".into(), ..good.clone() }, "username").await;
    check(RegisterRequest { email: "nowhere".into(), ..good.clone() }, "email").await;
    check(RegisterRequest { password: "short".into(), ..good.clone() }, "password").await;
    check(RegisterRequest { display_name: "x".repeat(101), ..good }, "displayName").await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_logins_are_turned_away_while_messages_flow() {
    let house = House::open().await;
    house.seed_users(2).await;
    let mut inbox = house.inbox(0);
    let mut config = house.config();
    config.auth.argon2_threads = 1;
    config.auth.argon2_queue = 1;
    // Slow enough that all of the logins below come while the first one is at work.
    config.auth.argon2_memory_kib = 64 * 1024;
    config.auth.argon2_passes = 4;
    let running = house.start_with(config, house.ids.clone()).await;
    let logins: Vec<_> = (0..20)
        .map(|n| {
            let mut auth = running.auth();
            let request = LoginRequest {
                username: format!("nobody-{n}"),
                password: "correct horse".into(),
                ..Default::default()
            };
            tokio::spawn(async move { Error::from(auth.login(request).await.unwrap_err()) })
        })
        .collect();
    for n in 0..20 {
        house.send(1, "single_1_2", &format!("m{n}"), "text").await;
        inbox.stored(&format!("m{n}")).await;
    }
    let mut refused = 0;
    for login in logins {
        let error = login.await.unwrap();
        match error.code {
            Code::Overloaded => {
                refused += 1;
                assert!(
                    error
                        .retry_after_ms
                        .is_some_and(|ms| Duration::from_millis(ms) >= Duration::from_millis(500))
                );
            }
            code => assert_eq!(code, Code::Unauthenticated),
        }
    }
    assert!(refused >= 10, "{refused}");
    assert_eq!(running.metric("logic_argon2_refused_total"), f64::from(refused));
    running.stop().await;
}
