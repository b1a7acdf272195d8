//! Promise: a failing fsync never acknowledges, and ends the process with the reason; what was acknowledged before it is kept.
//! Method: the queue's nth fsync is made to fail; a client sends one message after the other until the socket dies, then
//! a healthy process opens the same folder. What the client was told before goes to the checker with what is there after (it is tried on
//! broken histories in broken_histories.rs).
use crate::harness::witness::Witness;
use crate::harness::{Client, Server, User, single};

/// The fsync that fails: after a few messages.
const FAILS_AT: usize = 12;
const LAST: &str = "after-it";

/// Sends one message after the other, each when the one before it was accepted, so that each needs an fsync of its own. Returns how many
/// were, and leaves the last one unanswered.
fn say_until_it_dies(client: &mut Client, conversation: &str, witness: &mut Witness) -> usize {
    for n in 0..100 {
        let key = format!("f-{n}");
        witness.wrote(0, &key);
        if !client.try_say(conversation, &key, &key) {
            return n;
        }
        loop {
            let Some(frame) = client.try_next() else { return n };
            if frame["type"] == "message-ack" {
                witness.acked(&frame["data"]);
                if frame["data"]["status"] == "accepted" {
                    break;
                }
            }
        }
    }
    panic!("no fsync failed");
}

/// Whatever waited in the queue is stored once a message behind it is.
fn say_the_last(server: &Server, user: &User, conversation: &str, witness: &mut Witness) {
    let mut client = server.connect(user);
    witness.wrote(0, LAST);
    client.say(conversation, LAST, LAST);
    let stored = client.wait_for("message-ack", |d| d["status"] == "stored" && d["tempMessageId"] == LAST);
    witness.acked(&stored);
}

#[test]
fn a_failing_fsync_never_acknowledges() {
    let data = tempfile::tempdir().unwrap();
    let fault = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(fault.path(), format!("[queue]\nfault_fsync_at = {FAILS_AT}\n")).unwrap();
    let mut server = Server::start_with(data.path(), &["--config", fault.path().to_str().unwrap()]);
    let (ann, bob) = (server.user("ann"), server.user("bob"));
    let conversation = single(&ann, &bob);
    let mut witness = Witness::new(&conversation, &[&ann, &bob]);
    let accepted = say_until_it_dies(&mut server.connect(&ann), &conversation, &mut witness);
    let status = server.wait();
    assert_eq!(status.code(), Some(74), "the process ends and says that storage failed");
    assert!((1..FAILS_AT).contains(&accepted), "{accepted} accepted");

    let server = Server::start(data.path());
    let (ann, bob) = (server.login("ann"), server.login("bob"));
    say_the_last(&server, &ann, &conversation, &mut witness);
    for (member, user) in [&ann, &bob].into_iter().enumerate() {
        let all = server.history(user, &conversation);
        witness.delivered(member, &all);
        witness.page(member, &all);
    }
    // The one that the fsync failed under was never answered, and may be there or not.
    let verdict = witness.verdict();
    assert!(verdict.holds(), "{verdict}");
}
