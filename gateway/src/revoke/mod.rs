//! Tokens that ended before their time: logout, ban, a new password, a refresh token that was used twice.
//!
//! [`follow`] hears of them on the side, [`set`] is each shard's copy, [`kick`] checks tokens and puts sockets out.

pub(crate) mod follow;
pub(crate) mod kick;
pub(crate) mod set;
