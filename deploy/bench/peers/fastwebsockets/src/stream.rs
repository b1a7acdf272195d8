//! A TCP stream that gathers what is written, and writes it when the library wants to read again: then it has handled
//! all that had come. Broadcasts are taken from the inbox at the same point, so a connection needs one task only.

use std::io::{ErrorKind, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// From here on it is written without waiting for a read.
const GATHERED_BYTES_MAX: usize = 16 * 1024;

pub(crate) struct Gathering {
    tcp: TcpStream,
    /// Came with the handshake.
    early: Vec<u8>,
    gathered: Vec<u8>,
    /// Encoded frames.
    inbox: Option<mpsc::Receiver<Bytes>>,
}

impl Gathering {
    pub(crate) fn new(tcp: TcpStream, early: Vec<u8>, inbox: Option<mpsc::Receiver<Bytes>>) -> Gathering {
        Gathering { tcp, early, gathered: Vec::new(), inbox }
    }

    /// Writes what was gathered.
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut done = 0;
        let outcome = loop {
            if done == self.gathered.len() {
                break Poll::Ready(Ok(()));
            }
            match Pin::new(&mut self.tcp).poll_write(cx, &self.gathered[done..]) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => done += written,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.gathered.drain(..done);
        outcome
    }

    /// Takes all broadcasts that wait, and writes them.
    fn poll_inbox(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            ready!(self.poll_write_out(cx))?;
            let Some(inbox) = &mut self.inbox else { return Poll::Ready(Ok(())) };
            while self.gathered.len() < GATHERED_BYTES_MAX {
                match inbox.poll_recv(cx) {
                    Poll::Ready(Some(frame)) => self.gathered.extend_from_slice(&frame),
                    // Too far behind.
                    Poll::Ready(None) => return Poll::Ready(Err(ErrorKind::ConnectionAborted.into())),
                    Poll::Pending => return self.poll_write_out(cx),
                }
            }
        }
    }
}

impl AsyncRead for Gathering {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        // Who does not read is not read from.
        ready!(self.poll_inbox(cx))?;
        if self.early.is_empty() {
            return Pin::new(&mut self.tcp).poll_read(cx, into);
        }
        let length = self.early.len().min(into.remaining());
        into.put_slice(&self.early[..length]);
        self.early.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Gathering {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        if self.gathered.len() + bytes.len() > GATHERED_BYTES_MAX {
            ready!(self.poll_write_out(cx))?;
            if bytes.len() > GATHERED_BYTES_MAX {
                return Pin::new(&mut self.tcp).poll_write(cx, bytes);
            }
        }
        self.gathered.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_write_out(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_write_out(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
