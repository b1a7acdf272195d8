//! Threads with an epoll loop each, that carry the clients' sockets.

mod control;
mod ending;
mod outage;
mod pacer;
mod slow;
pub(crate) mod socket;
mod turns;
mod worker;

pub(crate) use control::Control;
pub(crate) use pacer::Pacer;
pub(crate) use worker::{Harvest, Worker};
