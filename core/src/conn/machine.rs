//! The decisions about an upgraded connection: what a decoded frame leads to in which phase, and what silence means.
//! Pure.

use crate::app::CloseReason;
use crate::config::Config;
use crate::ws::{Decoded, Frame, OpCode};

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// A close frame is queued or sent.
    Closing {
        reason: CloseReason,
        then: Then,
    },
}

/// What a closing connection still waits for when its outbox is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing: the peer's close frame has come.
    End,
    /// The peer's close frame.
    PeerClose,
    /// The peer's end of stream; its input is no longer understood and discarded. A socket that is closed with unread
    /// input sends a reset, which can destroy our close frame on its way.
    PeerEnd,
}

/// What is to be done about a frame.
#[derive(Debug, PartialEq)]
pub(crate) enum Reaction<'a> {
    /// The frame is not complete.
    Wait,
    /// Go on with the next frame.
    Nothing,
    /// Tell the app.
    Text(&'a str),
    /// Tell the app.
    Binary(&'a [u8]),
    /// Answer, if there is room.
    Answer(Frame),
    /// Close with this frame.
    Close(Frame, CloseReason, Then),
    /// The close that we began is going on in this way.
    Closing(Then),
}

/// Decides about a decoded frame.
pub(crate) fn react(phase: Phase, decoded: Decoded<'_>) -> Reaction<'_> {
    match (phase, decoded) {
        (_, Decoded::More) => Reaction::Wait,
        (_, Decoded::Fragment | Decoded::Pong) => Reaction::Nothing,
        (Phase::Open, Decoded::Text(text)) => Reaction::Text(text),
        (Phase::Open, Decoded::Binary(bytes)) => Reaction::Binary(bytes),
        (Phase::Open, Decoded::Ping(payload)) => Reaction::Answer(Frame::new(OpCode::Pong, &[payload])),
        (Phase::Open, Decoded::Close(code)) => {
            let answer = if code == 1005 { Frame::new(OpCode::Close, &[]) } else { Frame::close(code, "") };
            Reaction::Close(answer, CloseReason::Peer(code), Then::End)
        }
        (Phase::Open, Decoded::Fail(breach)) => {
            let frame = Frame::close(breach.code(), breach.words());
            Reaction::Close(frame, CloseReason::Protocol(breach), Then::PeerEnd)
        }
        // After our close frame nothing is sent, and nothing but the peer's close frame means anything.
        (Phase::Closing { .. }, Decoded::Text(_) | Decoded::Binary(_) | Decoded::Ping(_)) => {
            Reaction::Nothing
        }
        (Phase::Closing { .. }, Decoded::Close(_)) => Reaction::Closing(Then::End),
        (Phase::Closing { .. }, Decoded::Fail(..)) => Reaction::Closing(Then::PeerEnd),
    }
}

/// Control frames of a connection in one second of the engine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ControlRate {
    second: u32,
    frames: u32,
}

impl ControlRate {
    /// Counts one; whether it is within the limit.
    pub(crate) fn takes(&mut self, now_ms: u64, per_second_max: u32) -> bool {
        let second = (now_ms / 1_000) as u32;
        if self.second != second {
            *self = ControlRate { second, frames: 0 };
        }
        self.frames = self.frames.saturating_add(1);
        self.frames <= per_second_max
    }
}

/// What to do about a connection that may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quiet {
    /// Look again at this time.
    LookAt(u64),
    /// Send a ping, and look again at this time.
    Ping(u64),
    /// Give it up.
    Dead,
}

/// Decides about silence at `now_ms`. `pinged_ms`: when a ping was sent after the last byte, if one was.
pub(crate) fn quiet(now_ms: u64, last_in_ms: u64, pinged_ms: Option<u64>, config: &Config) -> Quiet {
    match pinged_ms {
        Some(pinged) if now_ms >= pinged + config.pong_deadline_ms => Quiet::Dead,
        Some(pinged) => Quiet::LookAt(pinged + config.pong_deadline_ms),
        None if now_ms >= last_in_ms + config.ping_interval_ms => {
            Quiet::Ping(now_ms + config.pong_deadline_ms)
        }
        None => Quiet::LookAt(last_in_ms + config.ping_interval_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::Breach;

    const OURS: Phase = Phase::Closing { reason: CloseReason::App(1000), then: Then::PeerClose };

    #[test]
    fn closes_are_answered_once() {
        let check = |phase, decoded, expect| assert_eq!(react(phase, decoded), expect);
        let normal = Reaction::Close(Frame::close(1000, ""), CloseReason::Peer(1000), Then::End);
        check(Phase::Open, Decoded::Close(1000), normal);
        let bare = Reaction::Close(Frame::new(OpCode::Close, &[]), CloseReason::Peer(1005), Then::End);
        check(Phase::Open, Decoded::Close(1005), bare);
        check(OURS, Decoded::Close(1000), Reaction::Closing(Then::End));
        check(OURS, Decoded::Fail(Breach::Opcode), Reaction::Closing(Then::PeerEnd));
        check(OURS, Decoded::Text("late"), Reaction::Nothing);
        check(OURS, Decoded::Ping(b"late"), Reaction::Nothing);
    }

    #[test]
    fn control_frames_have_a_rate() {
        let mut rate = ControlRate::default();
        let mut check = |now_ms, expect: bool| assert_eq!(rate.takes(now_ms, 2), expect, "{now_ms}");
        check(900, true);
        check(999, true);
        check(999, false);
        check(1_000, true);
        check(1_999, true);
        check(1_999, false);
        check(5_000, true);
    }

    #[test]
    fn silence_is_pinged_then_given_up() {
        let config = Config { ping_interval_ms: 100, pong_deadline_ms: 30, ..Config::default() };
        let check = |now, last_in, pinged, expect| {
            assert_eq!(quiet(now, last_in, pinged, &config), expect, "{now} {last_in} {pinged:?}");
        };
        check(100, 50, None, Quiet::LookAt(150));
        check(150, 50, None, Quiet::Ping(180));
        check(160, 50, Some(150), Quiet::LookAt(180));
        check(180, 50, Some(150), Quiet::Dead);
        check(180, 160, None, Quiet::LookAt(260));
    }
}
