//! Messages out of a client's bytes. Pure; unmasks in place and copies only what a message needs to be put together.

use super::breach::Breach;
use super::header::{Header, OpCode, decode_header};
use super::mask::apply_mask;
use super::utf8::Utf8Check;

/// Limits of what a peer may send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) frame_max_bytes: usize,
    pub(crate) message_max_bytes: usize,
    pub(crate) fragments_per_message_max: u32,
    /// Binary messages are taken.
    pub(crate) binary: bool,
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
    binary: bool,
    fragments: u32,
    utf8: Utf8Check,
    /// When the incomplete message, or the incomplete frame outside of one, began to come in; the caller's.
    pub(crate) since_ms: Option<u64>,
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

    /// To be called when a frame was handled: what comes next is new, unless a message is incomplete.
    pub(crate) fn end_frame(&mut self) {
        if !self.fragmented {
            self.message.clear();
            self.since_ms = None;
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
    /// A whole binary message.
    Binary(&'a [u8]),
    /// To be answered with the same payload.
    Ping(&'a [u8]),
    Pong,
    /// The peer closes; the code is valid, 1005 when it gave none.
    Close(u16),
    /// The connection must be closed for this.
    Fail(Breach),
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
        Err(breach) => return (0, Decoded::Fail(breach)),
    };
    if let Err(breach) = check(assembly.as_deref(), &header, limits) {
        return (0, Decoded::Fail(breach));
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
        OpCode::Binary if header.fin => Decoded::Binary(payload),
        OpCode::Text | OpCode::Continuation | OpCode::Binary => fragment(assembly, payload, &header),
    };
    (end, decoded)
}

/// Refuses what its header alone makes wrong, before its payload is waited for.
fn check(assembly: Option<&Assembly>, header: &Header, limits: Limits) -> Result<(), Breach> {
    let in_message = assembly.is_some_and(|assembly| assembly.fragmented);
    match header.op {
        OpCode::Binary if !limits.binary => return Err(Breach::Binary),
        OpCode::Text | OpCode::Binary if in_message => return Err(Breach::Interleaved),
        OpCode::Continuation if !in_message => return Err(Breach::Continuation),
        _ => {}
    }
    let fragments = assembly.map_or(0, |assembly| assembly.fragments);
    if header.op == OpCode::Continuation && fragments >= limits.fragments_per_message_max {
        return Err(Breach::FragmentFlood);
    }
    let before = assembly.map_or(0, |assembly| assembly.message.len()) as u64;
    let message = if header.op.is_control() { 0 } else { before.saturating_add(header.payload) };
    if header.payload > limits.frame_max_bytes as u64 {
        return Err(Breach::FrameTooBig);
    }
    if message > limits.message_max_bytes as u64 {
        return Err(Breach::MessageTooBig);
    }
    Ok(())
}

fn text(payload: &[u8]) -> Decoded<'_> {
    simdutf8::basic::from_utf8(payload).map_or(Decoded::Fail(Breach::Utf8), Decoded::Text)
}

fn fragment<'a>(assembly: &'a mut Option<Box<Assembly>>, payload: &[u8], header: &Header) -> Decoded<'a> {
    let assembly = assembly.get_or_insert_default();
    if !assembly.fragmented {
        assembly.fragmented = true;
        assembly.message.clear();
        assembly.fragments = 0;
        assembly.binary = header.op == OpCode::Binary;
        assembly.utf8 = Utf8Check::default();
    }
    assembly.fragments += 1;
    // Each piece is checked as it comes, so that a wrong text fails before its last fragment.
    let is_text = !assembly.binary;
    if is_text && (assembly.utf8.feed(payload).is_err() || header.fin && !assembly.utf8.is_complete()) {
        return Decoded::Fail(Breach::Utf8);
    }
    assembly.message.extend_from_slice(payload);
    if !header.fin {
        return Decoded::Fragment;
    }
    assembly.fragmented = false;
    if is_text { text(&assembly.message) } else { Decoded::Binary(&assembly.message) }
}

fn close(payload: &[u8]) -> Decoded<'static> {
    match payload {
        [] => Decoded::Close(1005),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !super::is_sendable(code) {
                Decoded::Fail(Breach::CloseFrame)
            } else if simdutf8::basic::from_utf8(reason).is_err() {
                Decoded::Fail(Breach::Utf8)
            } else {
                Decoded::Close(code)
            }
        }
        [_] => Decoded::Fail(Breach::CloseFrame),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits {
        frame_max_bytes: 1_000,
        message_max_bytes: 1_500,
        fragments_per_message_max: 5,
        binary: false,
    };

    /// What a stream of frames amounts to.
    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Seen {
        Text(String),
        Ping(Vec<u8>),
        Pong,
        Close(u16),
        Fail(Breach),
    }

    /// Feeds pieces as a connection does: what is incomplete is kept before the next piece.
    fn run(pieces: &[&[u8]]) -> Vec<Seen> {
        let (mut assembly, mut raw, mut seen) = (None, Vec::new(), Vec::new());
        for piece in pieces {
            raw.extend_from_slice(piece);
            let mut used = 0;
            while used < raw.len() {
                let (took, decoded) = decode(&mut assembly, &mut raw[used..], LIMITS);
                used += took;
                match decoded {
                    Decoded::More => break,
                    Decoded::Fragment => {}
                    Decoded::Text(text) => seen.push(Seen::Text(text.to_owned())),
                    Decoded::Binary(bytes) => panic!("refused at its header: {bytes:x?}"),
                    Decoded::Ping(payload) => seen.push(Seen::Ping(payload.to_vec())),
                    Decoded::Pong => seen.push(Seen::Pong),
                    Decoded::Close(code) => seen.push(Seen::Close(code)),
                    Decoded::Fail(breach) => {
                        seen.push(Seen::Fail(breach));
                        return seen;
                    }
                }
                if let Some(assembly) = &mut assembly {
                    assembly.end_frame();
                }
            }
            raw.drain(..used);
        }
        seen
    }

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match u16::try_from(payload.len()) {
            Ok(short @ 0..=125) => bytes.push(0x80 | short as u8),
            Ok(middle) => {
                bytes.push(0x80 | 126);
                bytes.extend_from_slice(&middle.to_be_bytes());
            }
            Err(_) => {
                bytes.push(0x80 | 127);
                bytes.extend_from_slice(&(payload.len() as u64).to_be_bytes());
            }
        }
        let mask = [0xa1, 0x02, 0x5c, 0xff];
        bytes.extend_from_slice(&mask);
        let start = bytes.len();
        bytes.extend_from_slice(payload);
        apply_mask(&mut bytes[start..], mask);
        bytes
    }

    #[test]
    fn binary_messages_need_not_be_text_and_keep_to_the_same_order() {
        let limits = Limits { binary: true, ..LIMITS };
        let mut assembly = None;
        let mut check = |first, payload: &[u8], expect: Decoded<'_>| {
            let mut bytes = frame(first, payload);
            assert_eq!(decode(&mut assembly, &mut bytes, limits).1, expect, "{first:x} {payload:x?}");
            if let Some(assembly) = &mut assembly {
                assembly.end_frame();
            }
        };
        check(0x82, b"\xff\x00", Decoded::Binary(b"\xff\x00"));
        check(0x02, b"\xff", Decoded::Fragment);
        check(0x00, b"", Decoded::Fragment);
        check(0x80, b"\xfe", Decoded::Binary(b"\xff\xfe"));
        check(0x81, b"text", Decoded::Text("text"));
        check(0x01, b"te", Decoded::Fragment);
        check(0x80, b"\xff", Decoded::Fail(Breach::Utf8));
        let mut assembly = None;
        let mut first = frame(0x02, b"a");
        assert_eq!(decode(&mut assembly, &mut first, limits).1, Decoded::Fragment);
        for wrong in [0x81, 0x82] {
            let refused = decode(&mut assembly, &mut frame(wrong, b"b"), limits).1
                == Decoded::Fail(Breach::Interleaved);
            assert!(refused, "{wrong:x}");
        }
    }

    #[test]
    fn each_breach_is_told_from_the_others() {
        let check = |frames: &[(u8, &[u8])], expect: &[Seen]| {
            let bytes: Vec<u8> = frames.iter().flat_map(|(first, payload)| frame(*first, payload)).collect();
            assert_eq!(run(&[&bytes]), expect, "{frames:x?}");
        };
        let fragments: Vec<(u8, &[u8])> = (0..6).map(|n| (u8::from(n == 0), &b""[..])).collect();
        check(&fragments[..5], &[]);
        check(&fragments, &[Seen::Fail(Breach::FragmentFlood)]);
        let long = vec![b'a'; 1_001];
        let half = vec![b'a'; 800];
        let fail = |breach| [Seen::Fail(breach)];
        check(&[(0x82, b"binary")], &fail(Breach::Binary));
        check(&[(0x02, b"binary")], &fail(Breach::Binary));
        check(&[(0x80, b"nothing to continue")], &fail(Breach::Continuation));
        check(&[(0x01, b"a"), (0x81, b"b")], &fail(Breach::Interleaved));
        check(&[(0x81, b"\xff")], &fail(Breach::Utf8));
        check(&[(0x81, b"\xe2\x82")], &fail(Breach::Utf8));
        check(&[(0x01, b"\xe2"), (0x80, b"a")], &fail(Breach::Utf8));
        check(&[(0x01, b"\xe2\x82"), (0x80, b"")], &fail(Breach::Utf8));
        check(&[(0x81, &long)], &fail(Breach::FrameTooBig));
        check(&[(0x01, &half), (0x80, &half)], &fail(Breach::MessageTooBig));
        check(&[(0x88, b"\x03")], &fail(Breach::CloseFrame));
        check(&[(0x88, b"\x03\xe8\xff")], &fail(Breach::Utf8));
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
            check(&[(0x88, &u16::to_be_bytes(code))], &fail(Breach::CloseFrame));
        }
        for code in [1000, 1001, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999] {
            check(&[(0x88, &u16::to_be_bytes(code))], &[Seen::Close(code)]);
        }
        check(&[(0x88, b"")], &[Seen::Close(1005)]);
    }

    #[test]
    fn what_is_too_big_is_refused_before_it_comes() {
        let bytes = frame(0x81, &[b'a'; 2_000]);
        assert_eq!(run(&[&bytes[..8]]), [Seen::Fail(Breach::FrameTooBig)]);
        let huge = [0x81, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4];
        assert_eq!(run(&[&huge]), [Seen::Fail(Breach::FrameTooBig)]);
    }

    /// A stream of messages, some in fragments with control frames between them, and what it amounts to.
    fn streams() -> impl Strategy<Value = (Vec<u8>, Vec<Seen>)> {
        let control = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..20).prop_map(|data| (0x89, data)),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(|data| (0x8a, data)),
        ];
        let message = ("\\PC{0,60}", prop::collection::vec(0usize..80, 0..4), prop::option::of(control));
        prop::collection::vec(message, 0..6).prop_map(|messages| {
            let (mut bytes, mut seen) = (Vec::new(), Vec::new());
            for (text, mut cuts, control) in messages {
                cuts.iter_mut().for_each(|cut| *cut = (*cut).min(text.len()));
                cuts.push(text.len());
                cuts.sort_unstable();
                let last = cuts.len() - 1;
                let mut from = 0;
                for (index, cut) in cuts.into_iter().enumerate() {
                    let fin = if index == last { 0x80 } else { 0 };
                    let op = u8::from(index == 0);
                    bytes.extend(frame(fin | op, &text.as_bytes()[from..cut]));
                    from = cut;
                    if let Some((first, data)) = control.as_ref().filter(|_| index == 0) {
                        bytes.extend(frame(*first, data));
                        seen.push(if *first == 0x89 { Seen::Ping(data.clone()) } else { Seen::Pong });
                        if last == 0 {
                            // A message in one frame is complete before the control frame.
                            let control = seen.pop();
                            seen.push(Seen::Text(text.clone()));
                            seen.extend(control);
                        }
                    }
                }
                if last > 0 || control.is_none() {
                    seen.push(Seen::Text(text));
                }
            }
            (bytes, seen)
        })
    }

    proptest! {
        #[test]
        fn a_stream_means_the_same_wherever_it_is_cut((bytes, seen) in streams(), cuts in prop::collection::vec(1usize..40, 0..40)) {
            prop_assert_eq!(&run(&[&bytes]), &seen);
            let every_byte: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(&run(&every_byte), &seen);
            let mut pieces = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            prop_assert_eq!(&run(&pieces), &seen);
        }

        #[test]
        fn garbage_never_panics_and_is_the_same_wherever_it_is_cut(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let whole = run(&[&bytes]);
            let every_byte: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(run(&every_byte), whole);
        }
    }
}
