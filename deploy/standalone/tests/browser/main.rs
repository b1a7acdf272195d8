//! Promise: people chat through the page at `/` in a real browser, and what they wrote survives the server's death.
//! Method: chromium against a running `gochat`; each person is a browser of its own. `make pictures` keeps those of docs/.

mod browser;
#[path = "../harness/mod.rs"]
mod harness;
mod line;
mod offline;
mod person;
mod phone;
mod put_out;
mod states;

use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Mutex;

use browser::{Browsers, Screen};
use harness::Server;
use line::Line;
use person::{PASSWORD, Person};

/// Two browsers fill a small machine: one test at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

type Story = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Stage {
    server: Server,
    data: TempDir,
    browsers: Browsers,
}

impl Stage {
    async fn person(&mut self, screen: Screen, username: &'static str, name: &str) -> Person {
        let window = self.browsers.open(screen).await;
        Person::register(window, &self.server.url("/"), username, name).await
    }

    /// One more browser of somebody who has an account, at a line of its own.
    async fn other_browser(&mut self, username: &'static str) -> (Person, Line) {
        let line = Line::to(self.server.http).await;
        let window = self.browsers.open(Screen::Desktop).await;
        window.goto(line.url()).await.expect("the page opens");
        let person = Person::new(window, username);
        person.logs_in(PASSWORD).await;
        person.sees_connection("online").await;
        (person, line)
    }

    /// Takes the network away from a browser or gives it back.
    async fn set_online(&self, person: &Person, line: &Line, online: bool) {
        line.set_up(online);
        self.browsers.set_offline(person.window(), !online).await;
    }
}

/// Plays a story with a fresh server, and ends its browsers however it went.
async fn play(story: impl FnOnce(Arc<Mutex<Stage>>) -> Story) {
    play_with("", story).await;
}

/// As [`play`], with settings in TOML.
async fn play_with(settings: &str, story: impl FnOnce(Arc<Mutex<Stage>>) -> Story) {
    let _alone = ONE_AT_A_TIME.lock().await;
    let data = tempfile::tempdir().expect("a temporary folder");
    let file = data.path().join("settings.toml");
    std::fs::write(&file, settings).expect("the settings are written");
    let config = file.to_str().expect("a path of text");
    let server = Server::start_with(&data.path().join("data"), &["--config", config]);
    let stage = Arc::new(Mutex::new(Stage { server, data, browsers: Browsers::start() }));
    let ended = tokio::spawn(story(stage.clone())).await;
    stage.lock().await.browsers.close().await;
    if let Err(failure) = ended {
        resume_unwind(failure.into_panic());
    }
}

/// An account without a browser, for a member who only has to exist or to write now and then.
async fn account(by: &Person, username: &str, name: &str) {
    let body = "const answer = await fetch('/api/auth/register', { method: 'POST', \
        headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(args) }); return answer.status";
    let email = format!("{}@example.org", &username[..3]);
    let user = json!({ "username": username, "email": email, "password": PASSWORD, "displayName": name });
    assert_eq!(by.run_async(body, user).await, json!(201));
}

/// Another device of `username` writes, driven from the window of `by` but not through its page.
async fn speaks(by: &Person, username: &str, place: Value, texts: &[&str]) {
    let mut args = place;
    args["username"] = json!(username);
    args["password"] = json!(PASSWORD);
    args["texts"] = json!(texts);
    by.run_async(include_str!("speak.js"), args).await;
}

#[tokio::test]
async fn two_people_chat_in_single_group_and_world() {
    play(|stage| {
        Box::pin(async move {
            let mut stage = stage.lock().await;
            let amelia = stage.person(Screen::Desktop, "amelia", "Amelia Hart").await;
            let ben = stage.person(Screen::Desktop, "ben.okafor", "Ben Okafor").await;
            account(&amelia, "chloe", "Chloé Martin").await;
            single_chat(&amelia, &ben).await;
            hostile_text_is_text(&amelia, &ben).await;
            group_chat(&amelia, &ben).await;
            world_chat(&amelia, &ben).await;
            lively_group(&amelia, &ben).await;
            members_go(&amelia, &ben).await;
            a_reload_shows_the_same(&amelia).await;
        })
    })
    .await;
}

async fn single_chat(amelia: &Person, ben: &Person) {
    amelia.finds("ben.okafor").await;
    amelia.writes("Hi Ben! Did the new build arrive?").await;
    amelia.sees_state("Hi Ben! Did the new build arrive?", &["stored"]).await;
    ben.sees_unread("Amelia Hart", "1").await;
    amelia.writes("No hurry.").await;
    ben.sees_unread("Amelia Hart", "2").await;

    ben.opens("Amelia Hart").await;
    ben.sees_texts(&["Hi Ben! Did the new build arrive?".into(), "No hurry.".into()]).await;
    ben.sees_unread("Amelia Hart", "").await;
    amelia.sees_state("No hurry.", &["read"]).await;
    ben.writes("It did, and it starts in a blink.").await;
    amelia.sees_text("It did, and it starts in a blink.").await;
    ben.sees_state("It did, and it starts in a blink.", &["read"]).await;
}

async fn hostile_text_is_text(amelia: &Person, ben: &Person) {
    let hostile = "<img src=x onerror=\"document.title='owned'\"><b>bold</b>";
    ben.writes(hostile).await;
    amelia.sees_text(hostile).await;
    let parsed =
        amelia.run("return document.querySelectorAll('.messages img, .messages b').length", json!([])).await;
    assert_eq!(parsed, json!(0));
    assert!(amelia.window().title().await.expect("a title").contains("GoChat"));
    ben.writes("See? Only text.").await;
    amelia.sees_text("See? Only text.").await;
}

async fn group_chat(amelia: &Person, ben: &Person) {
    amelia.creates_group("Release crew", &["ben.okafor", "chloe"]).await;
    amelia
        .until("document.querySelector('.chat-title .subtitle').textContent === '3 members'", json!([]))
        .await;
    amelia.writes("Welcome aboard. We ship on Friday.").await;
    amelia.sees_state("Welcome aboard. We ship on Friday.", &["stored"]).await;
    ben.sees_unread("Release crew", "1").await;
    ben.opens("Release crew").await;
    ben.sees_text("Welcome aboard. We ship on Friday.").await;
    amelia.sees_state("Welcome aboard. We ship on Friday.", &["read"]).await;
    ben.writes("Friday works for me.").await;
    amelia.sees_text("Friday works for me.").await;
}

async fn world_chat(amelia: &Person, ben: &Person) {
    ben.opens("World").await;
    ben.writes("Good morning, everybody!").await;
    ben.sees_state("Good morning, everybody!", &["stored"]).await;
    amelia.sees_unread("World", "1").await;
    amelia.opens("World").await;
    amelia.sees_text("Good morning, everybody!").await;
    amelia.sees_unread("World", "").await;
}

/// Three people in one group at once: all see the same order. It is also the picture in the README.
async fn lively_group(amelia: &Person, ben: &Person) {
    amelia.opens("Release crew").await;
    ben.opens("Release crew").await;
    let group = amelia.run("return { conversationId: location.hash.slice(1) }", json!([])).await;
    let chloe = |text| speaks(amelia, "chloe", group.clone(), text);
    chloe(&[
        "Thanks for the invite! 👋",
        "I pulled the plug ten times while the load ran: nothing lost, nothing twice.",
    ])
    .await;
    let talk = [
        (ben, "That is what I like to read on a Monday."),
        (
            amelia,
            "Could one of you try it from a phone as well? The list and the chat should be two screens there.",
        ),
        (ben, "Already on it, from the train. Three tunnels so far."),
        (ben, "What I wrote in the dark went out when the light came back, in order."),
    ];
    for (who, text) in talk {
        who.writes(text).await;
        amelia.sees_text(text).await;
        ben.sees_text(text).await;
    }
    chloe(&["Same here on the tram 🚋"]).await;
    ben.sees_text("Same here on the tram 🚋").await;
    amelia.writes("Lovely. Then Friday it is!").await;
    amelia.sees_state("Lovely. Then Friday it is!", &["read"]).await;
    ben.sees_texts(&amelia.texts().await).await;
    ben.opens("World").await;
    ben.writes("Coffee is ready on the second floor ☕").await;
    amelia.sees_unread("World", "1").await;
    amelia.takes_picture("page.png").await;
}

async fn members_go(amelia: &Person, ben: &Person) {
    amelia.opens("Release crew").await;
    amelia.click("#show-members").await;
    amelia.click("#members [data-user=chloe] button").await;
    amelia.until("document.querySelector('#members [data-user=chloe]') === null", json!([])).await;
    amelia.click("dialog .dialog-head button").await;
    ben.opens("Release crew").await;
    ben.click("#show-members").await;
    ben.click("#leave-group").await;
    ben.click("#leave-group").await;
    ben.misses_in_list("Release crew").await;
    amelia
        .until("document.querySelector('.chat-title .subtitle').textContent === '1 member'", json!([]))
        .await;
}

async fn a_reload_shows_the_same(amelia: &Person) {
    amelia.opens("Ben Okafor").await;
    let before = amelia.texts().await;
    amelia.window().refresh().await.expect("the page reloads");
    amelia.sees_connection("online").await;
    amelia.sees_texts(&before).await;
}

#[tokio::test]
async fn a_killed_server_costs_no_message_and_doubles_none() {
    play(|stage| {
        Box::pin(async move {
            let mut stage = stage.lock().await;
            let amelia = stage.person(Screen::Desktop, "amelia", "Amelia Hart").await;
            let ben = stage.person(Screen::Desktop, "ben", "Ben Okafor").await;
            amelia.finds("ben").await;
            amelia.writes("Before the storm").await;
            ben.opens("Amelia Hart").await;
            ben.writes("All calm here").await;
            amelia.sees_text("All calm here").await;
            amelia.sees_state("Before the storm", &["stored", "read"]).await;

            // Its last word may be on the way when the server dies.
            amelia.writes("Is this still going out?").await;
            stage.server.kill();
            for person in [&amelia, &ben] {
                person.until("!document.querySelector('#banner').hidden", json!([])).await;
            }
            for number in 1..=3 {
                amelia.writes(&format!("Amelia in the dark {number}")).await;
                ben.writes(&format!("Ben in the dark {number}")).await;
            }
            amelia.sees_state("Amelia in the dark 3", &["sending"]).await;
            ben.opens("World").await;
            ben.writes("Is anybody there?").await;
            stage.server.restart();
            amelia.sees_unread("World", "1").await;
            ben.sees_state("Is anybody there?", &["stored"]).await;
            ben.opens("Amelia Hart").await;

            for person in [&amelia, &ben] {
                person.sees_connection("online").await;
                person.sees_text("Amelia in the dark 3").await;
                person.sees_text("Ben in the dark 3").await;
                person
                    .until(
                        "[...document.querySelectorAll('.message[data-own=true]')].every((m) => ['stored', 'read'].includes(m.dataset.state))",
                        json!([]),
                    )
                    .await;
            }
            let seen = amelia.texts().await;
            ben.sees_texts(&seen).await;
            let of = |name: &str| seen.iter().filter(|text| text.starts_with(name)).cloned().collect::<Vec<_>>();
            for name in ["Amelia", "Ben"] {
                let wanted: Vec<_> = (1..=3).map(|number| format!("{name} in the dark {number}")).collect();
                assert_eq!(of(name), wanted);
            }
            assert_eq!(seen.len(), 9, "{seen:#?}");
            amelia.until("document.querySelector('#banner').hidden", json!([])).await;
        })
    })
    .await;
}

#[tokio::test]
async fn older_messages_come_on_scrolling_up() {
    play(|stage| {
        Box::pin(async move {
            let mut stage = stage.lock().await;
            let ben = stage.person(Screen::Desktop, "ben", "Ben Okafor").await;
            let all: Vec<_> = (1..=130).map(|number| format!("Message {number} of many")).collect();
            let texts: Vec<_> = all.iter().map(String::as_str).collect();
            speaks(&ben, "ben", json!({ "conversationId": "world" }), &texts).await;
            ben.window().refresh().await.expect("the page reloads");
            ben.opens("World").await;
            ben.sees_text("Message 130 of many").await;
            let scroll = "document.querySelector('#messages').scrollTop = 0";
            let mut first = String::new();
            while first != "Message 1 of many" {
                ben.run(scroll, json!([])).await;
                ben.until("document.querySelector('.message .text').textContent !== args[0]", json!([first]))
                    .await;
                first = ben.texts().await.swap_remove(0);
            }
            assert_eq!(ben.texts().await, all);
        })
    })
    .await;
}

#[tokio::test]
async fn the_page_keeps_order_and_sends_again_as_it_promises() {
    play(|stage| {
        Box::pin(async move {
            let mut stage = stage.lock().await;
            let ben = stage.person(Screen::Desktop, "ben", "Ben Okafor").await;
            let all = [
                include_str!("store_checks.js"),
                include_str!("sync_checks.js"),
                include_str!("gap_checks.js"),
            ];
            for checks in all {
                let held = ben.run_async(checks, json!({})).await;
                assert!(held.as_u64().expect("a number of checks") >= 9, "{held}");
            }
        })
    })
    .await;
}
