//! Names of connections and requests. An id is never used twice in the life of a shard, so a late answer can't reach
//! a stranger.

/// Bits of the slot in a [`ConnId`].
const SLOT_BITS: u32 = 20;
/// Bits of the generation in a [`ConnId`]: at 100,000 connections a second it wraps after eight days, and a wrapped
/// one would have to meet its slot again.
const STAMP_BITS: u32 = 36;

/// An upgraded connection on its home shard: slot and generation.
///
/// The number is below 2^[`ConnId::BITS`], so that a caller can pack a shard's number above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(u64);

impl ConnId {
    /// Bits that the number uses; those above are free for the caller.
    pub const BITS: u32 = SLOT_BITS + STAMP_BITS;

    pub(crate) fn new(slot: usize, stamp: u64) -> ConnId {
        debug_assert!(slot < 1 << SLOT_BITS);
        ConnId((stamp & ((1 << STAMP_BITS) - 1)) << SLOT_BITS | slot as u64)
    }

    /// The number, below 2^[`ConnId::BITS`].
    #[must_use]
    pub fn to_u64(self) -> u64 {
        self.0
    }

    /// The id of a number that [`ConnId::to_u64`] gave. Any other number names no connection.
    #[must_use]
    pub fn from_u64(number: u64) -> ConnId {
        ConnId(number)
    }

    pub(crate) fn slot(self) -> usize {
        (self.0 & ((1 << SLOT_BITS) - 1)) as usize
    }
}

/// A request that waits for its answer, on the shard that accepted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    /// Shard that the answer must be given on.
    pub(crate) shard: u32,
    pub(crate) conn: ConnId,
    /// Count of the requests on that connection.
    pub(crate) request: u32,
}

impl RequestId {
    /// The shard that accepted the request: post the answer to its mailbox.
    #[must_use]
    pub fn shard(self) -> usize {
        self.shard as usize
    }
}
