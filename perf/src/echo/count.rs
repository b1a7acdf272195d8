//! Frames that were made ahead, and replies counted by their length. Pure.

/// A text frame of a client: masked with zeros, so that its bytes are those of the reply.
pub(super) fn client_frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = head(payload.len(), 0x80);
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// A text frame's head, without the mask.
fn head(length: usize, mask_bit: u8) -> Vec<u8> {
    let mut head = vec![0x81];
    match length {
        0..=125 => head.push(mask_bit | length as u8),
        126..=0xffff => {
            head.push(mask_bit | 126);
            head.extend((length as u16).to_be_bytes());
        }
        _ => {
            head.push(mask_bit | 127);
            head.extend((length as u64).to_be_bytes());
        }
    }
    head
}

/// Counts replies of one length in a stream of bytes, and lets pings pass.
#[derive(Debug)]
pub(super) struct Counter {
    /// The first two bytes of a reply, and its length with its head.
    head: [u8; 2],
    reply_bytes: usize,
    /// What is left of the frame under way.
    left: usize,
    is_reply: bool,
    /// A head whose second byte has not come.
    half_head: Option<u8>,
}

const PING: u8 = 0x89;

/// Something else came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoReply;

impl Counter {
    pub(super) fn new(payload_bytes: usize) -> Counter {
        let head = head(payload_bytes, 0);
        Counter {
            head: [head[0], head[1]],
            reply_bytes: head.len() + payload_bytes,
            left: 0,
            is_reply: false,
            half_head: None,
        }
    }

    /// Whole replies that `bytes` complete.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<u64, NoReply> {
        let mut replies = 0;
        loop {
            if self.left > 0 {
                let step = self.left.min(bytes.len());
                self.left -= step;
                bytes = &bytes[step..];
                if self.left > 0 {
                    return Ok(replies);
                }
                replies += u64::from(std::mem::take(&mut self.is_reply));
            }
            let head = match (self.half_head.take(), bytes) {
                (_, []) => return Ok(replies),
                (Some(first), [second, rest @ ..]) => {
                    bytes = rest;
                    [first, *second]
                }
                (None, [first]) => {
                    self.half_head = Some(*first);
                    return Ok(replies);
                }
                (None, [first, second, rest @ ..]) => {
                    bytes = rest;
                    [*first, *second]
                }
            };
            if head == self.head {
                self.left = self.reply_bytes - 2;
                self.is_reply = true;
            } else if head[0] == PING && head[1] < 126 {
                self.left = usize::from(head[1]);
            } else {
                return Err(NoReply);
            }
            if self.left == 0 {
                replies += u64::from(std::mem::take(&mut self.is_reply));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(length: usize) -> Vec<u8> {
        let mut frame = head(length, 0);
        frame.extend(std::iter::repeat_n(b'x', length));
        frame
    }

    #[test]
    fn replies_are_counted_however_they_are_cut() {
        for length in [0, 1, 100, 125, 126, 1000, 0xffff, 0x10000] {
            let stream: Vec<u8> =
                (0..3).flat_map(|_| [reply(length), vec![PING, 2, 7, 7]].concat()).collect();
            for step in [1, 2, 3, 7, 100, stream.len()] {
                let mut counter = Counter::new(length);
                let found: u64 = stream.chunks(step).map(|part| counter.take(part).unwrap()).sum();
                assert_eq!(found, 3, "{length} bytes in steps of {step}");
            }
        }
    }

    #[test]
    fn what_is_no_reply_is_told() {
        assert_eq!(Counter::new(100).take(&reply(101)), Err(NoReply));
        assert_eq!(Counter::new(100).take(&[0x88, 2, 3, 0xe8]), Err(NoReply), "a close frame");
        assert_eq!(Counter::new(0).take(&[reply(0), reply(0)].concat()), Ok(2));
    }

    #[test]
    fn frames_of_a_client_are_masked() {
        assert_eq!(client_frame(b"hi"), [0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
        assert_eq!(client_frame(&[0; 300]).len(), 300 + 8);
    }
}
