//! Promise: clients that are slow, broken or hostile cost themselves their connection, and nobody else a message; what they
//! took - descriptors, buffers, entries - all comes back.
//!
//! Method: on both drivers, trouble of one kind amid healthy clients in the same shard, who send numbered messages all the
//! time and must get every one back in order. Before and after it, descriptors and live bytes are counted.

mod rig;

use gochat_core::{Breach, CloseReason, Config, RequestRefused};
use rig::{Plain, Post, Server, config, frame, on_each_driver};
use socket2::SockRef;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Descriptors are counted for the whole process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const HEALTHY: usize = 4;

/// Messages that each healthy client gets back at least.
const ROUNDS: u64 = 50;

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("procfs").count()
}

/// Sends and gets back numbered messages, and answers pings, until told to stop.
fn be_healthy(mut client: Plain, rounds: &AtomicU64, stop: &AtomicBool) {
    for round in 0u64.. {
        let text = round.to_string().into_bytes();
        client.send(&frame(0x81, &text));
        loop {
            match client.frame() {
                (0x89, payload) => client.send(&frame(0x8a, &payload)),
                echoed => {
                    assert_eq!(echoed, (0x81, text), "a healthy client");
                    break;
                }
            }
        }
        rounds.fetch_add(1, Ordering::Relaxed);
        if stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// What must come back to where it was.
fn taken(server: &Server) -> (usize, u64) {
    let bytes = server.sum(|stats| stats.connections_bytes + stats.input_bytes + stats.blocked_bytes);
    (open_descriptors(), bytes)
}

fn amid_healthy_clients(config: &Config, trouble: impl Fn(&Server)) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    on_each_driver(config, |server| {
        let (stop, rounds) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; HEALTHY]);
        let healthy: Vec<_> =
            rounds.iter().zip(0..).map(|(count, key)| (count, server.join_plain(key, &[]))).collect();
        server.until(|stats| stats.ws_connections, HEALTHY as u64);
        let before = taken(&server);
        std::thread::scope(|threads| {
            for (count, client) in healthy {
                let stop = &stop;
                threads.spawn(move || be_healthy(client, count, stop));
            }
            let _stop = Stop(&stop);
            trouble(&server);
            wait_for("healthy clients get on", || {
                rounds.iter().all(|count| count.load(Ordering::Relaxed) >= ROUNDS)
            });
            wait_for("what was taken comes back", || taken(&server) == before);
        });
        server.until(|stats| stats.ws_connections + stats.outbox_bytes + stats.input_bytes, 0);
        assert_eq!(server.sum(|stats| stats.panics), 0);
    });
}

/// Lets the healthy clients go, also when the trouble fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn wait_for(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + rig::PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "{what}: not in time");
        std::thread::yield_now();
    }
}

/// Closes with a reset.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("an option");
    drop(stream);
}

#[test]
fn readers_that_stop() {
    let config = Config { close_deadline_ms: 100, ..config() };
    amid_healthy_clients(&config, |server| {
        let stuck: Vec<_> = (0..5).map(|_| server.join_over(server.connect_narrow(), 99, &[])).collect();
        server.until(|stats| stats.ws_connections, HEALTHY as u64 + 5);
        while server.sum(|stats| stats.closes.of(CloseReason::SlowReader)) < 5 {
            let post = Post::ToKey(99, "x".repeat(32 * 1024));
            server.mailboxes().shard(0).post_wait(post, 1, rig::PATIENCE).expect("room");
        }
        drop(stuck);
    });
}

#[test]
fn writers_of_one_byte_at_a_time() {
    let config = Config { head_deadline_ms: 150, message_deadline_ms: 150, ..config() };
    amid_healthy_clients(&config, |server| {
        let long = frame(0x81, &[b'x'; 60_000]);
        let mut messages: Vec<_> = (0..20).map(|_| server.join_plain(99, &long[..8])).collect();
        let mut heads: Vec<_> = (0..20).map(|_| Plain { stream: server.connect() }).collect();
        let ended = |server: &Server| {
            server.sum(|stats| {
                stats.closes.of(CloseReason::MessageDeadline)
                    + stats.requests_refused.of(RequestRefused::HeadDeadline)
            })
        };
        while ended(server) < 40 {
            for client in messages.iter_mut().chain(&mut heads) {
                // It may be over for this one.
                let _ = client.stream.write_all(b"x");
            }
            // Who is told so goes; a socket that is never read would hold the server's for its close deadline.
            if server.sum(|stats| stats.ws_closing) == 20 {
                messages.clear();
            }
        }
    });
}

#[test]
fn peers_that_have_vanished() {
    let config =
        Config { ping_interval_ms: 20, pong_deadline_ms: 3_000, write_deadline_ms: 3_000, ..config() };
    amid_healthy_clients(&config, |server| {
        // As the server sees it, a peer without a network is one who takes what the window allows and answers nothing. One
        // half has bytes on the way to it besides.
        let gone: Vec<_> =
            (0..10).map(|n| server.join_over(server.connect_narrow(), 90 + n % 2, &[])).collect();
        server.until(|stats| stats.ws_connections, HEALTHY as u64 + 10);
        for _ in 0..6 {
            let post = Post::ToKey(91, "x".repeat(32 * 1024));
            server.mailboxes().shard(0).post_wait(post, 1, rig::PATIENCE).expect("room");
        }
        let given_up = |stats: &gochat_core::ShardStats| {
            stats.closes.of(CloseReason::Idle) + stats.closes.of(CloseReason::WriteDeadline)
        };
        server.until(given_up, 10);
        drop(gone);
    });
}

#[test]
fn floods_of_pings_and_of_fragments() {
    amid_healthy_clients(&config(), |server| {
        let pings = frame(0x89, &[b'p'; 125]).repeat(500);
        let fragments = [frame(0x01, b""), frame(0x00, b"").repeat(2_000)].concat();
        let floods = [&pings, &fragments].map(|flood| (0..5).map(|_| server.join_plain(99, flood)));
        for mut client in floods.into_iter().flatten().collect::<Vec<_>>() {
            assert_eq!(client.close_code(), 1008);
        }
        for breach in [Breach::ControlFlood, Breach::FragmentFlood] {
            server.until(|stats| stats.closes.of(CloseReason::Protocol(breach)), 5);
        }
    });
}

#[test]
fn ends_without_a_close_frame() {
    amid_healthy_clients(&config(), |server| {
        let part = &frame(0x81, &[b'x'; 1_000])[..500];
        for n in 0..200 {
            let client = server.join_plain(99, if n % 3 == 0 { part } else { &[] });
            if n % 2 == 0 {
                reset(client.stream);
            }
        }
        server.until(|stats| stats.ws_connections, HEALTHY as u64);
        let ends = |stats: &gochat_core::ShardStats| {
            stats.closes.of(CloseReason::HungUp) + stats.closes.of(CloseReason::Socket)
        };
        assert_eq!(server.sum(ends), 200);
    });
}

#[test]
fn thousands_of_aborted_handshakes() {
    amid_healthy_clients(&config(), |server| {
        let before = server.sum(|stats| stats.accepted + stats.accept_errors);
        let head = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhl";
        for n in 0..3_000 {
            let mut stream = server.connect();
            let _ = stream.write_all(&head[..n % head.len()]);
            reset(stream);
        }
        // Each was accepted, or the kernel dropped it from the queue before.
        server.until(|stats| stats.http_connections, 0);
        assert!(server.sum(|stats| stats.accepted + stats.accept_errors) > before);
        server.join_plain(99, &[]);
    });
}
