//! Promise: one sees of one's own message where it is: sending, accepted, stored, read, or not sent with the reason, to retry or delete.
//! Method: a cut line, answers lost behind `accepted`, and a member who is put out while his message waits.

use serde_json::json;

use crate::browser::Screen;
use crate::line::Line;
use crate::person::Person;
use crate::{Stage, account, play};

/// On the socket that the page has open, loses what tells that a message is stored.
const LOSE_STORED: &str = "const data = Object.getOwnPropertyDescriptor(MessageEvent.prototype, 'data');\
    const { send } = WebSocket.prototype;\
    WebSocket.prototype.send = function (text) { window.losing ??= this; send.call(this, text); };\
    Object.defineProperty(MessageEvent.prototype, 'data', { configurable: true, get() {\
        const text = data.get.call(this);\
        if (this.target !== window.losing) return text;\
        const { type, data: { status } } = JSON.parse(text);\
        return type === 'new-message' || status === 'stored' ? JSON.stringify({ type: 'lost' }) : text; } });";

const MEMBERS_ONLY: &str = "Only members may write to this group.";
const GROUP: &str = "Night shift";

#[tokio::test]
async fn a_message_shows_its_state_from_sending_to_read_or_not_sent() {
    play(|stage| {
        Box::pin(async move {
            let mut stage = stage.lock().await;
            let amelia = stage.person(Screen::Desktop, "amelia", "Amelia Hart").await;
            account(&amelia, "ben", "Ben Okafor").await;
            let (ben, line) = stage.other_browser("ben").await;
            amelia.creates_group(GROUP, &["ben"]).await;
            ben.opens(GROUP).await;
            amelia.opens("World").await;

            ben.run(LOSE_STORED, json!([])).await;
            ben.writes("Anybody awake?").await;
            ben.sees_state("Anybody awake?", &["accepted"]).await;
            cut(&stage, &ben, &line).await;
            ben.writes("The line is down").await;
            ben.sees_state("The line is down", &["sending"]).await;
            stage.set_online(&ben, &line, true).await;
            ben.sees_state("Anybody awake?", &["stored"]).await;
            ben.sees_state("The line is down", &["stored"]).await;
            amelia.opens(GROUP).await;
            ben.sees_state("Anybody awake?", &["read"]).await;
            ben.sees_state("The line is down", &["read"]).await;

            amelia.click("#show-members").await;
            is_put_out_while_writing(&stage, &amelia, &ben, &line, "Let me finish").await;
            amelia.picks("ben").await;
            ben.until("document.querySelector('#read-only').textContent === ''", json!([])).await;
            ben.click(".message[data-state=failed] .retry").await;
            ben.sees_state("Let me finish", &["stored", "read"]).await;
            amelia.sees_text("Let me finish").await;

            is_put_out_while_writing(&stage, &amelia, &ben, &line, "Never mind").await;
            // What waits keeps its place in the list, although the group is not open.
            ben.opens("World").await;
            ben.opens(GROUP).await;
            ben.click(".message[data-state=failed] .discard").await;
            let kept = ["Anybody awake?", "The line is down", "Let me finish"].map(String::from);
            ben.sees_texts(&kept).await;
            ben.opens("World").await;
            ben.misses_in_list(GROUP).await;
            amelia.sees_texts(&kept).await;
        })
    })
    .await;
}

async fn cut(stage: &Stage, person: &Person, line: &Line) {
    stage.set_online(person, line, false).await;
    person.until("!document.querySelector('#banner').hidden", json!([])).await;
}

/// The owner's dialog of members is open: he removes Ben while Ben's message cannot leave.
async fn is_put_out_while_writing(stage: &Stage, owner: &Person, ben: &Person, line: &Line, text: &str) {
    cut(stage, ben, line).await;
    ben.writes(text).await;
    ben.sees_state(text, &["sending"]).await;
    owner.click("#members [data-user=ben] button").await;
    owner.until("document.querySelector('#members [data-user=ben]') === null", json!([])).await;
    stage.set_online(ben, line, true).await;
    ben.sees_state(text, &["failed"]).await;
    ben.until(
        "document.querySelector('.message[data-state=failed] [role=alert]').textContent === args[0] \
         && document.querySelector('#read-only').textContent.includes('no longer a member') \
         && document.querySelector('.composer').hidden",
        json!([MEMBERS_ONLY]),
    )
    .await;
}
