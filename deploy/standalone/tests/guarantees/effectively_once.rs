//! Promise: (conversation, sender, clientMsgId) is one message. A re-send gets the same id and seq whenever and from wherever it comes;
//! the same key with other content is refused with 1003 and uses up no number.
//! Method: re-sends from two devices, within one write, after a `kill -9`; the witness gives all acks and histories to the checker, which is
//! tried here on a second place for one message, and in broken_histories.rs on all else.
use serde_json::{Value, json};

use crate::harness::witness::Witness;
use crate::harness::{Client, Server, single};

fn stored(client: &mut Client) -> Value {
    client.wait_for("message-ack", |d| d["status"] == "stored")
}

#[test]
fn a_message_sent_again_keeps_its_id_and_number() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path());
    let (ann, bob) = (server.user("ann"), server.user("bob"));
    let conversation = single(&ann, &bob);
    let mut a = server.connect(&ann);
    a.say(&conversation, "once", "same-key");
    let first = stored(&mut a);
    a.say(&conversation, "once", "same-key");
    assert_eq!(stored(&mut a), first);

    server.kill();
    server.restart();
    let mut a = server.connect(&ann);
    a.say(&conversation, "once", "same-key");
    assert_eq!(stored(&mut a), first, "a restart changes nothing");

    a.say(&conversation, "something else", "same-key");
    let rejected = a.wait_for("message-ack", |d| d["status"] == "rejected");
    assert_eq!(rejected["code"], 1003, "{rejected}");
    a.say(&conversation, "next", "next-key");
    assert_eq!(stored(&mut a)["seqId"], 2, "no number was used up");
}

#[test]
fn a_key_is_the_senders_own_in_each_conversation() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let (ann, bob) = (server.user("ann"), server.user("bob"));
    let conversation = single(&ann, &bob);
    let (mut a, mut b) = (server.connect(&ann), server.connect(&bob));
    a.say(&conversation, "from Ann", "key");
    let of_ann = stored(&mut a);
    b.say(&conversation, "from Bob", "key");
    let of_bob = stored(&mut b);
    a.say("world", "to all", "key");
    let in_world = stored(&mut a);
    assert_eq!((&of_ann["seqId"], &of_bob["seqId"], &in_world["seqId"]), (&json!(1), &json!(2), &json!(1)));
    assert_ne!(of_ann["messageId"], of_bob["messageId"]);
    assert_ne!(of_ann["messageId"], in_world["messageId"]);
    a.say(&conversation, "from Ann", "KEY");
    assert_eq!(stored(&mut a)["seqId"], 3, "keys differ by case");
}

#[test]
fn sent_again_from_two_devices_and_after_a_kill_it_is_one_message() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path());
    let (ann, bob) = (server.user("ann"), server.user("bob"));
    let tablet = server.login("ann");
    let conversation = single(&ann, &bob);
    let keys: Vec<String> = (0..20).map(|n| format!("again-{n}")).collect();
    let mut witness = Witness::new(&conversation, &[&ann, &bob]);
    keys.iter().for_each(|key| witness.wrote(0, key));
    for round in 0..2 {
        let (mut phone, mut tablet) = (server.connect(&ann), server.connect(&tablet));
        for client in [&mut phone, &mut tablet] {
            // Each twice within one write.
            client.say_all(&conversation, keys.iter().flat_map(|key| [key.as_str(), key.as_str()]));
        }
        for client in [&mut phone, &mut tablet] {
            let mut open: Vec<&str> = keys.iter().map(String::as_str).collect();
            while !open.is_empty() {
                let ack = client.wait_for("message-ack", |d| d["status"] != "accepted");
                assert_eq!(ack["status"], "stored", "{ack}");
                open.retain(|key| ack["tempMessageId"] != *key);
                witness.acked(&ack);
            }
        }
        if round == 0 {
            server.kill();
            server.restart();
        }
    }
    for (member, user) in [&ann, &bob].into_iter().enumerate() {
        let all = server.history(user, &conversation);
        witness.delivered(member, &all);
        witness.page(member, &all);
    }
    witness.judge().unwrap();
}

#[test]
fn a_second_place_for_one_message_is_found() {
    let user = |id: &str| crate::harness::User { id: id.into(), token: String::new(), device: String::new() };
    let message = |seq: u64| json!({"messageId": (90 + seq).to_string(), "sender": "1", "content": "k", "clientMsgId": "k", "seqId": seq});
    let ack = |seq: u64| json!({"tempMessageId": "k", "status": "stored", "messageId": (90 + seq).to_string(), "seqId": seq});
    let judge = |acks: &[u64], page: &[u64]| {
        let mut witness = Witness::new("single_1_2", &[&user("1"), &user("2")]);
        witness.wrote(0, "k");
        acks.iter().for_each(|seq| witness.acked(&ack(*seq)));
        let messages: Vec<Value> = page.iter().map(|seq| message(*seq)).collect();
        for member in 0..2 {
            witness.delivered(member, &messages);
            witness.page(member, &messages);
        }
        witness.verdict()
    };
    assert!(judge(&[1, 1], &[1]).holds());
    assert_eq!(judge(&[1, 2], &[1]).doubled, 1, "two acks that differ");
    assert_eq!(judge(&[1], &[1, 2]).doubled, 1, "one message at two places");
    assert_eq!(judge(&[1], &[]).lost, 1);
}
