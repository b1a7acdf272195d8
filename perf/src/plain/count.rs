//! Frames that were made ahead, and replies counted by their length. Pure.

use std::sync::Arc;

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

/// What a server's text frame with this payload looks like.
pub(super) fn server_frame(payload: &[u8]) -> Vec<u8> {
    [&head(payload.len(), 0), payload].concat()
}

/// A client's ping without contents, masked with zeros.
pub(super) const PING_FRAME: [u8; 6] = [PING, 0x80, 0, 0, 0, 0];

/// What a counter is told to expect of replies.
#[derive(Debug, Clone)]
pub(super) enum Expected {
    /// All are this frame.
    Alike(Arc<[u8]>),
    /// Text of this many bytes.
    OfBytes(usize),
}

/// Counts replies of one length in a stream of bytes, and lets pings and pongs pass.
#[derive(Debug)]
pub(super) struct Counter {
    /// The first two bytes of a reply, and its length with its head.
    head: [u8; 2],
    reply_bytes: usize,
    /// The whole reply, where all are alike.
    alike: Option<Arc<[u8]>>,
    /// What is left of the frame under way.
    left: usize,
    under_way: Kind,
    /// A head whose second byte has not come.
    half_head: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reply,
    Ping,
    Pong,
}

const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// Frames that some bytes completed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) replies: u64,
    pub(super) pongs: u64,
}

impl Taken {
    fn add(&mut self, kind: Kind) {
        match kind {
            Kind::Reply => self.replies += 1,
            Kind::Pong => self.pongs += 1,
            Kind::Ping => {}
        }
    }
}

/// Something else came: another kind or length of frame, or other contents than those that all replies have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoReply;

impl Counter {
    pub(super) fn new(expected: &Expected) -> Counter {
        let (payload_bytes, alike) = match expected {
            Expected::Alike(frame) => (None, Some(frame.clone())),
            Expected::OfBytes(bytes) => (Some(*bytes), None),
        };
        let head = payload_bytes.map(|bytes| head(bytes, 0));
        let begin = alike.as_deref().or(head.as_deref()).unwrap_or_default();
        Counter {
            head: [begin[0], begin[1]],
            reply_bytes: begin.len() + payload_bytes.unwrap_or(0),
            alike,
            left: 0,
            under_way: Kind::Ping,
            half_head: None,
        }
    }

    /// Whole frames that `bytes` complete.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<Taken, NoReply> {
        let mut taken = Taken::default();
        loop {
            if self.left > 0 {
                let step = self.left.min(bytes.len());
                if !self.is_as_expected(&bytes[..step]) {
                    return Err(NoReply);
                }
                self.left -= step;
                bytes = &bytes[step..];
                if self.left > 0 {
                    return Ok(taken);
                }
                taken.add(self.under_way);
            }
            let head = match (self.half_head.take(), bytes) {
                (_, []) => return Ok(taken),
                (Some(first), [second, rest @ ..]) => {
                    bytes = rest;
                    [first, *second]
                }
                (None, [first]) => {
                    self.half_head = Some(*first);
                    return Ok(taken);
                }
                (None, [first, second, rest @ ..]) => {
                    bytes = rest;
                    [*first, *second]
                }
            };
            (self.under_way, self.left) = match head {
                head if head == self.head => (Kind::Reply, self.reply_bytes - 2),
                [PING, length @ ..126] => (Kind::Ping, usize::from(length)),
                [PONG, length @ ..126] => (Kind::Pong, usize::from(length)),
                _ => return Err(NoReply),
            };
            if self.left == 0 {
                taken.add(self.under_way);
            }
        }
    }

    /// Whether the next bytes of the frame under way are what they have to be.
    fn is_as_expected(&self, bytes: &[u8]) -> bool {
        match (&self.alike, self.under_way) {
            (Some(frame), Kind::Reply) => frame[self.reply_bytes - self.left..].starts_with(bytes),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(length: usize) -> Vec<u8> {
        server_frame(&vec![b'x'; length])
    }

    /// By length alone, and by contents too.
    fn counters(length: usize) -> [Counter; 2] {
        let alike = Expected::Alike(reply(length).into());
        [Expected::OfBytes(length), alike].map(|expected| Counter::new(&expected))
    }

    #[test]
    fn replies_are_counted_however_they_are_cut() {
        for length in [0, 1, 100, 125, 126, 1000, 0xffff, 0x10000] {
            let stream: Vec<u8> = (0..3)
                .flat_map(|_| [reply(length), vec![PING, 2, 7, 7, PONG, 0, PONG, 1, 7]].concat())
                .collect();
            for step in [1, 2, 3, 7, 100, stream.len()] {
                for mut counter in counters(length) {
                    let parts = stream.chunks(step).map(|part| counter.take(part).unwrap());
                    let (replies, pongs): (Vec<_>, Vec<_>) =
                        parts.map(|one| (one.replies, one.pongs)).unzip();
                    let found = (replies.iter().sum::<u64>(), pongs.iter().sum::<u64>());
                    assert_eq!(found, (3, 6), "{length} bytes in steps of {step}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_reply_is_told() {
        for mut counter in counters(100) {
            assert_eq!(counter.take(&reply(101)), Err(NoReply));
        }
        for mut counter in counters(100) {
            assert_eq!(counter.take(&[0x88, 2, 3, 0xe8]), Err(NoReply), "a close frame");
        }
        for mut counter in counters(0) {
            assert_eq!(counter.take(&[reply(0), reply(0)].concat()), Ok(Taken { replies: 2, pongs: 0 }));
        }
    }

    #[test]
    fn other_contents_are_found_where_all_replies_are_alike() {
        for at in [2, 50, 101] {
            let mut other = reply(100);
            other[at] = b'y';
            for step in [1, 30, 102] {
                let [mut by_length, mut by_content] = counters(100);
                assert!(other.chunks(step).all(|part| by_length.take(part).is_ok()));
                assert!(
                    other.chunks(step).any(|part| by_content.take(part).is_err()),
                    "{at} in steps of {step}"
                );
            }
        }
    }

    #[test]
    fn frames_of_a_client_are_masked() {
        assert_eq!(client_frame(b"hi"), [0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
        assert_eq!(client_frame(&[0; 300]).len(), 300 + 8);
    }
}
