//! The coordinator's end of a link: orders go out, answers come in by a thread, and silence has an end.

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};

use super::message::{Answer, FRAME_BYTES_MAX, Order, read_frame, write_frame};
use crate::error::LoadError;

/// An agent that has not answered by then is given up.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// A process that was told to end, by its closed input, may take this long.
const END_WAIT: Duration = Duration::from_secs(2);
/// Answers that wait to be taken: conversations on the way home.
const ANSWERS_MAX: usize = 256;

/// A line to one agent. Dropping it ends the agent's load, and the agent too where it was started from here.
#[derive(Debug)]
pub(super) struct Link {
    /// As people know it.
    pub(super) name: String,
    writer: Option<Writer>,
    answers: Receiver<io::Result<Answer>>,
    child: Option<Child>,
}

#[derive(Debug)]
enum Writer {
    Pipe(std::process::ChildStdin),
    Stream(TcpStream),
}

impl Link {
    /// Starts this program once more, as an agent on its standard input and output. It ends with this process,
    /// however that ends: its input closes.
    pub(super) fn start_process(name: String) -> Result<Link, LoadError> {
        let io = |source| LoadError::Io { what: "cannot start a process of the load", source };
        let mut child = Command::new(std::env::current_exe().map_err(io)?)
            .arg("agent")
            .args(["--sessions-max", &usize::MAX.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(io)?;
        let missing = || io(io::ErrorKind::BrokenPipe.into());
        let (input, output) =
            (child.stdin.take().ok_or_else(missing)?, child.stdout.take().ok_or_else(missing)?);
        let name = format!("{name} (pid {})", child.id());
        Link::new(name, Writer::Pipe(input), output, Some(child))
    }

    /// Connects to an agent that listens at `HOST:PORT`.
    pub(super) fn connect(addr: &str) -> Result<Link, LoadError> {
        let name = format!("agent {addr}");
        let failed = |error: io::Error| LoadError::Agent {
            name: name.clone(),
            why: format!("cannot connect: {error}; `gochat-perf agent --listen {addr}` must run there"),
        };
        let addrs: Vec<_> = addr
            .to_socket_addrs()
            .map_err(|error| LoadError::BadConfig(format!("--agents {addr}: {error}")))?
            .collect();
        let mut last = io::ErrorKind::AddrNotAvailable.into();
        for addr in addrs {
            match TcpStream::connect_timeout(&addr, CONNECT_WAIT) {
                Ok(stream) => {
                    prepare(&stream).map_err(failed)?;
                    stream.set_write_timeout(Some(ANSWER_WAIT)).map_err(failed)?;
                    let reader = stream.try_clone().map_err(failed)?;
                    return Link::new(name, Writer::Stream(stream), reader, None);
                }
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }

    fn new(
        name: String,
        writer: Writer,
        mut reader: impl io::Read + Send + 'static,
        child: Option<Child>,
    ) -> Result<Link, LoadError> {
        let (sender, answers) = sync_channel(ANSWERS_MAX);
        // Ends with the link: at the reader's end, or when nobody takes its answers.
        let listen = move || {
            while let Some(answer) = read_frame(&mut reader, FRAME_BYTES_MAX).transpose() {
                let is_over = answer.is_err();
                if sender.send(answer).is_err() || is_over {
                    return;
                }
            }
        };
        let link = Link { name, writer: Some(writer), answers, child };
        std::thread::Builder::new()
            .name("agent-link".to_owned())
            .spawn(listen)
            .map_err(|source| LoadError::Io { what: "no thread", source })?;
        Ok(link)
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub(super) fn send(&mut self, order: &Order) -> Result<(), LoadError> {
        let sent = match &mut self.writer {
            Some(writer) => write_frame(writer, order),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        sent.map_err(|error| self.lost(&error.to_string()))
    }

    /// The answer to the oldest order that has none.
    pub(super) fn receive(&mut self) -> Result<Answer, LoadError> {
        match self.answers.recv_timeout(ANSWER_WAIT) {
            Ok(Ok(Answer::Refused { why })) => Err(self.failed(why)),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.lost(&error.to_string())),
            Err(RecvTimeoutError::Timeout) => {
                Err(self.failed(format!("no answer within {} s", ANSWER_WAIT.as_secs())))
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.lost("it closed the link")),
        }
    }

    pub(super) fn ask(&mut self, order: &Order) -> Result<Answer, LoadError> {
        self.send(order)?;
        self.receive()
    }

    fn failed(&self, why: String) -> LoadError {
        LoadError::Agent { name: self.name.clone(), why }
    }

    /// The link broke: its process tells more, if it was ours.
    fn lost(&mut self, why: &str) -> LoadError {
        let ended = self.child.as_mut().and_then(|child| wait_for(child, END_WAIT));
        let how = ended.map_or(String::new(), |status| format!(" ({status})"));
        self.failed(format!("it was lost{how}: {why}"))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(Writer::Stream(stream)) = &self.writer {
            // The reading thread holds the socket too, and would keep it open.
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        self.writer = None;
        if let Some(child) = &mut self.child
            && wait_for(child, END_WAIT).is_none()
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn wait_for(child: &mut Child, patience: Duration) -> Option<std::process::ExitStatus> {
    let until = Instant::now() + patience;
    loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            Ok(status) => return status,
            Err(_) => return None,
        }
    }
}

/// For both ends of a link over the network: small frames at once, and a peer that vanished is noticed.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Writer::Pipe(pipe) => pipe.write(bytes),
            Writer::Stream(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Writer::Pipe(pipe) => pipe.flush(),
            Writer::Stream(stream) => stream.flush(),
        }
    }
}
