//! What a call and a record cost: `cargo run --release -p gochat-infra --example measure`.
//!
//! CPU is user and system time of the whole process over the measured stretch, so it includes both sides.

#[path = "../tests/support/echo.rs"]
mod echo;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use gochat_infra::mq::{
    ConsumerConfig, EmbeddedConfig, Event, Outgoing, Queue, SendError, TailEvent, Target, TopicConfig,
};
use gochat_infra::rpc::Client;
use gochat_infra::telemetry::Metrics;

fn cpu_seconds(metrics: &Metrics) -> f64 {
    let text = metrics.encode();
    let line = text.lines().find_map(|line| line.strip_prefix("process_cpu_seconds_total "));
    line.and_then(|value| value.parse().ok()).unwrap_or(f64::NAN)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let metrics = Metrics::new();
    calls(&metrics).await;
    for group in [1, 16, 256, 2000] {
        durable(&metrics, group).await;
    }
    memory(&metrics).await;
    behind(&metrics).await;
}

async fn calls(metrics: &Metrics) {
    let server = echo::Echo { max_decoding_bytes: 4000 };
    let client = Client::local(tonic::service::Routes::new(server.clone()));
    for text in ["hello", "yield", "direct"] {
        let count = 200_000;
        let (begun, cpu) = (Instant::now(), cpu_seconds(metrics));
        for _ in 0..count {
            let request = tonic::Request::new(text.to_owned());
            // Without the client and its router, to see what these add.
            let answer = match text {
                "direct" => echo::say(server.clone(), request).await,
                _ => echo::say(client.clone(), request).await,
            };
            answer.expect("an answer");
        }
        let (took, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds(metrics) - cpu);
        let each = |seconds: f64| seconds * 1e6 / f64::from(count);
        println!("call {text:?}: {:.2} µs, CPU {:.2} µs", each(took), each(cpu));
    }
}

fn open(dir: &std::path::Path) -> Queue {
    Queue::open_embedded(EmbeddedConfig {
        dir: dir.to_owned(),
        topics: vec![TopicConfig::durable("work", 8), TopicConfig::memory("live", 8)],
        ..EmbeddedConfig::default()
    })
    .expect("a queue")
}

fn record(topic: &'static str, n: u64) -> Outgoing {
    let key = Bytes::copy_from_slice(&(n % 1000).to_le_bytes());
    Outgoing { topic, target: Target::ByKey, key, value: Bytes::from(vec![n as u8; 200]) }
}

/// Sends in groups, each waiting for its acknowledgements, and consumes and commits meanwhile.
async fn durable(metrics: &Metrics, group: u64) {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    let producer = queue.producer();
    let count = (group * 4000).min(1_000_000);
    let (begun, cpu) = (Instant::now(), cpu_seconds(metrics));
    let sender = std::thread::spawn(move || {
        let acked = Arc::new(AtomicU64::new(0));
        let mut latencies = Vec::new();
        for first in (0..count).step_by(group as usize) {
            let begun = Instant::now();
            for n in first..first + group {
                let (acked, thread) = (acked.clone(), std::thread::current());
                let done = move |outcome: Result<_, SendError>| {
                    outcome.expect("written");
                    if acked.fetch_add(1, Ordering::Release) + 1 == first + group {
                        thread.unpark();
                    }
                };
                producer.send(record("work", n), done).expect("taken");
            }
            while acked.load(Ordering::Acquire) < first + group {
                std::thread::park();
            }
            latencies.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        latencies.sort_by(f64::total_cmp);
        (latencies[latencies.len() / 2], latencies[latencies.len() * 99 / 100])
    });
    let mut consumer = queue.consumer("logic", &["work"], ConsumerConfig::default()).expect("a consumer");
    let (mut got, mut events) = (0, 0);
    while got < count {
        if let Event::Records(records) = consumer.next().await {
            got += records.len() as u64;
            events += 1;
            let mut done = std::collections::HashMap::new();
            for record in &records {
                done.insert(record.partition, record.offset + 1);
            }
            for (partition, next) in done {
                consumer.commit(&gochat_infra::mq::TopicPartition { topic: "work", partition }, next);
            }
        }
    }
    let (took, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds(metrics) - cpu);
    let (p50, p99) = sender.join().expect("the sender");
    println!(
        "durable, groups of {group}: {:.0} records/s, CPU {:.2} µs a record, group p50 {p50:.2} p99 {p99:.2} ms, \
         {:.0} records an event",
        count as f64 / took,
        cpu * 1e6 / count as f64,
        count as f64 / f64::from(events),
    );
}

/// A record at a time to a tail on another thread.
async fn memory(metrics: &Metrics) {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    let producer = queue.producer();
    let mut tail = queue.tail("live", 0).expect("a tail");
    let count = 1_000_000;
    let (begun, cpu) = (Instant::now(), cpu_seconds(metrics));
    let sender = std::thread::spawn(move || {
        for n in 0..count {
            let outgoing = Outgoing { target: Target::Partition(0), ..record("live", n) };
            producer.send(outgoing, |_| {}).expect("taken");
        }
    });
    let (mut got, mut lost, mut events) = (0, 0, 0);
    while got + lost < count {
        match tail.next().await {
            TailEvent::Records(records) => got += records.len() as u64,
            TailEvent::Lost(records) => lost += records,
        }
        events += 1;
    }
    let (took, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds(metrics) - cpu);
    sender.join().expect("the sender");
    println!(
        "memory to a tail: {:.0} records/s, CPU {:.2} µs a record, {} events, {lost} lost",
        count as f64 / took,
        cpu * 1e6 / count as f64,
        events
    );
}

/// A consumer that begins when everything is written: all but the newest is read from the files.
async fn behind(metrics: &Metrics) {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    let producer = queue.producer();
    let count = 1_000_000;
    for n in 0..count {
        while producer.send(record("work", n), |_| {}) == Err(SendError::QueueFull) {
            std::thread::yield_now();
        }
    }
    queue.close();
    drop((queue, producer));
    let (begun, cpu) = (Instant::now(), cpu_seconds(metrics));
    let queue = open(dir.path());
    println!("open {count} records: {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
    let mut consumer = queue.consumer("logic", &["work"], ConsumerConfig::default()).expect("a consumer");
    let mut got = 0;
    while got < count {
        if let Event::Records(records) = consumer.next().await {
            got += records.len() as u64;
        }
    }
    let (took, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds(metrics) - cpu);
    println!(
        "open and read them: {:.0} records/s, CPU {:.2} µs a record",
        count as f64 / took,
        cpu * 1e6 / count as f64
    );
}
