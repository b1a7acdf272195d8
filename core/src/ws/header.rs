//! Frame headers (RFC 6455, section 5.2).

use super::breach::Breach;

/// Longest header that a server writes.
pub(crate) const MAX_SERVER_HEADER: usize = 10;
/// Most payload bytes of a control frame (section 5.5).
pub(crate) const MAX_CONTROL_PAYLOAD: usize = 125;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpCode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl OpCode {
    pub(crate) fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

/// A client's frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) fin: bool,
    pub(crate) op: OpCode,
    pub(crate) mask: [u8; 4],
    /// Bytes of the header itself.
    pub(crate) header: usize,
    /// Bytes of the payload.
    pub(crate) payload: u64,
}

/// Reads a header from the start of `bytes`; `None` when more bytes are needed. What can be refused early is: the
/// first two bytes already tell of reserved bits, opcodes, a missing mask and oversized control frames.
pub(crate) fn decode_header(bytes: &[u8]) -> Result<Option<Header>, Breach> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(Breach::ReservedBits);
    }
    let op = match first & 0x0f {
        0 => OpCode::Continuation,
        1 => OpCode::Text,
        2 => OpCode::Binary,
        8 => OpCode::Close,
        9 => OpCode::Ping,
        10 => OpCode::Pong,
        _ => return Err(Breach::Opcode),
    };
    let fin = first & 0x80 != 0;
    if second & 0x80 == 0 {
        return Err(Breach::Unmasked);
    }
    let short = second & 0x7f;
    if op.is_control() && (!fin || usize::from(short) > MAX_CONTROL_PAYLOAD) {
        return Err(Breach::ControlFrame);
    }
    let (payload, rest, length_bytes) = match (short, rest) {
        (126, [a, b, rest @ ..]) => (u64::from(u16::from_be_bytes([*a, *b])), rest, 2),
        (127, [a, b, c, d, e, f, g, h, rest @ ..]) => {
            (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), rest, 8)
        }
        (126 | 127, _) => return Ok(None),
        (short, rest) => (u64::from(short), rest, 0),
    };
    // The shortest form must be used, and the highest bit must be 0 (section 5.2).
    if short == 126 && payload < 126 || short == 127 && (payload < 0x1_0000 || payload >> 63 != 0) {
        return Err(Breach::Length);
    }
    let Some((mask, _)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    Ok(Some(Header { fin, op, mask: *mask, header: 2 + length_bytes + 4, payload }))
}

/// Writes the header of an unfragmented, unmasked frame into `head` and returns the part that was used.
pub(crate) fn encode_header(head: &mut [u8; MAX_SERVER_HEADER], op: OpCode, payload: usize) -> &[u8] {
    head[0] = 0x80 | op as u8;
    let used = if payload <= MAX_CONTROL_PAYLOAD {
        head[1] = payload as u8;
        2
    } else if let Ok(payload) = u16::try_from(payload) {
        head[1] = 126;
        head[2..4].copy_from_slice(&payload.to_be_bytes());
        4
    } else {
        head[1] = 127;
        head[2..10].copy_from_slice(&(payload as u64).to_be_bytes());
        10
    };
    &head[..used]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_headers_are_refused_as_early_as_they_can_be() {
        let check = |bytes: &[u8], expect| assert_eq!(decode_header(bytes), expect, "{bytes:x?}");
        check(&[0x81], Ok(None));
        check(&[0xc1, 0x80], Err(Breach::ReservedBits));
        check(&[0x83, 0x80], Err(Breach::Opcode));
        check(&[0x8b, 0x80], Err(Breach::Opcode));
        check(&[0x81, 0x05], Err(Breach::Unmasked));
        check(&[0x09, 0x80], Err(Breach::ControlFrame));
        check(&[0x89, 0xfe], Err(Breach::ControlFrame));
        check(&[0x81, 0xfe, 0, 125, 0, 0, 0, 0], Err(Breach::Length));
        check(&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], Err(Breach::Length));
        check(&[0x81, 0xff, 0x80, 0, 0, 0, 0, 1, 0, 0], Err(Breach::Length));
        check(&[0x81, 0xfe, 0, 126, 1, 2, 3], Ok(None));
    }

    #[test]
    fn lengths_round_trip() {
        for payload in [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20] {
            let mut head = [0; MAX_SERVER_HEADER];
            let mut bytes = encode_header(&mut head, OpCode::Text, payload).to_vec();
            bytes[1] |= 0x80;
            bytes.extend_from_slice(&[1, 2, 3, 4]);
            let header = decode_header(&bytes).expect("valid").expect("whole");
            assert_eq!((header.payload, header.header), (payload as u64, bytes.len()));
            assert_eq!((header.fin, header.op, header.mask), (true, OpCode::Text, [1, 2, 3, 4]));
        }
    }
}
