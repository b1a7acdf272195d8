//! Messages on their way out: [`tail`] reads the gateway's partition, [`split`] sorts a batch by home shard with
//! each frame rendered once, [`deliver`] gives the frames to connections, [`gaps`] remembers what a slow one missed.

pub(crate) mod deliver;
pub(crate) mod gaps;
pub(crate) mod marks;
pub(crate) mod render;
pub(crate) mod split;
pub(crate) mod tail;
