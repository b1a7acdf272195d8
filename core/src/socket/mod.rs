//! The only door to a descriptor: readiness through monoio, bytes through non-blocking calls, hand-over as an
//! [`OwnedFd`].
//!
//! Nothing here is a completion: dropping a parked wait loses no bytes. What it does lose is the right to take the
//! descriptor out until the wait completes, so a socket is handed over right after a completed wait.

pub(crate) mod listen;
#[allow(unsafe_code, reason = "the one address of unsafe code")]
pub(crate) mod sys;

use std::future::{Future, poll_fn};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream as StdStream};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::task::Poll;

/// Which way to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// Whether a wait went through the driver. When it did not (epoll tells at once what is ready already), a loop of
/// waits must pause now and then, or nobody else gets a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    Parked,
    AtOnce,
}

/// A descriptor that belongs to this shard's driver: a connection, a listener or an eventfd.
pub(crate) struct Socket {
    // monoio has no public type for "any descriptor"; its stream waits for readiness of whatever it owns.
    stream: monoio::net::TcpStream,
}

impl Socket {
    /// Registers a descriptor with the driver of the calling shard.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Socket> {
        Ok(Socket { stream: monoio::net::TcpStream::from_std(StdStream::from(fd))? })
    }

    /// Takes the descriptor out of the driver. The caller owns the only reference and has no wait parked.
    pub(crate) fn into_fd(self) -> OwnedFd {
        sys::take(self.stream)
    }

    /// Waits until the descriptor is readable or writable; an end or an error counts as both.
    // The waits are spelled out here rather than passed to a function: a future that is an argument is kept twice in
    // its caller, and this one is what every idle connection costs.
    pub(crate) async fn wait(&self, direction: Direction) -> io::Result<Waited> {
        let mut waited = Waited::AtOnce;
        // `relaxed = false`: on epoll, `true` may return although nothing is ready, again and again.
        let result = match direction {
            Direction::Read => {
                let mut ready = pin!(self.stream.readable(false));
                poll_fn(|cx| ready.as_mut().poll(cx).map_parked(&mut waited)).await
            }
            Direction::Write => {
                let mut ready = pin!(self.stream.writable(false));
                poll_fn(|cx| ready.as_mut().poll(cx).map_parked(&mut waited)).await
            }
        };
        result.map(|()| waited)
    }

    /// Receives without waiting; 0 is the end of the stream.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        sys::receive(sys::borrow(&self.stream), buffer)
    }

    /// Sends without waiting; returns how much was taken.
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        sys::send(sys::borrow(&self.stream), bytes)
    }

    /// Accepts a connection without waiting (the listener is non-blocking).
    pub(crate) fn accept(&self) -> io::Result<(OwnedFd, SocketAddr)> {
        let listener = socket2::SockRef::from(&sys::borrow(&self.stream)).accept()?;
        let (socket, peer) = listener;
        let peer = peer.as_socket().ok_or(io::ErrorKind::InvalidData)?;
        Ok((socket.into(), peer))
    }

    /// Shuts one side or both down, which also ends parked waits. An error means that the peer is gone already.
    pub(crate) fn shutdown(&self, how: Shutdown) {
        let _ = socket2::SockRef::from(&sys::borrow(&self.stream)).shutdown(how);
    }
}

/// Whether an error of a non-blocking call only means "not now".
pub(crate) fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

trait Note {
    /// Notes when a wait is not over yet.
    fn map_parked(self, waited: &mut Waited) -> Self;
}

impl<T> Note for Poll<T> {
    fn map_parked(self, waited: &mut Waited) -> Self {
        if self.is_pending() {
            *waited = Waited::Parked;
        }
        self
    }
}
