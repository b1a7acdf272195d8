//! A person at the page: does what people do, through the elements they see, and waits for what they would see.

use fantoccini::elements::Element;
use fantoccini::key::Key;
use fantoccini::{Client, Locator};
use serde_json::{Value, json};

/// Answers when the condition holds: it is looked at after each change of the document, so nothing polls or sleeps.
const UNTIL: &str = r"
    const done = arguments[arguments.length - 1];
    const holds = new Function('...args', `return (${arguments[0]});`);
    const args = arguments[1];
    if (holds(...args)) return done(true);
    const watcher = new MutationObserver(() => {
        if (!holds(...args)) return;
        watcher.disconnect();
        done(true);
    });
    watcher.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
";

const TEXTS: &str = "[...document.querySelectorAll('.message .text')].map((text) => text.textContent)";

/// Of every account here.
pub(crate) const PASSWORD: &str = "correct horse battery";

pub(crate) struct Person {
    window: Client,
    username: &'static str,
}

impl Person {
    /// Opens the page and makes an account; ready when the page says that it is connected.
    pub(crate) async fn register(window: Client, url: &str, username: &'static str, name: &str) -> Self {
        window.goto(url).await.expect("the page opens");
        let person = Self::new(window, username);
        person.click("#switch-form").await;
        person.fill("input[name=username]", username).await;
        person.fill("input[name=email]", &format!("{username}@example.org")).await;
        person.fill("input[name=displayName]", name).await;
        person.fill("input[name=password]", PASSWORD).await;
        person.click("button[type=submit]").await;
        person.sees_connection("online").await;
        person
    }

    pub(crate) fn new(window: Client, username: &'static str) -> Self {
        Self { window, username }
    }

    /// Fills in the first screen and sends it off.
    pub(crate) async fn logs_in(&self, password: &str) {
        self.fill("input[name=username]", self.username).await;
        self.fill("input[name=password]", password).await;
        self.click("button[type=submit]").await;
    }

    /// Waits for the first screen with words that hold this.
    pub(crate) async fn is_put_out(&self, words: &str) {
        self.until(
            "document.querySelector('.sign-in .failure')?.textContent.includes(args[0])",
            json!([words]),
        )
        .await;
    }

    pub(crate) fn window(&self) -> &Client {
        &self.window
    }

    pub(crate) async fn sees_connection(&self, state: &str) {
        self.until("document.querySelector('#connection')?.dataset.state === args[0]", json!([state])).await;
    }

    pub(crate) async fn finds(&self, username: &str) {
        self.fill("#find-user", username).await;
        self.press("#find-user", Key::Enter).await;
        self.until(
            "document.querySelector('.shell').dataset.screen === 'chat' \
             && document.querySelector('.chat-title .subtitle').textContent === args[0]",
            json!([format!("@{username}")]),
        )
        .await;
    }

    /// Opens a conversation from the list by the name it has there.
    pub(crate) async fn opens(&self, name: &str) {
        self.sees_in_list(name).await;
        let script = "[...document.querySelectorAll('#conversations li')]\
            .find((row) => row.querySelector('.row-name').textContent === arguments[0]).querySelector('button').click()";
        self.run(script, json!([name])).await;
        self.until("document.querySelector('#chat-name').textContent === args[0]", json!([name])).await;
    }

    pub(crate) async fn sees_in_list(&self, name: &str) {
        self.until(
            "[...document.querySelectorAll('.row-name')].some((row) => row.textContent === args[0])",
            json!([name]),
        )
        .await;
    }

    /// Waits until the list shows so many unread messages for a conversation; "" is none.
    pub(crate) async fn sees_unread(&self, name: &str, count: &str) {
        self.until(
            "[...document.querySelectorAll('#conversations li')].some((row) => \
             row.querySelector('.row-name').textContent === args[0] \
             && (row.querySelector('.unread:not([hidden])')?.textContent ?? '') === args[1])",
            json!([name, count]),
        )
        .await;
    }

    pub(crate) async fn misses_in_list(&self, name: &str) {
        self.until(
            "[...document.querySelectorAll('.row-name')].every((row) => row.textContent !== args[0])",
            json!([name]),
        )
        .await;
    }

    /// Types and presses Enter.
    pub(crate) async fn writes(&self, text: &str) {
        self.fill("#compose", text).await;
        self.press("#compose", Key::Enter).await;
    }

    pub(crate) async fn creates_group(&self, name: &str, members: &[&str]) {
        self.click("#new-group").await;
        self.fill("input[name=group-name]", name).await;
        for member in members {
            self.picks(member).await;
        }
        self.click("dialog button[type=submit]").await;
    }

    /// Takes somebody into the group whose dialog is open.
    pub(crate) async fn picks(&self, username: &str) {
        self.fill("dialog input[name=username]", username).await;
        self.click("dialog .picker button").await;
        self.until("document.querySelector(`dialog [data-user='${args[0]}']`) !== null", json!([username]))
            .await;
    }

    pub(crate) async fn sees_text(&self, text: &str) {
        self.until(&format!("{TEXTS}.includes(args[0])"), json!([text])).await;
    }

    /// Waits until exactly these texts stand in the open conversation, in this order.
    pub(crate) async fn sees_texts(&self, texts: &[String]) {
        self.until(&format!("JSON.stringify({TEXTS}) === JSON.stringify(args[0])"), json!([texts])).await;
    }

    pub(crate) async fn texts(&self) -> Vec<String> {
        serde_json::from_value(self.run(&format!("return {TEXTS}"), json!([])).await).expect("texts")
    }

    /// Waits until one's own message is in a state: sending, accepted, stored, read or failed.
    pub(crate) async fn sees_state(&self, text: &str, states: &[&str]) {
        self.until(
            "[...document.querySelectorAll('.message')].some((message) => \
             message.querySelector('.text').textContent === args[0] && args[1].includes(message.dataset.state))",
            json!([text, states]),
        )
        .await;
    }

    /// Waits until a JavaScript condition over `args` holds; fails with what the page shows instead.
    pub(crate) async fn until(&self, condition: &str, args: Value) {
        // The arguments of the condition are its rest parameter, so it reads them as args[0], args[1].
        let answer = self.window.execute_async(UNTIL, vec![json!(condition), args.clone()]).await;
        if let Err(error) = answer {
            let page = self.run("return document.body.innerText", json!([])).await;
            let username = self.username;
            panic!(
                "{username} waited in vain for `{condition}` with {args}: {error}\nthe page shows:\n{page:#}"
            );
        }
    }

    /// As [`Person::until`], for what changes without a change of the document: places and sizes.
    pub(crate) async fn until_soon(&self, condition: &str, args: Value) {
        let tick = "window.ticking ??= setInterval(() => { document.body.dataset.tick = Date.now(); }, 50)";
        self.run(tick, json!([])).await;
        self.until(condition, args).await;
    }

    /// Runs a script; the elements of `args` are its `arguments`.
    pub(crate) async fn run(&self, script: &str, args: Value) -> Value {
        let args = args.as_array().expect("a list of arguments").clone();
        self.window.execute(script, args).await.expect("the script runs")
    }

    /// Runs the body of an async function and returns what it returns.
    pub(crate) async fn run_async(&self, body: &str, args: Value) -> Value {
        let script = "const done = arguments[arguments.length - 1];\
            const work = new (Object.getPrototypeOf(async function () {}).constructor)('args', arguments[0]);\
            work(arguments[1]).then((value) => done({ value }), (error) => done({ error: String(error.stack ?? error) }));";
        let answer =
            self.window.execute_async(script, vec![json!(body), args]).await.expect("the script runs");
        assert!(answer.get("error").is_none(), "{}", answer["error"].as_str().unwrap_or_default());
        answer["value"].clone()
    }

    pub(crate) async fn click(&self, css: &str) {
        self.element(css).await.click().await.expect("it can be clicked");
    }

    pub(crate) async fn fill(&self, css: &str, text: &str) {
        let element = self.element(css).await;
        element.clear().await.expect("it can be emptied");
        element.send_keys(text).await.expect("it can be typed in");
    }

    pub(crate) async fn press(&self, css: &str, key: Key) {
        let key = char::from(key).to_string();
        self.element(css).await.send_keys(&key).await.expect("it takes a key");
    }

    async fn element(&self, css: &str) -> Element {
        self.until("document.querySelector(args[0]) !== null", json!([css])).await;
        self.window.find(Locator::Css(css)).await.expect("an element")
    }

    /// Saves a picture as docs/ shows it, where the environment asks for one.
    pub(crate) async fn takes_picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("GOCHAT_SCREENSHOTS") else { return };
        let picture = self.window.screenshot().await.expect("a picture");
        let file = std::path::Path::new(&folder).join(name);
        std::fs::write(&file, picture).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}
