//! Where tasks go that can never be done.
use gochat_infra::mq::{Outgoing, Producer, Record, SendError, Target};
use gochat_proto::queue::v1::DeadLetter;
use gochat_proto::topics;
use prost::Message;

/// Keeps the record with its reason. Until that has worked the record is not finished.
pub(crate) async fn bury(producer: &Producer, record: &Record, reason: String) -> Result<(), SendError> {
    let letter = DeadLetter {
        topic: record.topic.to_owned(),
        partition: record.partition,
        offset: record.offset,
        key: record.key.clone(),
        value: record.value.clone(),
        error: reason,
        failed_at_ms: crate::unix_ms(),
    };
    let outgoing = Outgoing {
        topic: topics::DEAD_LETTER,
        target: Target::ByKey,
        key: record.key.clone(),
        value: letter.encode_to_vec().into(),
    };
    producer.send_wait(outgoing).await.map(drop)
}
