//! An echo server: every message comes back to its sender. For benchmarks and for trying the engine out.
//!
//! `echo [LISTEN] [SHARDS] [auto|uring|epoll]`, by default `127.0.0.1:9000 1 auto`. Each WebSocket at `/` or `/ws`
//! gets a key of its own, so that with several shards they are spread; `?key=N` chooses one. What is said at `/broadcast`
//! goes to all connections there, the sender's too. Over plain HTTP, `/echo` answers with the request's body.
//! Once it listens it prints a line with `ready`, and its counters every ten seconds.
//!
//! A line on standard input, or its end, drains the server. A bare port as LISTEN means 127.0.0.1, and that standard input
//! is not read: a server for scripts, which ends by a signal.

use gochat_core::{
    App, CloseReason, Config, ConnId, Cx, Driver, Engine, Frame, Outcome, Priority, Request, RequestId,
    Response, Upgrade,
};
use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// The one key of all connections at `/broadcast`: they meet on its home shard, however many shards there are. Other
/// keys are smaller.
const ROOM: u64 = u64::MAX;

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
                let chosen = request.query.and_then(|query| query.strip_prefix("key=")?.parse::<u32>().ok());
                self.next_key += cx.shards() as u64;
                let key = chosen.map_or(self.next_key + cx.shard() as u64, u64::from);
                Outcome::Upgrade(Upgrade { key, session: (), protocol: None })
            }
            "/broadcast" => Outcome::Upgrade(Upgrade { key: ROOM, session: (), protocol: None }),
            _ => Outcome::Respond(Response::new(404)),
        }
    }

    fn on_open(&mut self, _: &mut Cx<'_, Self>, _: ConnId) {}

    fn on_text(&mut self, cx: &mut Cx<'_, Self>, conn: ConnId, text: &str) {
        answer(cx, conn, &Frame::text(text.as_bytes()));
    }

    fn on_binary(&mut self, cx: &mut Cx<'_, Self>, conn: ConnId, bytes: &[u8]) {
        answer(cx, conn, &Frame::binary(bytes));
    }

    fn on_close(&mut self, _: &mut Cx<'_, Self>, _: ConnId, _: u64, (): (), _: CloseReason) {}

    fn on_mail(&mut self, _: &mut Cx<'_, Self>, (): ()) {}

    fn on_timer(&mut self, _: &mut Cx<'_, Self>, _: u64) {}
}

/// One frame, which all of its receivers share.
fn answer(cx: &mut Cx<'_, Echo>, conn: ConnId, frame: &Frame) {
    if cx.key_of(conn) == Some(ROOM) {
        cx.send_to_key(ROOM, frame, Priority::Keep);
    } else {
        let _ = cx.send(conn, frame, Priority::Keep);
    }
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

/// What the command line asks for.
pub struct Command {
    pub config: Config,
    /// A line on standard input, or its end, drains the server.
    pub is_ended_by_stdin: bool,
}

impl Command {
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Command, String> {
        let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:9000".to_owned());
        let port = listen.parse::<u16>().ok();
        let listen = match port {
            Some(port) => (Ipv4Addr::LOCALHOST, port).into(),
            None => listen.parse().map_err(|_| format!("neither an address nor a port: {listen}"))?,
        };
        let shards = arguments.next().unwrap_or_else(|| "1".to_owned());
        let config = Config {
            listen,
            shards: shards.parse().map_err(|_| format!("no number of shards: {shards}"))?,
            driver: match arguments.next().as_deref() {
                None | Some("auto") => Driver::Auto,
                Some("uring") => Driver::Uring,
                Some("epoll") => Driver::Epoll,
                Some(other) => return Err(format!("no such driver: {other}")),
            },
            ..config()
        };
        Ok(Command { config, is_ended_by_stdin: port.is_none() })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let command = Command::parse(std::env::args().skip(1))?;
    let engine = Engine::start(command.config, |_| Echo::default())?;
    println!("ready: ws://{} on {}", engine.local_addr(), engine.engine_in_use());
    let (line, lines) = channel();
    if command.is_ended_by_stdin {
        let line = line.clone();
        std::thread::spawn(move || line.send(std::io::stdin().read_line(&mut String::new())));
    }
    // While `line` lives, silence is no end.
    show_until(&engine, &lines);
    engine.drain();
    println!("{:?}", engine.join());
    drop(line);
    Ok(())
}

/// Prints counters until something is said.
fn show_until<T>(engine: &Engine<Echo>, lines: &Receiver<T>) {
    while lines.recv_timeout(Duration::from_secs(10)).is_err() {
        for one in engine.stats() {
            println!(
                "shard {}: {} connections, {} messages, {} writes, {} bytes out",
                one.shard, one.ws_connections, one.messages_in, one.writes, one.bytes_out
            );
        }
    }
}
