//! A message on its way in: [`admit`] decides whether it may go, [`event`] encodes it for the topic,
//! [`pending`] remembers it until the queue has confirmed it, [`ack`] answers the sender, [`unfinished`] knows how far
//! the pipeline lags behind.

pub(crate) mod ack;
pub(crate) mod admit;
pub(crate) mod event;
pub(crate) mod pending;
pub(crate) mod unfinished;
