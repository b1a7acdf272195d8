//! Messages out of a client's bytes. Pure; unmasks in place and copies only what a message needs to be put together.

use super::header::{Header, OpCode, decode_header};
use super::mask::apply_mask;
use super::utf8::Utf8Check;

/// Limits of what a peer may send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) frame_max_bytes: usize,
    pub(crate) message_max_bytes: usize,
}

/// Incomplete input of a connection. Exists only while there is any.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    /// Bytes of an incomplete frame.
    pub(crate) raw: Vec<u8>,
    /// Payloads of the fragments of an incomplete message.
    pub(crate) message: Vec<u8>,
    /// A first fragment has come, the last has not.
    pub(crate) fragmented: bool,
    utf8: Utf8Check,
    /// Bytes that the shard's budget was charged for it.
    pub(crate) accounted: usize,
}

impl Assembly {
    /// Bytes that are kept.
    pub(crate) fn bytes(&self) -> usize {
        self.raw.len() + self.message.len()
    }

    /// Whether nothing needs to be kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.raw.is_empty() && !self.fragmented
    }

    /// Forgets a message that was handled.
    pub(crate) fn end_message(&mut self) {
        if !self.fragmented {
            self.message.clear();
        }
    }
}

/// What the next bytes mean.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded<'a> {
    /// A frame is not complete.
    More,
    /// A fragment was taken; its message is not complete.
    Fragment,
    /// A whole text message.
    Text(&'a str),
    /// To be answered with the same payload.
    Ping(&'a [u8]),
    Pong,
    /// The peer closes; the code is valid, 1005 when it gave none.
    Close(u16),
    /// The connection must be closed with this code.
    Fail(u16, &'static str),
}

/// Decodes one frame at the start of `input`, and says how many bytes it took. `assembly` keeps a fragmented message
/// between calls; its `raw` is the caller's.
pub(crate) fn decode<'a>(
    assembly: &'a mut Option<Box<Assembly>>,
    input: &'a mut [u8],
    limits: Limits,
) -> (usize, Decoded<'a>) {
    let header = match decode_header(input) {
        Ok(Some(header)) => header,
        Ok(None) => return (0, Decoded::More),
        Err(_) => return (0, Decoded::Fail(1002, "protocol error")),
    };
    if let Err(failed) = check(assembly.as_deref(), &header, limits) {
        return (0, failed);
    }
    // The limits are far below usize::MAX, so that the length fits.
    let end = header.header + header.payload as usize;
    let Some(frame) = input.get_mut(..end) else { return (0, Decoded::More) };
    let payload = &mut frame[header.header..];
    apply_mask(payload, header.mask);
    let decoded = match header.op {
        OpCode::Ping => Decoded::Ping(payload),
        OpCode::Pong => Decoded::Pong,
        OpCode::Close => close(payload),
        OpCode::Text if header.fin => text(payload),
        OpCode::Text | OpCode::Continuation | OpCode::Binary => fragment(assembly, payload, header.fin),
    };
    (end, decoded)
}

/// Refuses what its header alone makes wrong, before its payload is waited for.
fn check(assembly: Option<&Assembly>, header: &Header, limits: Limits) -> Result<(), Decoded<'static>> {
    let in_message = assembly.is_some_and(|assembly| assembly.fragmented);
    match header.op {
        OpCode::Binary => return Err(Decoded::Fail(1003, "text only")),
        OpCode::Text if in_message => return Err(Decoded::Fail(1002, "a message is incomplete")),
        OpCode::Continuation if !in_message => return Err(Decoded::Fail(1002, "nothing to continue")),
        _ => {}
    }
    let before = assembly.map_or(0, |assembly| assembly.message.len()) as u64;
    let message = if header.op.is_control() { 0 } else { before.saturating_add(header.payload) };
    if header.payload > limits.frame_max_bytes as u64 || message > limits.message_max_bytes as u64 {
        return Err(Decoded::Fail(1009, "too big"));
    }
    Ok(())
}

fn text(payload: &[u8]) -> Decoded<'_> {
    simdutf8::basic::from_utf8(payload).map_or(Decoded::Fail(1007, "not UTF-8"), Decoded::Text)
}

fn fragment<'a>(assembly: &'a mut Option<Box<Assembly>>, payload: &[u8], fin: bool) -> Decoded<'a> {
    let assembly = assembly.get_or_insert_default();
    if !assembly.fragmented {
        assembly.fragmented = true;
        assembly.message.clear();
        assembly.utf8 = Utf8Check::default();
    }
    // Each piece is checked as it comes, so that a wrong text fails before its last fragment.
    if assembly.utf8.feed(payload).is_err() || fin && !assembly.utf8.is_complete() {
        return Decoded::Fail(1007, "not UTF-8");
    }
    assembly.message.extend_from_slice(payload);
    if !fin {
        return Decoded::Fragment;
    }
    assembly.fragmented = false;
    text(&assembly.message)
}

fn close(payload: &[u8]) -> Decoded<'static> {
    match payload {
        [] => Decoded::Close(1005),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !super::is_sendable(code) {
                Decoded::Fail(1002, "invalid close code")
            } else if simdutf8::basic::from_utf8(reason).is_err() {
                Decoded::Fail(1007, "not UTF-8")
            } else {
                Decoded::Close(code)
            }
        }
        [_] => Decoded::Fail(1002, "invalid close frame"),
    }
}
