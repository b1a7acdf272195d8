//! Promise: on a phone's screen the page shows the list or the chat, nothing has to be scrolled sideways, and the place to write
//! stays in reach. Method: chromium's emulation of a phone of 360 × 740 points with touch; the keyboard is half the height gone.

use serde_json::json;

use crate::browser::Screen;
use crate::person::Person;
use crate::{Stage, account, play, speaks};

/// As long as a username may be.
const LONG_USERNAME: &str = "bartholomew.featherstonehaugh-cholmondeley_the_3rd";

#[tokio::test]
async fn a_phone_shows_one_screen_at_a_time_without_sideways_scrolling() {
    play(|stage| {
        Box::pin(async move {
            let mut stage = stage.lock().await;
            let chloe = stage.person(Screen::Phone, "chloe", "Chloé Martin").await;
            account(&chloe, "amelia", "Amelia Hart").await;
            account(&chloe, LONG_USERNAME, "Bartholomew Featherstonehaugh-Cholmondeley").await;
            fits(&chloe).await;
            chloe.finds(LONG_USERNAME).await;
            assert!(!shown(&chloe, ".list-pane").await && shown(&chloe, ".chat-pane").await);
            chloe.writes(&"Donaudampfschiff".repeat(12)).await;
            chloe.sees_state(&"Donaudampfschiff".repeat(12), &["stored"]).await;
            fits(&chloe).await;
            chloe.click("#back").await;
            assert!(shown(&chloe, ".list-pane").await && !shown(&chloe, ".chat-pane").await);
            fits(&chloe).await;
            chloe.opens("World").await;
            chloe.window().back().await.expect("the browser goes back");
            chloe.until("document.querySelector('.shell').dataset.screen === 'list'", json!([])).await;
            chat_on_the_phone(&chloe).await;
            the_composer_stays_above_a_keyboard(&stage, &chloe).await;
            chloe.click("#back").await;
            for window in ["#new-group", "#account"] {
                chloe.click(window).await;
                fits(&chloe).await;
                chloe.click("dialog .dialog-head button").await;
            }
        })
    })
    .await;
}

async fn chat_on_the_phone(chloe: &Person) {
    let amelia = |texts| speaks(chloe, "amelia", json!({ "to": "chloe" }), texts);
    amelia(&["Are you on the train already?"]).await;
    chloe.sees_unread("Amelia Hart", "1").await;
    chloe.opens("Amelia Hart").await;
    for text in ["Yes! Two stops to go.", "There was a tunnel, but what I wrote in it went out right after."]
    {
        chloe.writes(text).await;
        chloe.sees_state(text, &["stored"]).await;
    }
    amelia(&["Ha, that is the whole idea 🚆", "See you at the door. Bring the cake!"]).await;
    chloe.writes("Of course. It is still in one piece, and so am I.").await;
    chloe.sees_state("Of course. It is still in one piece, and so am I.", &["stored"]).await;
    amelia(&["Perfect 🎉"]).await;
    chloe.sees_text("Perfect 🎉").await;
    fits(chloe).await;
    chloe.takes_picture("page-phone.png").await;
}

/// A keyboard takes the lower half of the screen: one can still see what was written last, and write.
async fn the_composer_stays_above_a_keyboard(stage: &Stage, chloe: &Person) {
    for number in 1..=12 {
        chloe.writes(&format!("One more line to scroll, number {number}")).await;
    }
    let sized = |height: u32| {
        let metrics = json!({ "width": 360, "height": height, "deviceScaleFactor": 2, "mobile": true });
        stage.browsers.devtools(chloe.window(), "Emulation.setDeviceMetricsOverride", metrics)
    };
    for height in [370, 740] {
        sized(height).await;
        let in_sight = "innerHeight === args[0] && ['#compose', '#send', '.message:last-child'].every((css) => {\
            const place = document.querySelector(css).getBoundingClientRect();\
            return place.top >= 0 && place.bottom <= innerHeight && place.right <= innerWidth; })";
        chloe.until_soon(in_sight, json!([height])).await;
        fits(chloe).await;
    }
}

async fn shown(person: &Person, css: &str) -> bool {
    person.run("return document.querySelector(arguments[0]).checkVisibility()", json!([css])).await
        == json!(true)
}

/// Nothing is wider than the screen: neither the page nor any box that scrolls on its own.
async fn fits(person: &Person) {
    let script = "return [document.scrollingElement, ...document.querySelectorAll('body *')]\
        .filter((node) => node.scrollWidth > node.clientWidth + 1 && (node === document.scrollingElement \
            || ['auto', 'scroll'].includes(getComputedStyle(node).overflowX)))\
        .map((node) => `${node.tagName}.${node.className}: ${node.scrollWidth} in ${node.clientWidth}`)";
    assert_eq!(person.run(script, json!([])).await, json!([]));
    assert_eq!(person.run("return document.documentElement.clientWidth", json!([])).await, json!(360));
}
