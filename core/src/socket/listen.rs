//! Listeners: one for each shard on one port, bound before the engine's start returns.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// Binds `shards` listeners to `listen`; port 0 is resolved by the first. Returns them with their address. An address
/// that anybody else listens on is refused.
pub(crate) fn bind(
    listen: SocketAddr,
    shards: usize,
    backlog: u32,
) -> io::Result<(Vec<OwnedFd>, SocketAddr)> {
    if listen.port() != 0 {
        // With SO_REUSEPORT alone, a second process of the same user would silently share the port with the first.
        let probe = Socket::new(Domain::for_address(listen), Type::STREAM, Some(Protocol::TCP))?;
        probe.set_reuse_address(true)?;
        probe.bind(&listen.into())?;
    }
    let first = bind_one(listen, backlog)?;
    let address = first.local_addr()?.as_socket().ok_or(io::ErrorKind::InvalidInput)?;
    let mut listeners = vec![first.into()];
    for _ in 1..shards {
        listeners.push(bind_one(address, backlog)?.into());
    }
    Ok((listeners, address))
}

fn bind_one(address: SocketAddr, backlog: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    // Accepted sockets inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket)
}
