//! ^C in a conversation: what is waited for ends, and the prompt comes back. Elsewhere it ends the program.

use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::SIGINT;
use signal_hook::low_level::pipe;

use crate::sys::client_socket::PollSet;

/// What the signal's handler writes to, once there is one. Handlers are the whole process's, and so is this.
static PRESSED: OnceLock<UnixStream> = OnceLock::new();

/// Why a wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// Something can be read.
    Ready,
    /// ^C, and until [`forget`] every further wait.
    Interrupted,
    TimedOut,
}

/// From now on ^C ends waits instead of the program.
pub(super) fn watch() -> io::Result<()> {
    let (handler, pressed) = UnixStream::pair()?;
    pressed.set_nonblocking(true)?;
    pipe::register(SIGINT, handler)?;
    // A conversation begins once.
    let _ = PRESSED.set(pressed);
    Ok(())
}

/// Whether ^C was pressed.
pub(super) fn is_pressed() -> bool {
    PRESSED.get().is_some_and(|pressed| {
        let mut poll = PollSet::default();
        poll.push(pressed);
        poll.wait(Duration::ZERO).is_ok() && poll.readiness(0).readable
    })
}

/// What was waited for has ended.
pub(super) fn forget() {
    let Some(mut pressed) = PRESSED.get() else { return };
    while pressed.read(&mut [0; 64]).is_ok_and(|length| length > 0) {}
}

/// Waits until something can be read, at most so long.
pub(super) fn wait(descriptor: &impl AsRawFd, patience: Option<Duration>) -> io::Result<Woken> {
    let start = Instant::now();
    let mut poll = PollSet::default();
    loop {
        let left = patience.map_or(Duration::MAX, |patience| patience.saturating_sub(start.elapsed()));
        poll.clear();
        poll.push(descriptor);
        if let Some(pressed) = PRESSED.get() {
            poll.push(pressed);
        }
        poll.wait(left)?;
        let here = poll.readiness(0);
        if poll.readiness(1).readable {
            return Ok(Woken::Interrupted);
        }
        if here.readable || here.error {
            return Ok(Woken::Ready);
        }
        if left.is_zero() {
            return Ok(Woken::TimedOut);
        }
    }
}

/// The next line of standard input, empty at its end.
///
/// # Errors
/// `Interrupted` by ^C, which a terminal also takes as "forget what was typed".
pub(super) fn read_line() -> io::Result<String> {
    // A terminal hands out one line for each read, so none is in the buffer while this waits for the next.
    if PRESSED.get().is_some() && wait(&io::stdin(), None)? == Woken::Interrupted {
        return Err(io::ErrorKind::Interrupted.into());
    }
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    // Between the wait and the read: the terminal has thrown away what was typed before.
    if is_pressed() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(line) }
}

/// The result of something that cannot be interrupted itself, such as the resolver; `None` after ^C.
pub(super) fn unless_pressed<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    if PRESSED.get().is_none() {
        return Some(work());
    }
    if is_pressed() {
        return None;
    }
    let (result, given) = mpsc::channel();
    let Ok((done, ended)) = UnixStream::pair() else { return Some(work()) };
    thread::spawn(move || {
        // Nobody listens any more after ^C.
        let _ = result.send(work());
        drop(done);
    });
    match wait(&ended, None) {
        Ok(Woken::Ready) => given.recv().ok(),
        _ => None,
    }
}
