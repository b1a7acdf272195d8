//! Bytes that a client writes, made by hand. Masked with zeros, which the protocol allows.

/// Text without an end: more fragments follow.
pub(super) const TEXT_UNFINISHED: u8 = 0x01;
/// A further fragment, not the last.
pub(super) const MORE: u8 = 0x00;
pub(super) const TEXT: u8 = 0x81;
pub(super) const PING: u8 = 0x89;

/// One frame; `first` is its first byte (FIN and opcode).
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..=125 => bytes.push(0x80 | short as u8),
        long => {
            bytes.push(0x80 | 126);
            bytes.extend((long as u16).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// An upgrade as a browserless client asks for it.
pub(super) fn upgrade(host: &str, token: &str) -> Vec<u8> {
    format!(
        "GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_masked_and_say_their_length() {
        assert_eq!(frame(PING, b"a"), [0x89, 0x81, 0, 0, 0, 0, b'a']);
        let long = frame(TEXT, &[b'x'; 300]);
        assert_eq!((&long[..4], long.len()), (&[0x81, 0xfe, 1, 44][..], 308));
    }
}
