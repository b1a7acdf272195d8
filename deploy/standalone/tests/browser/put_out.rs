//! Promise: whose login ends learns why and loses nothing that he wrote; whose token ends notices nothing.
//! Method: a changed password, an operator's ban, wrong passwords and tokens of seconds, seen from the browsers.

use std::process::Command;

use serde_json::json;

use crate::browser::Screen;
use crate::person::{PASSWORD, Person};
use crate::{play, play_with};

const NEW_PASSWORD: &str = "a quite different horse";

async fn changes_password(person: &Person, old: &str) {
    person.click("#account").await;
    person.fill("input[name=old-password]", old).await;
    person.fill("input[name=new-password]", NEW_PASSWORD).await;
    person.fill("input[name=new-password-again]", NEW_PASSWORD).await;
    person.click("#change-password button[type=submit]").await;
}

#[tokio::test]
async fn a_changed_password_puts_out_every_other_browser_and_loses_nothing() {
    play(|stage| {
        Box::pin(async move {
            let mut stage = stage.lock().await;
            let amelia = stage.person(Screen::Desktop, "amelia", "Amelia Hart").await;
            let (elsewhere, _line) = stage.other_browser("amelia").await;
            let (offline, line) = stage.other_browser("amelia").await;
            offline.opens("World").await;
            stage.set_online(&offline, &line, false).await;
            offline.until("!document.querySelector('#banner').hidden", json!([])).await;
            offline.writes("Written before I knew").await;
            elsewhere.opens("World").await;
            elsewhere.fill("#compose", "Begun and not sent").await;

            changes_password(&amelia, "not my password").await;
            amelia.until("!document.querySelector('dialog .failure').hidden", json!([])).await;
            amelia.click("dialog .dialog-head button").await;
            changes_password(&amelia, PASSWORD).await;
            amelia.until("document.querySelector('dialog') === null", json!([])).await;

            elsewhere.is_put_out("password of this account was changed").await;
            elsewhere.logs_in(PASSWORD).await;
            elsewhere.until("!document.querySelector('.failure').hidden", json!([])).await;
            elsewhere.logs_in(NEW_PASSWORD).await;
            elsewhere.opens("World").await;
            elsewhere
                .until("document.querySelector('#compose').value === args[0]", json!(["Begun and not sent"]))
                .await;

            // Who was not there to be told is told when he comes back, and what he wrote waits for him.
            stage.set_online(&offline, &line, true).await;
            offline.is_put_out("One message of yours waits here").await;
            offline.logs_in(NEW_PASSWORD).await;
            offline.opens("World").await;
            offline.sees_state("Written before I knew", &["stored"]).await;

            // The one who changed it goes on without a word.
            amelia.sees_connection("online").await;
            amelia.opens("World").await;
            amelia.sees_text("Written before I knew").await;
            amelia.writes("And I am still here").await;
            amelia.sees_state("And I am still here", &["stored"]).await;
            elsewhere.sees_text("And I am still here").await;
        })
    })
    .await;
}

#[tokio::test]
async fn a_banned_person_is_told_and_stays_out_until_unbanned() {
    play(|stage| {
        Box::pin(async move {
            let mut stage = stage.lock().await;
            let ben = stage.person(Screen::Desktop, "ben", "Ben Okafor").await;
            let operator = |word: &str| {
                let data = stage.data.path().join("data");
                let done = Command::new(env!("CARGO_BIN_EXE_gochat"))
                    .args(["users", word, "ben", "--data"])
                    .arg(data)
                    .status()
                    .expect("gochat runs");
                assert!(done.success(), "users {word}");
            };
            operator("ban");
            ben.is_put_out("This account has been banned.").await;
            ben.logs_in(PASSWORD).await;
            ben.until(
                "document.querySelector('.failure').textContent.includes('banned') && !document.querySelector('button[type=submit]').disabled",
                json!([]),
            )
            .await;
            operator("unban");
            ben.logs_in(PASSWORD).await;
            ben.sees_connection("online").await;
        })
    })
    .await;
}

#[tokio::test]
async fn too_many_wrong_passwords_say_how_long_to_wait() {
    play(|stage| {
        Box::pin(async move {
            let mut stage = stage.lock().await;
            let ben = stage.person(Screen::Desktop, "ben", "Ben Okafor").await;
            ben.click("#log-out").await;
            let wrong = "for (let tries = 0; tries < 30; tries += 1) { const answer = await fetch('/api/auth/login', { method: 'POST', \
                headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ username: 'ben', password: 'a wrong horse ' + tries }) }); \
                if (answer.status === 429) return answer.headers.get('Retry-After'); } return null";
            let wait = ben.run_async(wrong, json!({})).await;
            assert!(wait.is_string(), "somebody who guesses is slowed down: {wait}");
            ben.logs_in(PASSWORD).await;
            let waiting = "/^Try again in [0-9]+ s$/.test(document.querySelector('button[type=submit]').textContent) \
                && document.querySelector('button[type=submit]').disabled && !document.querySelector('.failure').hidden";
            ben.until(waiting, json!([])).await;
        })
    })
    .await;
}

/// Counts the page's sockets and the tokens that it sends on them, where a test can wait for it.
const WATCH_SOCKETS: &str = "const seen = document.body.dataset; seen.sockets = 0; seen.renewed = 0;\
    const { send } = WebSocket.prototype;\
    WebSocket.prototype.send = function (text) { send.call(this, text); if (JSON.parse(text).type !== 'auth') return;\
        this.addEventListener('message', ({ data }) => { if (JSON.parse(data).type === 'auth') seen.renewed = Number(seen.renewed) + 1; }, { once: true }); };\
    const Plain = WebSocket; window.WebSocket = class extends Plain { constructor(...how) { super(...how); seen.sockets = Number(seen.sockets) + 1; } };";

#[tokio::test]
async fn a_token_is_renewed_on_the_open_connection() {
    play_with("[logic.auth]\naccess_token_s = 6\n", |stage| {
        Box::pin(async move {
            let mut stage = stage.lock().await;
            let ben = stage.person(Screen::Desktop, "ben", "Ben Okafor").await;
            ben.run(WATCH_SOCKETS, json!([])).await;
            ben.until("Number(document.body.dataset.renewed) >= 3", json!([])).await;
            ben.opens("World").await;
            ben.writes("Still the same connection").await;
            ben.sees_state("Still the same connection", &["stored"]).await;
            assert_eq!(ben.run("return document.body.dataset.sockets", json!([])).await, json!("0"));
        })
    })
    .await;
}

#[tokio::test]
async fn who_was_put_out_by_a_newer_window_comes_back_only_when_asked() {
    play_with("[gateway.auth]\nconnections_per_user_max = 1\n", |stage| {
        Box::pin(async move {
            let mut stage = stage.lock().await;
            let ben = stage.person(Screen::Desktop, "ben", "Ben Okafor").await;
            let (elsewhere, _line) = stage.other_browser("ben").await;
            let told = "document.querySelector('#banner').textContent.includes('too many other places')";
            ben.until(told, json!([])).await;
            // A network that is back is nobody who asks. A page that connects says so before the event is over.
            let back = "window.dispatchEvent(new Event('online')); return document.querySelector('#connection').dataset.state";
            assert_eq!(ben.run(back, json!([])).await, json!("waiting"));
            elsewhere.sees_connection("online").await;

            ben.click("#banner button").await;
            ben.sees_connection("online").await;
            elsewhere.until(told, json!([])).await;
        })
    })
    .await;
}
