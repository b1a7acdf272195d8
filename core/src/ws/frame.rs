//! Outgoing frames: encoded once, shared by all their receivers.

use super::header::{MAX_SERVER_HEADER, OpCode, encode_header};
use std::rc::Rc;

/// A frame ready for the wire (a server's frames are not masked). Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    bytes: Rc<[u8]>,
}

impl Frame {
    /// A whole text message in one frame. `text` must be UTF-8, as serialised JSON is; it is not checked again.
    #[must_use]
    pub fn text(text: &[u8]) -> Frame {
        debug_assert!(std::str::from_utf8(text).is_ok());
        Frame::new(OpCode::Text, &[text])
    }

    /// A whole binary message in one frame.
    #[must_use]
    pub fn binary(bytes: &[u8]) -> Frame {
        Frame::new(OpCode::Binary, &[bytes])
    }

    /// A frame whose payload is the concatenation of `parts`.
    pub(crate) fn new(op: OpCode, parts: &[&[u8]]) -> Frame {
        let payload = parts.iter().map(|part| part.len()).sum();
        let mut head = [0; MAX_SERVER_HEADER];
        let head = encode_header(&mut head, op, payload);
        // The length is known to this iterator, so that the bytes are allocated once, then written in place.
        let mut bytes: Rc<[u8]> = std::iter::repeat_n(0, head.len() + payload).collect();
        if let Some(mut rest) = Rc::get_mut(&mut bytes) {
            for part in std::iter::once(&head).chain(parts) {
                let (to, after) = rest.split_at_mut(part.len());
                to.copy_from_slice(part);
                rest = after;
            }
        }
        Frame { bytes }
    }

    /// A close frame. `reason` is cut at a character so that it fits in a control frame (RFC 6455, 5.5).
    pub(crate) fn close(code: u16, reason: &str) -> Frame {
        let mut cut = reason.len().min(super::header::MAX_CONTROL_PAYLOAD - 2);
        while !reason.is_char_boundary(cut) {
            cut -= 1;
        }
        Frame::new(OpCode::Close, &[&code.to_be_bytes(), &reason.as_bytes()[..cut]])
    }

    /// The bytes on the wire: header and payload.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes on the wire, which budgets count.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        self.bytes.len()
    }
}
