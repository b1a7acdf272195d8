//! One message goes up to the queue and comes down to the devices of its receivers.

use crate::harness::{Gate, INSTANCE, SLOT, delivery, message};
use gochat_proto::{
    queue::v1::{Ack, UpstreamMessage, ack, downstream::Body},
    topics,
};
use prost::Message as _;

/// Reads what the gateway gave to the queue.
pub(crate) fn upstream(gate: &Gate) -> UpstreamMessage {
    gate.runtime.block_on(async {
        let mut consumer = gate
            .queue
            .consumer("test", &[topics::UPSTREAM], gochat_infra::mq::ConsumerConfig::default())
            .expect("a consumer");
        loop {
            if let gochat_infra::mq::Event::Records(records) = consumer.next().await {
                let record = &records[0];
                let message = UpstreamMessage::decode(record.value.clone()).expect("a message");
                assert_eq!(record.key, message.conversation_id, "keyed by conversation");
                return message;
            }
        }
    })
}

#[test]
fn two_people_chat() {
    let gate = Gate::start();
    let (mut alice, mut bob) = (gate.connect(1, "phone"), gate.connect(2, "laptop"));
    alice.send_message("single_1_2", "hi \"bob\"", "c-1");
    let accepted = alice.expect("message-ack");
    let expect =
        serde_json::json!({"tempMessageId": "c-1", "conversationId": "single_1_2", "status": "accepted"});
    assert_eq!(accepted, expect);

    let sent = upstream(&gate);
    assert_eq!((sent.sender_id, sent.device_id.as_str(), sent.content.as_str()), (1, "phone", "hi \"bob\""));
    assert_eq!((sent.gateway_instance.as_str(), sent.gateway_slot), (INSTANCE, SLOT));

    gate.down(delivery(message("single_1_2", 1, 1), &[1, 2]));
    gate.down(Body::Ack(Ack {
        user_id: 1,
        connection_id: sent.connection_id,
        client_msg_id: "c-1".into(),
        conversation_id: "single_1_2".into(),
        status: ack::Status::Stored.into(),
        message_id: 1_001,
        seq_id: 1,
        ..Ack::default()
    }));
    let expect = serde_json::json!({
        "messageId": "1001", "conversationId": "single_1_2", "sender": "1", "content": "message 1",
        "messageType": "text", "seqId": 1, "clientMsgId": "c1", "createdAt": 1_700_000_000_000_u64,
    });
    assert_eq!(bob.expect("new-message"), expect);
    assert_eq!(alice.expect("new-message"), expect);
    let stored = alice.expect("message-ack");
    assert_eq!(
        (&stored["status"], &stored["messageId"], &stored["seqId"]),
        (&"stored".into(), &"1001".into(), &1.into())
    );
}
