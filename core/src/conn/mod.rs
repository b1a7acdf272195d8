//! One connection: its id, its protocol machine, its outbox, and the short loops that drive them.

pub(crate) mod drive;
pub(crate) mod guard;
pub(crate) mod handshake;
pub(crate) mod id;
pub(crate) mod machine;
pub(crate) mod outbox;
pub(crate) mod slots;
