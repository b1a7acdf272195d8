//! Threads with an epoll loop each, that carry the clients' sockets.

mod control;
mod ending;
mod outage;
mod pacer;
mod socket;
mod worker;

pub(crate) use control::Control;
pub(crate) use worker::{Harvest, Worker};
