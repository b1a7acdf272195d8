//! `gochat-perf null`: a server that does next to nothing, so that what a run against it shows is this program's own part.

mod book;
mod peer;

use std::io::{self, Write};
use std::net::SocketAddr;

use clap::Args;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::error::LoadError;
use crate::exit::Exit;
use book::{Book, Place};
use peer::{Out, Peer};

#[derive(Debug, Args)]
pub(crate) struct Null {
    /// Where to listen; with port 0 the line `ready ADDRESS` tells which one it is
    #[arg(long, default_value = "127.0.0.1:9100")]
    listen: SocketAddr,
    /// Messages that are kept in memory, some 300 bytes each; more are rejected
    #[arg(long, default_value_t = 5_000_000)]
    messages_max: u64,
}

impl Null {
    /// Serves until the process is ended.
    ///
    /// # Errors
    /// [`LoadError::Io`]: nothing to listen on, or no descriptor left.
    pub(crate) fn run(&self) -> Result<Exit, LoadError> {
        let failed = |source| LoadError::Io { what: "the null server", source };
        let mut server = Server::listen(self.listen, self.messages_max).map_err(failed)?;
        let addr = server.listener.local_addr().map_err(failed)?;
        // Whoever started this may have closed his end.
        let _ = writeln!(io::stdout(), "ready {addr}").and_then(|()| io::stdout().flush());
        loop {
            server.turn().map_err(failed)?;
        }
    }
}

const LISTENER: Token = Token(usize::MAX);
const EVENTS_MAX: usize = 1024;

/// One thread: connections have places, which are used again.
struct Server {
    poll: Poll,
    events: Events,
    listener: TcpListener,
    peers: Vec<Peer>,
    free: Vec<Place>,
    book: Book,
}

impl Server {
    fn listen(addr: SocketAddr, messages_max: u64) -> io::Result<Server> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(addr)?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Server {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            listener,
            peers: Vec::new(),
            free: Vec::new(),
            book: Book::new(messages_max),
        })
    }

    /// All that is ready is read, and then each connection's answers are written at once.
    fn turn(&mut self) -> io::Result<()> {
        match self.poll.poll(&mut self.events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        let ready: Vec<(Token, bool)> =
            self.events.iter().map(|event| (event.token(), event.is_writable())).collect();
        let (mut out, mut touched) = (Out::new(), Vec::new());
        let peers = ready.iter().filter(|(token, _)| *token != LISTENER);
        for (place, is_writable) in peers.map(|(token, is_writable)| (token.0, *is_writable)) {
            if !self.peers[place].read(place, &mut self.book, &mut out) {
                self.end(place);
            } else if is_writable {
                touched.push(place);
            }
        }
        for (place, message) in out {
            touched.push(place);
            if !self.peers[place].write(message) {
                self.end(place);
            }
        }
        touched.sort_unstable();
        touched.dedup();
        for place in touched {
            if !self.peers[place].flush() {
                self.end(place);
            }
        }
        // Last, so that nobody gets a place for which frames of its last holder are under way.
        if ready.iter().any(|(token, _)| *token == LISTENER) {
            self.accept()?;
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.welcome(stream)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // Gone before it was taken.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn welcome(&mut self, mut stream: TcpStream) -> io::Result<()> {
        let place = self.free.pop().unwrap_or(self.peers.len());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(place), interest)?;
        // Without it answers wait for the client's acknowledgements; a connection that can't have it is a dead one.
        let _ = stream.set_nodelay(true);
        let peer = Peer::Http(stream, Vec::new());
        if place == self.peers.len() {
            self.peers.push(peer);
        } else {
            self.peers[place] = peer;
        }
        Ok(())
    }

    fn end(&mut self, place: Place) {
        let peer = std::mem::replace(&mut self.peers[place], Peer::Gone);
        peer.end(place, &mut self.book);
        if !matches!(peer, Peer::Gone) {
            self.free.push(place);
        }
    }
}
