//! Promise: SIGTERM loses nothing: clients are told to go (1001), what was accepted is stored, and the process ends by itself.
mod harness;

use harness::{Server, single};

#[test]
fn a_stop_says_goodbye_and_keeps_what_was_accepted() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path());
    let (ann, bob) = (server.user("ann"), server.user("bob"));
    let conversation = single(&ann, &bob);
    let (mut a, mut b) = (server.connect(&ann), server.connect(&bob));
    for n in 1..=50 {
        a.say(&conversation, &format!("number {n}"), &format!("s-{n}"));
    }
    a.wait_for("message-ack", |d| d["tempMessageId"] == "s-50");
    let status = server.terminate();
    assert!(status.success(), "{status}");
    assert_eq!(a.wait_for_close(), Some(1001));
    assert_eq!(b.wait_for_close(), Some(1001));

    server.restart();
    let mut a = server.connect(&ann);
    a.say(&conversation, "after", "s-51");
    assert_eq!(
        a.wait_for("message-ack", |d| d["status"] == "stored" && d["tempMessageId"] == "s-51")["seqId"],
        51
    );
}
