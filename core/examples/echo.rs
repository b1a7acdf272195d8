//! An echo server: every message comes back to its sender. For benchmarks and for trying the engine out.
//!
//! `echo [LISTEN] [SHARDS] [auto|uring|epoll]`, by default `127.0.0.1:9000 1 auto`. Each WebSocket at `/` or `/ws`
//! gets a key of its own, so that with several shards they are spread; `?key=N` chooses one. Over plain HTTP, `/echo`
//! answers with the request's body. Counters are printed every ten seconds. A line on standard input, or its end,
//! drains the server.

use gochat_core::{
    App, CloseReason, Config, ConnId, Cx, Driver, Engine, Frame, Outcome, Priority, Request, RequestId,
    Response, Upgrade,
};
use std::time::Duration;

/// Says everything back.
#[derive(Default)]
pub struct Echo {
    next_key: u64,
}

impl App for Echo {
    type Session = ();
    type Mail = ();
    const BINARY: bool = true;

    fn on_request(&mut self, cx: &mut Cx<'_, Self>, request: &Request<'_>, _: RequestId) -> Outcome<()> {
        match request.path {
            "/echo" => Outcome::Respond(Response::new(200).body(request.body.to_vec())),
            "/" | "/ws" => {
                let chosen = request.query.and_then(|query| query.strip_prefix("key=")?.parse().ok());
                self.next_key += cx.shards() as u64;
                let key = chosen.unwrap_or(self.next_key + cx.shard() as u64);
                Outcome::Upgrade(Upgrade { key, session: (), protocol: None })
            }
            _ => Outcome::Respond(Response::new(404)),
        }
    }

    fn on_open(&mut self, _: &mut Cx<'_, Self>, _: ConnId) {}

    fn on_text(&mut self, cx: &mut Cx<'_, Self>, conn: ConnId, text: &str) {
        let _ = cx.send(conn, &Frame::text(text.as_bytes()), Priority::Keep);
    }

    fn on_binary(&mut self, cx: &mut Cx<'_, Self>, conn: ConnId, bytes: &[u8]) {
        let _ = cx.send(conn, &Frame::binary(bytes), Priority::Keep);
    }

    fn on_close(&mut self, _: &mut Cx<'_, Self>, _: ConnId, _: u64, (): (), _: CloseReason) {}

    fn on_mail(&mut self, _: &mut Cx<'_, Self>, (): ()) {}

    fn on_timer(&mut self, _: &mut Cx<'_, Self>, _: u64) {}
}

/// Wide limits: messages of 16 MiB in as many fragments as one likes, and all clients may be on one machine.
pub fn config() -> Config {
    const MIB: usize = 1 << 20;
    let defaults = Config::default();
    Config {
        http_connections_per_shard_max: defaults.connections_per_shard_max,
        http_connections_per_ip_max: defaults.connections_per_shard_max,
        frame_max_bytes: 16 * MIB,
        message_max_bytes: 16 * MIB,
        fragments_per_message_max: 1 << 20,
        control_frames_per_second_max: 1 << 20,
        message_deadline_ms: 600_000,
        outbox_connection_max_bytes: 64 * MIB,
        outbox_shard_max_bytes: 512 * MIB,
        input_shard_max_bytes: 512 * MIB,
        memory_shard_max_bytes: 2048 * MIB,
        ..defaults
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let config = Config {
        listen: arguments.next().as_deref().unwrap_or("127.0.0.1:9000").parse()?,
        shards: arguments.next().as_deref().unwrap_or("1").parse()?,
        driver: match arguments.next().as_deref() {
            None | Some("auto") => Driver::Auto,
            Some("uring") => Driver::Uring,
            Some("epoll") => Driver::Epoll,
            Some(other) => return Err(format!("no such driver: {other}").into()),
        },
        ..config()
    };
    let engine = Engine::start(config, |_| Echo::default())?;
    println!("ws://{} on {}", engine.local_addr(), engine.engine_in_use());
    let (line, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || line.send(std::io::stdin().read_line(&mut String::new())));
    while lines.recv_timeout(Duration::from_secs(10)).is_err() {
        for one in engine.stats() {
            println!(
                "shard {}: {} connections, {} messages, {} writes, {} bytes out",
                one.shard, one.ws_connections, one.messages_in, one.writes, one.bytes_out
            );
        }
    }
    engine.drain();
    println!("{:?}", engine.join());
    Ok(())
}
