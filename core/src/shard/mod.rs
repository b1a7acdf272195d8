//! One core's state and the order of its turns.

pub(crate) mod state;
