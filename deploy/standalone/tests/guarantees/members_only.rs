//! Promise: membership has a beginning and an end, and history, sync, heads and live delivery stay inside them, for the very next
//! message; a save that relied on a membership which has changed since is not stored.
//! Method: a group whose members come and go while it talks; a member who is put out in the middle of his own stream. A checker
//! compares what each was shown with what he may see; it is tried on views that show too much, too little, or a late message.
use serde_json::{Value, json};

use crate::harness::{Client, Server, User, until};

/// Saves that relied on a membership which had changed.
const STALE: &str = r#"logic_pipeline_retries_total{reason="stale-version"}"#;

/// First and last seq that a member may see.
type Bounds = (u64, u64);

/// `view` is dense from the first to the last seq that he may see, and nothing else.
fn stays_inside(view: &[u64], (first, last): Bounds) -> Result<(), String> {
    let expected: Vec<u64> = (first..=last).collect();
    if view == expected { Ok(()) } else { Err(format!("he may see {first}..={last} and sees {view:?}")) }
}

/// What came live is from inside, in order; some may be lost.
fn strays_nowhere(view: &[u64], (first, last): Bounds) -> Result<(), String> {
    let inside = view.iter().all(|seq| (first..=last).contains(seq));
    if inside && view.is_sorted_by(|a, b| a < b) {
        Ok(())
    } else {
        Err(format!("he may see {first}..={last} and was sent {view:?}"))
    }
}

/// What became of a stream of messages, in its order: all that was stored comes before all that was rejected, and is just what
/// the history has of him.
fn ends_once(acks: &[(String, bool)], history: &[String]) -> Result<(), String> {
    let end = acks.iter().position(|(_, stored)| !stored).unwrap_or(acks.len());
    if let Some((late, _)) = acks[end..].iter().find(|(_, stored)| *stored) {
        return Err(format!("{late} was stored after one that was rejected"));
    }
    let stored: Vec<&String> = acks[..end].iter().map(|(key, _)| key).collect();
    if history.iter().eq(stored.iter().copied()) {
        Ok(())
    } else {
        Err(format!("acknowledged {stored:?}, and the history has {history:?}"))
    }
}

fn seqs(messages: &[Value]) -> Vec<u64> {
    messages.iter().map(|message| message["seqId"].as_u64().expect("a seq")).collect()
}

/// All that sync shows him.
fn synced(client: &mut Client, conversation: &str) -> Vec<u64> {
    client.send("sync", json!({"conversationId": conversation, "afterSeq": 0, "limit": 100}));
    let page = client.wait_for("sync-page", |d| d["conversationId"] == conversation);
    assert_eq!(page["hasMore"], json!(false), "{page}");
    seqs(page["messages"].as_array().expect("messages"))
}

struct Group<'a> {
    server: &'a Server,
    owner: &'a User,
    conversation: String,
    members: String,
}

impl Group<'_> {
    fn add(&self, user: &User) {
        let body = json!({"userIds": [user.id]});
        let (status, answer) = self.server.call("POST", &self.members, Some(&self.owner.token), Some(body));
        assert_eq!(status, 204, "{answer}");
    }

    fn remove(&self, by: &User, user: &User) {
        let path = format!("{}/{}", self.members, user.id);
        let (status, answer) = self.server.call("DELETE", &path, Some(&by.token), None);
        assert_eq!(status, 204, "{answer}");
    }

    fn say(&self, client: &mut Client, keys: &[&str]) {
        for key in keys {
            client.say(&self.conversation, key, key);
            client.wait_for("message-ack", |d| d["status"] == "stored" && d["tempMessageId"] == *key);
        }
    }
}

fn group<'a>(server: &'a Server, owner: &'a User, members: &[&User]) -> Group<'a> {
    let (id, conversation) = server.group(owner, members);
    Group { server, owner, conversation, members: format!("/api/groups/{id}/members") }
}

#[test]
fn each_member_sees_what_was_said_while_he_was_one() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path());
    let people: Vec<User> = ["ann", "early", "late", "never"].iter().map(|name| server.user(name)).collect();
    let [ann, early, late, never] = people.as_slice() else { panic!("four people") };
    let (conversation, bounds) = {
        let group = group(&server, ann, &[early]);
        let mut a = server.connect(ann);
        let mut live_early = server.connect(early);
        let mut live_late = server.connect(late);
        group.say(&mut a, &["s1", "s2", "s3"]);
        group.add(late);
        group.say(&mut a, &["s4", "s5"]);
        group.remove(early, early);
        group.say(&mut a, &["s6"]);
        group.remove(ann, late);
        group.say(&mut a, &["s7"]);

        // Live, up to a message elsewhere that comes after all of them.
        for (client, bounds) in [(&mut live_early, (1, 5)), (&mut live_late, (4, 6))] {
            a.say("world", "end", &format!("end-{}", bounds.0));
            let mut view = Vec::new();
            loop {
                let message = client.wait_for("new-message", |_| true);
                if message["conversationId"] == "world" {
                    break;
                }
                view.push(message);
            }
            strays_nowhere(&seqs(&view), bounds).unwrap();
        }
        (group.conversation, [(ann, (1, 7)), (early, (1, 5)), (late, (4, 6))])
    };
    for round in 0..2 {
        for (user, bounds) in bounds {
            stays_inside(&seqs(&server.history(user, &conversation)), bounds).unwrap();
            let mut client = server.connect(user);
            stays_inside(&synced(&mut client, &conversation), bounds).unwrap();
            client.send("heads", json!({"conversations": {}}));
            let heads = client.wait_for("heads", |_| true);
            let head = heads["changed"]
                .as_array()
                .expect("heads")
                .iter()
                .find(|h| h["conversationId"] == conversation.as_str());
            assert_eq!(head.map(|head| &head["lastSeq"]), Some(&json!(bounds.1)), "{heads}");
        }
        let path = format!("/api/conversations/{conversation}/messages?after_seq=0");
        assert_eq!(server.call("GET", &path, Some(&never.token), None).0, 404);
        if round == 0 {
            server.kill();
            server.restart();
        }
    }
}

#[test]
fn who_is_put_out_in_the_middle_of_a_stream_is_out() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let (ann, bob) = (server.user("ann"), server.user("bob"));
    for round in 0..5 {
        let group = group(&server, &ann, &[&bob]);
        let stale = server.metric(STALE);
        let mut b = server.connect(&bob);
        let keys: Vec<String> = (0..60).map(|n| format!("r{round}-{n}")).collect();
        let mut acks: Vec<(String, bool)> = Vec::new();
        std::thread::scope(|scope| {
            let removal = scope.spawn(|| {
                until("the stream has begun", || !server.history(&ann, &group.conversation).is_empty());
                group.remove(&ann, &bob);
            });
            for burst in keys.chunks(10) {
                b.say_all(&group.conversation, burst.iter().map(String::as_str));
                let until = acks.len() + burst.len();
                while acks.len() < until {
                    let ack = b.wait_for("message-ack", |d| d["status"] != "accepted");
                    if ack["status"] != "stored" {
                        assert_eq!(
                            (&ack["status"], &ack["code"]),
                            (&json!("rejected"), &json!(1002)),
                            "{ack}"
                        );
                    }
                    let key = ack["tempMessageId"].as_str().expect("a key").to_owned();
                    acks.push((key, ack["status"] == "stored"));
                }
            }
            removal.join().expect("the removal");
        });
        // The next one is refused in any case, and so is one that is sent again.
        for key in ["after", keys[59].as_str()] {
            b.say(&group.conversation, key, key);
            let ack = b.wait_for("message-ack", |d| d["status"] != "accepted");
            if key == "after" {
                assert_eq!(ack["code"], 1002, "{ack}");
            }
        }
        assert!(server.metric(STALE) > stale, "the owner still took him for a member: the store refused");
        acks.sort_by_key(|(key, _)| keys.iter().position(|known| known == key));
        let of_ann = server.history(&ann, &group.conversation);
        let contents: Vec<String> =
            of_ann.iter().map(|m| m["content"].as_str().expect("content").to_owned()).collect();
        ends_once(&acks, &contents).unwrap();
        stays_inside(&seqs(&server.history(&bob, &group.conversation)), (1, contents.len() as u64)).unwrap();
    }
}

#[test]
fn views_that_show_too_much_or_too_little_are_found() {
    assert!(stays_inside(&[4, 5, 6], (4, 6)).is_ok());
    assert!(stays_inside(&[3, 4, 5, 6], (4, 6)).is_err(), "from before he came");
    assert!(stays_inside(&[4, 5, 6, 7], (4, 6)).is_err(), "from after he left");
    assert!(stays_inside(&[4, 6], (4, 6)).is_err(), "a hole");
    assert!(stays_inside(&[5, 4, 6], (4, 6)).is_err(), "out of order");

    assert!(strays_nowhere(&[4, 6], (4, 6)).is_ok(), "a live delivery may be lost");
    assert!(strays_nowhere(&[3, 4], (4, 6)).is_err() && strays_nowhere(&[6, 7], (4, 6)).is_err());
    assert!(strays_nowhere(&[5, 4], (4, 6)).is_err());

    let acks = |all: &[(&str, bool)]| -> Vec<(String, bool)> {
        all.iter().map(|(key, stored)| ((*key).to_owned(), *stored)).collect()
    };
    let history = |all: &[&str]| -> Vec<String> { all.iter().map(|key| (*key).to_owned()).collect() };
    let put_out = acks(&[("a", true), ("b", true), ("c", false)]);
    assert!(ends_once(&put_out, &history(&["a", "b"])).is_ok());
    assert!(ends_once(&put_out, &history(&["a"])).is_err(), "acknowledged and lost");
    assert!(ends_once(&put_out, &history(&["a", "b", "c"])).is_err(), "rejected and stored");
    assert!(
        ends_once(&acks(&[("a", true), ("b", false), ("c", true)]), &history(&["a", "c"])).is_err(),
        "after the end"
    );
}
