//! What a coordinator and its agents say to each other: an order, an answer, an order, … Frames are a length of four
//! bytes, the highest first, and that much JSON.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::checker::ConversationHistory;
use crate::config::LoadConfig;
use crate::meter::proc::ProcessUse;
use crate::tally::{Latencies, Progress};

/// Raised when a message changes its form or meaning.
pub(super) const PROTOCOL: u32 = 1;
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// From the coordinator. Each has one answer, named behind it; a [`Answer::Refused`] is possible everywhere.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// The first one. → [`Answer::Welcome`]
    Hello { protocol: u32, version: String, token: Option<String> },
    /// → [`Answer::Clock`]
    TellClock,
    /// Begins to connect the first users; an earlier load is abandoned. → [`Answer::Done`]
    Start { config: Box<LoadConfig>, connect_limit: usize },
    /// → [`Answer::Done`]
    LetConnect { limit: usize },
    /// The first message is due at this time of the agent's clock; without an end until `EndSending`. → [`Answer::Done`]
    Begin { at_us: u64, lasting_us: Option<u64> },
    /// → [`Answer::Done`]
    EndSending,
    /// → [`Answer::Done`]
    CutAll,
    /// → [`Answer::Seen`]
    Look,
    /// → [`Answer::Measured`]
    TakeLatencies,
    /// → [`Answer::Cost`]
    TellCost,
    /// → [`Answer::Done`]
    Finish { deadline_ms: u64 },
    /// To come home at once. → any number of [`Answer::Conversation`], then [`Answer::Home`]
    Stop,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Welcome(Box<Welcome>),
    /// µs since the agent's own zero.
    Clock {
        now_us: u64,
    },
    Done,
    Seen(Seen),
    /// Since the last time.
    Measured(Box<Latencies>),
    Cost(ProcessUse),
    Conversation(ConversationHistory),
    Home(Box<Home>),
    /// Why the order can't be obeyed.
    Refused {
        why: String,
    },
}

/// Who an agent is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Welcome {
    pub(super) pid: u32,
    pub(super) cores: usize,
    pub(super) fingerprint: Value,
}

/// A look at a running load.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) progress: Progress,
    /// The last thing that went wrong, in words; empty: nothing.
    pub(super) trouble: String,
    pub(super) is_finished: bool,
}

/// A load's outcome without its conversations, which came before.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Home {
    pub(super) latencies: Latencies,
    pub(super) progress: Progress,
    pub(super) unfinished: u64,
    pub(super) unread: u64,
    pub(super) panicked: u64,
}

/// Who is not yet welcome may not send more.
pub(super) const HELLO_BYTES_MAX: usize = 4096;
/// 18,000 users with their tokens are some 6 MB, and a history of a million messages in one conversation some 400 MB.
pub(super) const FRAME_BYTES_MAX: usize = 1 << 30;

pub(super) fn write_frame(writer: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = frame.len() - 4;
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::other(format!("{length} bytes are more than a frame may have")));
    }
    frame[..4].copy_from_slice(&(length as u32).to_be_bytes());
    writer.write_all(&frame)?;
    writer.flush()
}

/// `None`: the other side has closed.
///
/// # Errors
/// The link broke, or the frame is too long or not what was expected.
pub(super) fn read_frame<T: DeserializeOwned>(
    reader: &mut impl Read,
    bytes_max: usize,
) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match reader.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > bytes_max {
        let why = format!("a frame of {length} bytes, and {bytes_max} are allowed here");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    // Grows with what comes: a length alone takes no memory.
    let mut frame = Vec::new();
    reader.take(length as u64).read_to_end(&mut frame)?;
    if frame.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(serde_json::from_slice(&frame)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_whole_or_not_at_all() {
        let mut wire = Vec::new();
        write_frame(&mut wire, &Order::LetConnect { limit: 7 }).unwrap();
        let read = |mut wire: &[u8], max| read_frame::<Order>(&mut wire, max);
        assert!(matches!(read(&wire, 100), Ok(Some(Order::LetConnect { limit: 7 }))));
        assert!(matches!(read(&[], 100), Ok(None)));
        assert!(read(&wire, 5).unwrap_err().to_string().contains("5 are allowed"));
        assert!(read(&wire[..wire.len() - 1], 100).is_err(), "cut off");
        assert!(read(b"\0\0\0\x02{}", 100).is_err(), "no order");
        assert!(read(b"\xff\xff\xff\xff", FRAME_BYTES_MAX).is_err());
    }
}
