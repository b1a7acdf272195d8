//! Where tasks go that can never be done.
use gochat_infra::mq::{Outgoing, Producer, Record, SendError, Target};
use gochat_proto::queue::v1::DeadLetter;
use gochat_proto::topics;
use prost::Message;

/// What is kept of a record that is too large to be wrapped.
const CUT_BYTES: usize = 1024;

/// Keeps the record with its reason. Until that has worked the record is not finished.
pub(crate) async fn bury(producer: &Producer, record: &Record, reason: &str) -> Result<(), SendError> {
    let mut letter = DeadLetter {
        topic: record.topic.to_owned(),
        partition: record.partition,
        offset: record.offset,
        key: record.key.clone(),
        value: record.value.clone(),
        error: reason.to_owned(),
        failed_at_ms: crate::unix_ms(),
    };
    match send(producer, record, &letter).await {
        // Just below the queue's bound by itself, above it with its reason; its lane must not wait for ever.
        Err(SendError::TooLarge(_)) => {
            letter.error = format!("{reason} ({} bytes, cut)", record.value.len());
            letter.value.truncate(CUT_BYTES);
            send(producer, record, &letter).await
        }
        sent => sent,
    }
}

async fn send(producer: &Producer, record: &Record, letter: &DeadLetter) -> Result<(), SendError> {
    let outgoing = Outgoing {
        topic: topics::DEAD_LETTER,
        target: Target::ByKey,
        key: record.key.clone(),
        value: letter.encode_to_vec().into(),
    };
    producer.send_wait(outgoing).await.map(drop)
}
