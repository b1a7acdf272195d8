//! Promise: passwords can't be guessed fast, nor by address nor by name, and neither the answers nor the work done
//! tell which names exist. Who guesses does not keep the right user out.
//!
//! Method: bursts of a few and intervals longer than the test, and the count of argon2 runs.
use gochat_infra::errors::{Code, Error};
use gochat_logic::LogicConfig;
use gochat_proto::logic::v1::{ChangePasswordRequest, LoginRequest, RegisterRequest};
use tonic::Status;

use crate::support::account::{code, login, register};
use crate::support::{House, Running};

const RUNS: &str = "logic_argon2_runs_total";
const HOUR_MS: u64 = 3_600_000;

fn limited(reason: &str) -> String {
    format!(r#"logic_rate_limited_total{{reason="{reason}"}}"#)
}

async fn start(house: &House, change: impl FnOnce(&mut LogicConfig)) -> Running {
    let mut config = house.config();
    config.logins.name_burst = 3;
    config.logins.name_interval_ms = HOUR_MS;
    change(&mut config);
    house.start_with(config, house.ids.clone()).await
}

async fn from(running: &Running, peer_ip: &str, username: &str) -> Result<(), Status> {
    from_with(running, peer_ip, username, "correct horse").await
}

async fn from_with(running: &Running, peer_ip: &str, username: &str, password: &str) -> Result<(), Status> {
    let request = LoginRequest {
        username: username.into(),
        password: password.into(),
        peer_ip: peer_ip.into(),
        ..Default::default()
    };
    running.auth().login(request).await.map(drop)
}

fn wait_ms(refused: Status) -> u64 {
    let error = Error::from(refused);
    assert_eq!(error.code, Code::RateLimited);
    error.retry_after_ms.unwrap()
}

#[tokio::test]
async fn names_are_limited_alike_whether_they_exist_or_not() {
    let house = House::open().await;
    let running = start(&house, |_| {}).await;
    register(&running, "anna").await.unwrap();
    for (name, other_spelling) in [("anna", "ANNA"), ("nobody", "NoBody")] {
        let runs = running.metric(RUNS);
        let mut texts = Vec::new();
        for _ in 0..3 {
            let wrong = login(&running, name, "wrong horse").await.unwrap_err();
            texts.push(wrong.message().to_owned());
            assert_eq!(code(wrong), Code::Unauthenticated);
        }
        assert_eq!(running.metric(RUNS) - runs, 3.0, "the same work for {name}");
        // Also with the right password, since the refusal must not tell; and without any hashing.
        for name in [name, other_spelling] {
            let wait = wait_ms(login(&running, name, "correct horse").await.unwrap_err());
            assert!((HOUR_MS / 2..=HOUR_MS + 1).contains(&wait), "{wait}");
        }
        assert_eq!(running.metric(RUNS) - runs, 3.0);
        texts.dedup();
        assert_eq!(texts, ["The user name or the password is wrong."]);
    }
    assert_eq!(running.metric(&limited("login-name")), 4.0);
    running.stop().await;
}

#[tokio::test]
async fn the_right_password_makes_a_name_as_good_as_new() {
    let house = House::open().await;
    let running = start(&house, |_| {}).await;
    register(&running, "anna").await.unwrap();
    for _ in 0..5 {
        login(&running, "anna", "wrong horse").await.unwrap_err();
        login(&running, "anna", "wrong horse").await.unwrap_err();
        login(&running, "anna", "correct horse").await.unwrap();
    }
    running.stop().await;
}

#[tokio::test]
async fn who_guesses_at_a_name_keeps_only_himself_waiting() {
    let house = House::open().await;
    let running = start(&house, |_| {}).await;
    register(&running, "anna").await.unwrap();
    let attack = async || from_with(&running, "192.0.2.1", "anna", "wrong horse").await.unwrap_err();
    let mut refused = 0;
    while refused < 20 {
        refused += u32::from(code(attack().await) == Code::RateLimited);
    }
    // He goes on, and she comes from elsewhere, as often as she likes.
    for _ in 0..5 {
        attack().await;
        from_with(&running, "192.0.2.2", "anna", "correct horse").await.unwrap();
        from_with(&running, "192.0.2.2", "anna", "wrong horse").await.unwrap_err();
    }
    // His wait has an end, and does not get longer by what is refused.
    assert!((HOUR_MS / 2..=HOUR_MS + 1).contains(&wait_ms(attack().await)));
    running.stop().await;
}

#[tokio::test]
async fn guessing_from_many_addresses_has_a_limit_too() {
    let house = House::open().await;
    let running = start(&house, |config| {
        config.logins.name_total_burst = 4;
        config.logins.name_total_interval_ms = HOUR_MS;
    })
    .await;
    register(&running, "anna").await.unwrap();
    // The right password costs the name nothing.
    for _ in 0..6 {
        from_with(&running, "192.0.2.9", "anna", "correct horse").await.unwrap();
    }
    let runs = running.metric(RUNS);
    for n in 1..=4 {
        from_with(&running, &format!("192.0.2.{n}"), "anna", "wrong horse").await.unwrap_err();
    }
    for n in 5..=7 {
        wait_ms(from_with(&running, &format!("192.0.2.{n}"), "anna", "wrong horse").await.unwrap_err());
    }
    assert_eq!(running.metric(RUNS) - runs, 4.0);
    assert_eq!(running.metric(&limited("login-name-total")), 3.0);
    running.stop().await;
}

#[tokio::test]
async fn an_address_is_limited_whatever_the_names_and_others_are_not() {
    let house = House::open().await;
    let running = start(&house, |config| {
        config.logins.address_burst = 2;
        config.logins.address_interval_ms = HOUR_MS;
    })
    .await;
    register(&running, "anna").await.unwrap();
    let runs = running.metric(RUNS);
    for name in ["a-name", "another"] {
        from(&running, "192.0.2.1", name).await.unwrap_err();
    }
    wait_ms(from(&running, "192.0.2.1", "anna").await.unwrap_err());
    assert_eq!(running.metric(RUNS) - runs, 2.0);
    assert_eq!(running.metric(&limited("login-address")), 1.0);
    for _ in 0..3 {
        // Of this machine, or not known: a gateway behind a proxy sees everybody so.
        from(&running, "127.0.0.1", "anna").await.unwrap();
        from(&running, "", "anna").await.unwrap();
    }
    from(&running, "192.0.2.2", "anna").await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn this_machine_is_limited_when_configured() {
    let house = House::open().await;
    let running = start(&house, |config| {
        config.logins.address_burst = 1;
        config.logins.address_interval_ms = HOUR_MS;
        config.logins.limit_loopback = true;
    })
    .await;
    register(&running, "anna").await.unwrap();
    from(&running, "127.0.0.1", "anna").await.unwrap();
    wait_ms(from(&running, "127.0.0.1", "anna").await.unwrap_err());
    running.stop().await;
}

#[tokio::test]
async fn registrations_of_an_address_are_limited_before_they_cost_anything() {
    let house = House::open().await;
    let running = start(&house, |config| {
        config.logins.register_burst = 2;
        config.logins.register_interval_ms = HOUR_MS;
    })
    .await;
    let register = async |n: u32, peer_ip: &str| {
        let request = RegisterRequest {
            username: format!("user-{n}"),
            email: format!("user-{n}@example.org"),
            password: "correct horse".into(),
            peer_ip: peer_ip.into(),
            ..Default::default()
        };
        running.auth().register(request).await.map(drop)
    };
    register(1, "2001:db8::1").await.unwrap();
    register(2, "2001:db8::2").await.unwrap();
    let runs = running.metric(RUNS);
    wait_ms(register(3, "2001:db8::3").await.unwrap_err());
    assert_eq!(running.metric(RUNS), runs);
    register(3, "2001:db8:0:1::3").await.unwrap();
    assert_eq!(running.metric(&limited("register-address")), 1.0);
    running.stop().await;
}

#[tokio::test]
async fn a_stolen_token_is_no_way_to_guess_the_old_password() {
    let house = House::open().await;
    let running = start(&house, |_| {}).await;
    let user_id = register(&running, "anna").await.unwrap();
    let change = async |old: &str| {
        let request =
            ChangePasswordRequest { user_id, old_password: old.into(), new_password: "new battery".into() };
        running.auth().change_password(request).await.map(drop)
    };
    for _ in 0..3 {
        assert_eq!(code(change("wrong horse").await.unwrap_err()), Code::PermissionDenied);
    }
    wait_ms(change("correct horse").await.unwrap_err());
    // It does not keep the user from logging in.
    login(&running, "anna", "correct horse").await.unwrap();
    running.stop().await;
}
