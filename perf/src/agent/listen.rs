//! `gochat-perf agent`: makes a part of a load for a coordinator.

use std::io::{self, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::Args;

use super::message::{Answer, HELLO_BYTES_MAX, Order, read_frame, write_frame};
use super::serve::{Terms, greet, serve};
use super::{SESSIONS_MAX, TOKEN_ENV, link, read_token};
use crate::error::LoadError;
use crate::exit::Exit;

/// Makes a part of a load for a `gochat-perf … --agents HOST:PORT` elsewhere. It makes load on whatever its coordinator
/// names, and neither the token nor the users' tokens are encrypted on the way: for networks that you trust.
#[derive(Debug, Args)]
pub(crate) struct Agent {
    /// Where the coordinator finds it; beyond loopback only with a token [default: serves whoever started it, on its
    /// standard input and output]
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// The first line of this file is the token that a coordinator must have [default: the environment's
    /// GOCHAT_PERF_TOKEN]
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// Sessions that it takes on at most
    #[arg(long, default_value_t = SESSIONS_MAX)]
    sessions_max: usize,
}

/// From the connection until the coordinator has said who it is.
const HELLO_WAIT: Duration = Duration::from_secs(5);
/// The one before may take this long to be gone: runs that follow each other are all served.
const FREE_WAIT: Duration = Duration::from_secs(5);

impl Agent {
    /// # Errors
    /// [`LoadError`]: no token where one is needed, or an address that can't be listened on.
    pub(crate) fn run(&self) -> Result<Exit, LoadError> {
        let Some(addr) = self.listen else {
            let terms = Terms { token: None, sessions_max: self.sessions_max };
            // The link's end is ours, whichever way it ends.
            let _ = serve_starter(&terms);
            return Ok(Exit::Ok);
        };
        let token = read_token(self.token_file.as_deref())?;
        if token.is_none() && !addr.ip().is_loopback() {
            return Err(LoadError::BadConfig(format!(
                "an agent that listens on {} makes load for whoever can reach it: give it a --token-file or {TOKEN_ENV}",
                addr.ip()
            )));
        }
        let io = |source| LoadError::Io { what: "cannot listen", source };
        let listener = TcpListener::bind(addr).map_err(io)?;
        println!("agent listens on {}", listener.local_addr().map_err(io)?);
        self.accept(&listener, &Terms { token, sessions_max: self.sessions_max })
    }

    /// One coordinator at a time; others are told so.
    fn accept(&self, listener: &TcpListener, terms: &Terms) -> Result<Exit, LoadError> {
        let mut before: Option<JoinHandle<()>> = None;
        loop {
            let (mut stream, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) => {
                    eprintln!("agent: cannot accept: {error}");
                    // Out of descriptors, most likely: a load that ends gives some back.
                    std::thread::sleep(Duration::from_secs(1));
                    continue;
                }
            };
            if !before.as_ref().is_none_or(has_ended_soon) {
                let why = "it works for another coordinator".to_owned();
                let _ = write_frame(&mut stream, &Answer::Refused { why });
                continue;
            }
            let terms = terms.clone();
            let work = move || {
                let ended = serve_stream(stream, &terms);
                eprintln!(
                    "agent: {peer} is gone{}",
                    ended.err().map_or(String::new(), |why| format!(": {why}"))
                );
            };
            match std::thread::Builder::new().name("coordinator".to_owned()).spawn(work) {
                Ok(thread) => before = Some(thread),
                Err(error) => eprintln!("agent: no thread for {peer}: {error}"),
            }
        }
    }
}

fn has_ended_soon(thread: &JoinHandle<()>) -> bool {
    let until = Instant::now() + FREE_WAIT;
    while !thread.is_finished() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    thread.is_finished()
}

fn serve_starter(terms: &Terms) -> io::Result<()> {
    let (mut reader, mut writer) = (io::stdin().lock(), io::stdout().lock());
    let hello: Option<Order> = read_frame(&mut reader, HELLO_BYTES_MAX)?;
    if hello.is_some_and(|hello| greet(&hello, &mut writer, terms).unwrap_or(false)) {
        serve(&mut reader, &mut writer, terms)?;
    }
    writer.flush()
}

fn serve_stream(mut stream: TcpStream, terms: &Terms) -> io::Result<()> {
    link::prepare(&stream)?;
    let mut writer = stream.try_clone()?;
    let mut hurried = Hurried { stream: &stream, until: Instant::now() + HELLO_WAIT };
    let hello: Option<Order> = read_frame(&mut hurried, HELLO_BYTES_MAX)?;
    stream.set_read_timeout(None)?;
    match hello {
        Some(hello) if greet(&hello, &mut writer, terms)? => serve(&mut stream, &mut writer, terms),
        _ => Ok(()),
    }
}

/// Reads until a moment, however slowly the bytes trickle in.
struct Hurried<'a> {
    stream: &'a TcpStream,
    until: Instant,
}

impl Read for Hurried<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.until.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(rest))?;
        self.stream.read(buffer)
    }
}
