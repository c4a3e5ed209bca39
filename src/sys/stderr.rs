//! Standard error, for a process that must outlive whoever reads it.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::check;

/// PIPE_BUF: what a pipe that is writable takes whole, without blocking.
const PIECE: usize = 4096;

/// Writes `text` as far as the reader of standard error takes it within `patience`; the rest is lost. Without
/// a limit to the patience, the reader is waited for in the write itself.
///
/// # Errors
/// `TimedOut`, or what the kernel says, `BrokenPipe` where the reader has gone.
pub fn write(text: &[u8], patience: Option<Duration>) -> io::Result<()> {
    let Some(patience) = patience else { return io::stderr().lock().write_all(text) };
    let deadline = Instant::now() + patience;
    let mut stderr = io::stderr().lock();
    for piece in text.chunks(PIECE) {
        wait_until_writable(deadline)?;
        stderr.write_all(piece)?;
    }
    Ok(())
}

fn wait_until_writable(deadline: Instant) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let milliseconds = left.as_millis().try_into().unwrap_or(libc::c_int::MAX);
        let mut entry = libc::pollfd { fd: libc::STDERR_FILENO, events: libc::POLLOUT, revents: 0 };
        // SAFETY: `entry` is one live pollfd, borrowed exclusively for the length of the call.
        match check(unsafe { libc::poll(&raw mut entry, 1, milliseconds) }) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            // A signal: it is no reason to lose the line.
            Err(_) => {}
        }
    }
}
