//! Promise: who was offline has everything when he is back, once and in order, and what he wrote meanwhile goes out.
//! Method: chromium's own emulation of a lost network, and a cut line, while the other browser writes.

use serde_json::json;

use crate::browser::Screen;
use crate::{account, play};

#[tokio::test]
async fn fifty_messages_meet_who_was_offline() {
    play(|stage| {
        Box::pin(async move {
            let mut stage = stage.lock().await;
            let amelia = stage.person(Screen::Desktop, "amelia", "Amelia Hart").await;
            account(&amelia, "ben", "Ben Okafor").await;
            let (ben, line) = stage.other_browser("ben").await;
            amelia.finds("ben").await;
            amelia.writes("Going into the tunnel?").await;
            ben.opens("Amelia Hart").await;
            ben.writes("In a second").await;
            amelia.sees_text("In a second").await;

            stage.set_online(&ben, &line, false).await;
            ben.until("document.querySelector('#banner').textContent.includes('offline')", json!([])).await;
            ben.writes("It is dark in here").await;
            ben.sees_state("It is dark in here", &["sending"]).await;
            let written: Vec<String> = (1..=50).map(|number| format!("Number {number} of fifty")).collect();
            for text in &written {
                amelia.writes(text).await;
            }
            amelia.sees_state("Number 50 of fifty", &["stored"]).await;
            let seen = ben.texts().await;
            assert!(!seen.iter().any(|text| text.contains("of fifty")), "he is offline: {seen:#?}");

            stage.set_online(&ben, &line, true).await;
            ben.sees_connection("online").await;
            ben.sees_state("It is dark in here", &["stored", "read"]).await;
            let mut all = vec!["Going into the tunnel?".to_owned(), "In a second".to_owned()];
            all.extend(written);
            all.push("It is dark in here".to_owned());
            ben.sees_texts(&all).await;
            amelia.sees_texts(&all).await;
            ben.until("document.querySelector('#banner').hidden", json!([])).await;
        })
    })
    .await;
}
