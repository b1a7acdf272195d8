//! The pure parts, each as an operation to be done again and again: `make bench-check` counts its instructions.
//!
//! Only with the feature `counts`, and in tests, which do each operation once. An operation checks what it got: one that
//! fails early would look cheap.

use crate::app::{App, CloseReason, Cx, Outcome, Priority};
use crate::config::{Config, Driver};
use crate::conn::id::{ConnId, RequestId};
use crate::http::intake::{Intake, Step, with_request};
use crate::http::{Request, upgrade};
use crate::shard::build;
use crate::shard::state::{Conn, State};
use crate::socket::Socket;
use crate::ws::{Assembly, Decoded, Frame, Limits, decode};
use std::hint::black_box;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::process::ExitCode;
use std::rc::Rc;

/// An operation's name, and what does it as often as it is told.
pub type Part = (&'static str, fn(u64));

/// The engine's own.
pub const PARTS: [Part; 8] = [
    ("http_head_browser", |times| head(BROWSER, times)),
    ("http_head_phone", |times| head(PHONE, times)),
    ("http_upgrade", http_upgrade),
    ("ws_decode_128", |times| whole_messages(1, times)),
    ("ws_decode_16_of_128", |times| whole_messages(16, times)),
    ("ws_decode_3_fragments", fragments),
    ("ws_encode_128", encode),
    ("hub_fan_out_1000", fan_out),
];

/// The whole of a counting program: without arguments it names its parts, a line each; `PART TIMES` does one of them.
/// Exit code 2: there is no such part, or no such number.
#[must_use]
pub fn main(parts: &[Part]) -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let chosen = match words.as_slice() {
        [] => {
            parts.iter().for_each(|(name, _)| println!("{name}"));
            return ExitCode::SUCCESS;
        }
        [part, times] => parts.iter().find(|(name, _)| name == part).zip(times.parse().ok()),
        _ => None,
    };
    let Some(((_, run), times)) = chosen else {
        eprintln!("usage: without arguments for the names of all parts, or PART TIMES");
        return ExitCode::from(2);
    };
    run(times);
    ExitCode::SUCCESS
}

const BROWSER: &[u8] = b"GET /ws?deviceId=web-7f3a9c52d1e84b06 HTTP/1.1\r\n\
    Host: chat.example.org\r\n\
    Connection: Upgrade\r\n\
    Pragma: no-cache\r\n\
    Cache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
    Upgrade: websocket\r\n\
    Origin: https://chat.example.org\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en-US;q=0.9,en;q=0.8\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
    Sec-WebSocket-Protocol: chat.v1, bearer.eyJhbGciOiJFZERTQSIsImtpZCI6IjAxIn0.eyJzdWIiOiI3MjA1NzU5NDAzNzkyNzkzNiIsImRldmljZSI6Ind\
    lYi03ZjNhOWM1MmQxZTg0YjA2IiwiaWF0IjoxNzYzOTQ4MDAwLCJleHAiOjE3NjM5NTE2MDB9.c2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJlc2lnbm\
    F0dXJlc2lnbmF0dXJlc2lnbmF0dXJlc2k\r\n\
    \r\n";

const PHONE: &[u8] = b"GET /ws?deviceId=ios-2b81 HTTP/1.1\r\n\
    Host: chat.example.org\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Authorization: Bearer eyJhbGciOiJFZERTQSIsImtpZCI6IjAxIn0.eyJzdWIiOiI3MjA1NzU5NDAzNzkyNzkzNiIsImRldmljZSI6Imlvcy0yYjgxIiwiaWF0Ij\
    oxNzYzOTQ4MDAwLCJleHAiOjE3NjM5NTE2MDB9.c2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJlc2k\r\n\
    User-Agent: Chat/7 CFNetwork/3826 Darwin/25.0.0\r\n\
    \r\n";

/// What an upgrade request is to be made into by `look`.
fn requests<R>(bytes: &[u8], times: u64, mut look: impl FnMut(&Request<'_>) -> R) {
    let (config, peer) = (Config::default(), SocketAddr::from(([192, 0, 2, 7], 40_000)));
    for _ in 0..times {
        let bytes = black_box(bytes);
        let Step::Whole(head) = Intake::default().step(bytes, &config) else { panic!("no whole request") };
        black_box(with_request(bytes, &head, peer, peer.ip(), &mut look).expect("a request"));
    }
}

/// A head's framing, checks and fields, up to where the app is asked.
fn head(bytes: &[u8], times: u64) {
    requests(bytes, times, |request| assert_eq!(black_box(request).path, "/ws"));
}

/// A head with the answer to it.
fn http_upgrade(times: u64) {
    requests(PHONE, times, |request| upgrade::accept(request, Some("chat.v1")).expect("an upgrade"));
}

const TEXT: &str = "{\"type\":\"send-message\",\"data\":{\"conversationId\":\"single_1_2\",\"content\":\"See you at eight, then.\",\
                    \"clientMsgId\":\"m-000017\"}}";
/// [`TEXT`] with blanks behind it.
const TEXT_BYTES: usize = 128;
/// With its header and mask.
const FRAME_BYTES: usize = TEXT_BYTES + 8;
const MASK: [u8; 4] = [0x3a, 0x91, 0x5c, 0xe7];

/// A client's frame of 128 bytes of text.
fn masked(first: u8) -> Vec<u8> {
    let payload = format!("{TEXT:TEXT_BYTES$}");
    let mut frame = vec![first, 0x80 | 126, 0, TEXT_BYTES as u8];
    frame.extend_from_slice(&MASK);
    frame.extend(payload.bytes().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Decodes `frames`, each time fresh from the wire, as the decoder unmasks in place.
fn decode_again(frames: &[u8], times: u64) {
    let config = Config::default();
    let limits = Limits {
        frame_max_bytes: config.frame_max_bytes,
        message_max_bytes: config.message_max_bytes,
        fragments_per_message_max: config.fragments_per_message_max,
        binary: false,
    };
    let mut input = vec![0; frames.len()];
    let mut assembly: Option<Box<Assembly>> = None;
    for _ in 0..times {
        input.copy_from_slice(black_box(frames));
        let (mut used, mut texts) = (0, 0);
        while used < input.len() {
            let (took, decoded) = decode(&mut assembly, &mut input[used..], limits);
            used += took;
            match black_box(decoded) {
                Decoded::Text(text) => texts += text.len(),
                Decoded::Fragment => {}
                other => panic!("{other:?}"),
            }
            if let Some(assembly) = &mut assembly {
                assembly.end_frame();
            }
        }
        assert_eq!(texts, frames.len() / FRAME_BYTES * TEXT_BYTES);
    }
}

fn whole_messages(count: usize, times: u64) {
    decode_again(&masked(0x81).repeat(count), times);
}

/// One message in three frames.
fn fragments(times: u64) {
    decode_again(&[masked(0x01), masked(0x00), masked(0x80)].concat(), times);
}

fn encode(times: u64) {
    let text = format!("{TEXT:TEXT_BYTES$}");
    for _ in 0..times {
        let frame = Frame::text(black_box(text.as_bytes()));
        assert_eq!(black_box(frame).wire_len(), 4 + TEXT_BYTES);
    }
}

/// Says and does nothing.
struct Silent;

impl App for Silent {
    type Session = ();
    type Mail = ();
    fn on_request(&mut self, _: &mut Cx<'_, Self>, _: &Request<'_>, _: RequestId) -> Outcome<()> {
        Outcome::Pending
    }
    fn on_open(&mut self, _: &mut Cx<'_, Self>, _: ConnId) {}
    fn on_text(&mut self, _: &mut Cx<'_, Self>, _: ConnId, _: &str) {}
    fn on_close(&mut self, _: &mut Cx<'_, Self>, _: ConnId, _: u64, (): (), _: CloseReason) {}
    fn on_mail(&mut self, _: &mut Cx<'_, Self>, (): ()) {}
    fn on_timer(&mut self, _: &mut Cx<'_, Self>, _: u64) {}
}

const RECEIVERS: u64 = 1_000;

/// One message for 1,000 keys with a connection each, from its text to the bytes of each connection's write. All share one socket, which is
/// never written to.
fn fan_out(times: u64) {
    let config = Rc::new(Config::default());
    let mut built = build(Driver::Epoll, &config).expect("epoll");
    built.runtime.block_on(async {
        let socket = UnixDatagram::unbound().and_then(|socket| Socket::new(socket.into())).expect("a socket");
        let socket = Rc::new(socket);
        let mut state = State::<Silent>::new(Rc::clone(&config), 0);
        for key in 0..RECEIVERS {
            let id = state.conns.insert(Conn::new(key, (), Rc::clone(&socket), 0));
            state.hub.bind(key, id.slot());
        }
        let (text, mut join) = (format!("{TEXT:TEXT_BYTES$}"), Vec::new());
        for _ in 0..times {
            let frame = Frame::text(black_box(text.as_bytes()));
            let mut cx = Cx { state: &mut state };
            let send = |key| cx.send_to_key(key, &frame, Priority::Droppable);
            assert_eq!((0..RECEIVERS).map(send).sum::<usize>(), RECEIVERS as usize);
            let written = end_turn(&mut state, &mut join);
            assert_eq!(written, RECEIVERS as usize * frame.wire_len());
        }
    });
}

/// What the end of a turn does for each connection, with sockets that take everything; returns how many bytes they would have got.
fn end_turn(state: &mut State<Silent>, join: &mut Vec<u8>) -> usize {
    let (mut dirty, join_max_bytes) = (std::mem::take(&mut state.dirty), state.config.write_buffer_bytes);
    let before = state.outbox_bytes;
    for id in dirty.drain(..) {
        let conn = state.conns.get_mut(id).expect("a connection");
        conn.dirty = false;
        let mut outbox = conn.outbox.take().expect("something to write");
        let count = black_box(outbox.next_write(join, join_max_bytes)).len();
        outbox.advance(count);
        state.outbox_bytes -= count;
        state.free_outbox(outbox);
        state.note_room(id);
    }
    state.dirty = dirty;
    before - state.outbox_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_does_its_operation() {
        for (_, run) in PARTS {
            run(2);
        }
    }

    #[test]
    fn heads_are_as_long_as_real_ones() {
        assert!((700..1_200).contains(&BROWSER.len()), "{}", BROWSER.len());
        assert!((400..700).contains(&PHONE.len()), "{}", PHONE.len());
    }
}
