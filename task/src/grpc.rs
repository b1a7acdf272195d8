//! What an operator asks: which records could never succeed, and to try one again.
use gochat_infra::errors::{Code, Error};
use gochat_infra::mq::{Outgoing, Producer, Queue, QueueError, Record, SendError, Target};
use gochat_proto::queue::v1::DeadLetter;
use gochat_proto::task::v1::dead_letter_service_server::DeadLetterService;
use gochat_proto::task::v1::{
    GetDeadLetterRequest, GetDeadLetterResponse, ListDeadLettersRequest, ListDeadLettersResponse,
    PlacedDeadLetter, ReplayDeadLetterRequest, ReplayDeadLetterResponse,
};
use gochat_proto::topics;
use prost::Message;
use tonic::{Request, Response, Status};

use crate::metrics::TaskMetrics;

/// Topics whose consumers find by themselves what they did before.
const REPLAYABLE: [&str; 2] = [topics::UPSTREAM, topics::TASKS];

/// A page when no limit is named.
const PAGE: u32 = 100;

pub(crate) struct DeadLetters {
    pub queue: Queue,
    pub producer: Producer,
    pub page_max: u32,
    pub page_max_bytes: usize,
    pub metrics: TaskMetrics,
}

#[tonic::async_trait]
impl DeadLetterService for DeadLetters {
    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        let ListDeadLettersRequest { partition, from_offset, limit } = request.into_inner();
        let limit = if limit == 0 { PAGE } else { limit }.min(self.page_max) as usize;
        let found = self.read(partition, from_offset, limit).await?;
        let next_offset = found.last().map_or(from_offset, |record| record.offset + 1);
        let has_more = !found.is_empty() && !self.read(partition, next_offset, 1).await?.is_empty();
        let without_value = |record: &Record| {
            let mut placed = place(record);
            placed.letter.get_or_insert_default().value.clear();
            placed
        };
        let letters = found.iter().map(without_value).collect();
        Ok(Response::new(ListDeadLettersResponse { letters, next_offset, has_more }))
    }

    async fn get_dead_letter(
        &self,
        request: Request<GetDeadLetterRequest>,
    ) -> Result<Response<GetDeadLetterResponse>, Status> {
        let GetDeadLetterRequest { partition, offset } = request.into_inner();
        let record = self.get(partition, offset).await?;
        Ok(Response::new(GetDeadLetterResponse { dead_letter: Some(place(&record)) }))
    }

    async fn replay_dead_letter(
        &self,
        request: Request<ReplayDeadLetterRequest>,
    ) -> Result<Response<ReplayDeadLetterResponse>, Status> {
        let ReplayDeadLetterRequest { partition, offset } = request.into_inner();
        let record = self.get(partition, offset).await?;
        let letter = DeadLetter::decode(record.value)
            .map_err(|e| Error::invalid(format!("this dead letter can't be read: {e}")))?;
        let topic = REPLAYABLE.into_iter().find(|topic| *topic == letter.topic).ok_or_else(|| {
            Error::invalid(format!(
                "records of {:?} can't be replayed; only those of {REPLAYABLE:?}",
                letter.topic
            ))
        })?;
        let again = Outgoing { topic, target: Target::ByKey, key: letter.key, value: letter.value };
        let position = self.producer.send_wait(again).await.map_err(not_taken)?;
        self.metrics.replayed.inc();
        tracing::info!(
            number = offset,
            topic,
            partition = position.partition,
            offset = position.offset,
            "replayed a dead letter"
        );
        Ok(Response::new(ReplayDeadLetterResponse {
            topic: topic.to_owned(),
            partition: position.partition,
            offset: position.offset,
        }))
    }
}

impl DeadLetters {
    async fn read(&self, partition: u32, from_offset: u64, limit: usize) -> Result<Vec<Record>, Error> {
        let read = self.queue.read(topics::DEAD_LETTER, partition, from_offset, limit, self.page_max_bytes);
        read.await.map_err(|error| match error {
            QueueError::UnknownTopic(_) => {
                Error::new(Code::RouteNotFound, format!("gochat.dead-letter has no partition {partition}"))
            }
            error => Error::internal(error),
        })
    }

    async fn get(&self, partition: u32, offset: u64) -> Result<Record, Error> {
        let found = self.read(partition, offset, 1).await?.pop().filter(|record| record.offset == offset);
        found.ok_or_else(|| {
            let reason = format!("there is no dead letter {offset} in partition {partition} (any more)");
            Error::new(Code::RouteNotFound, reason)
        })
    }
}

fn place(record: &Record) -> PlacedDeadLetter {
    let letter = DeadLetter::decode(record.value.clone()).unwrap_or_else(|e| DeadLetter {
        error: format!("this dead letter can't be read: {e}"),
        ..DeadLetter::default()
    });
    PlacedDeadLetter { partition: record.partition, offset: record.offset, letter: Some(letter) }
}

fn not_taken(error: SendError) -> Error {
    match error {
        SendError::TooLarge(_) | SendError::UnknownTopic(_) => Error::internal(error),
        SendError::QueueFull | SendError::Closed | SendError::Storage(_) => {
            Error::new(Code::Overloaded, format!("it was not replayed, try again later: {error}"))
        }
    }
}
