//! The system calls that neither std nor socket2 offers safely. The crate's only `unsafe`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

fn check(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// A new eventfd, not blocking and not inherited.
pub(crate) fn event_fd() -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed; a result that is not negative is a new descriptor that nobody else owns.
    unsafe {
        let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
        check(fd as isize)?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Receives what is there into `buffer`, without waiting. 0 is the end of the stream.
pub(crate) fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `buffer.len()` bytes into memory that is ours to write.
    check(unsafe { libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) })
}

/// Sends as much as the socket takes, without waiting and without SIGPIPE.
pub(crate) fn send(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the kernel only reads `bytes.len()` bytes.
    check(unsafe {
        libc::send(
            fd.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    })
}

/// The descriptor of a monoio stream.
pub(crate) fn borrow(stream: &monoio::net::TcpStream) -> BorrowedFd<'_> {
    // SAFETY: the stream owns its descriptor and outlives the borrow.
    unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) }
}

/// Takes the descriptor out of a monoio stream.
///
/// # Panics
/// When an operation of the stream is in flight (monoio's rule): callers hold the only reference and await nothing.
pub(crate) fn take(stream: monoio::net::TcpStream) -> OwnedFd {
    // SAFETY: `into_raw_fd` gives up the ownership that is taken here.
    unsafe { OwnedFd::from_raw_fd(stream.into_raw_fd()) }
}

/// Pins the calling thread to one of the processors that it may use, counted around. Returns which one.
pub(crate) fn pin_thread(index: usize) -> io::Result<usize> {
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: cpu_set_t is a plain bit set, for which zero is the empty set; both calls get its address and true size,
    // and the CPU_* functions get indexes below CPU_SETSIZE.
    unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        check(libc::sched_getaffinity(0, size, &mut allowed) as isize)?;
        let cpus: Vec<usize> =
            (0..libc::CPU_SETSIZE as usize).filter(|cpu| libc::CPU_ISSET(*cpu, &allowed)).collect();
        let cpu = *cpus.get(index % cpus.len().max(1)).ok_or(io::ErrorKind::NotFound)?;
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut one);
        check(libc::sched_setaffinity(0, size, &one) as isize)?;
        Ok(cpu)
    }
}
