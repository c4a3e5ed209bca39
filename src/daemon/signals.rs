//! Signals become flags, and wake the daemon thread.

use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::{flag, low_level::pipe};

/// What the daemon thread sleeps on: a socket that signal handlers and ending workers write to.
pub(super) struct Signals {
    starting: Arc<AtomicBool>,
    terminate: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    report: Arc<AtomicBool>,
    sleep: UnixStream,
    wake: UnixStream,
}

impl Signals {
    /// Installs the handlers. Until [`started`](Self::started), SIGTERM and SIGINT end the process at once:
    /// there is nothing to drain yet. The other signals wait.
    pub(super) fn install() -> io::Result<Self> {
        let (sleep, wake) = UnixStream::pair()?;
        // Whoever wakes the daemon thread must not wait for it: it may be waiting for them to end.
        wake.set_nonblocking(true)?;
        let signals = Self {
            starting: Arc::new(AtomicBool::new(true)),
            terminate: Arc::default(),
            reload: Arc::default(),
            report: Arc::default(),
            sleep,
            wake,
        };
        for signal in [SIGTERM, SIGINT] {
            flag::register_conditional_shutdown(signal, 0, Arc::clone(&signals.starting))?;
        }
        for (signal, flag) in [
            (SIGTERM, &signals.terminate),
            (SIGINT, &signals.terminate),
            (SIGHUP, &signals.reload),
            (SIGUSR1, &signals.report),
        ] {
            // The flag first: when the wake-up is read, it is set.
            flag::register(signal, Arc::clone(flag))?;
            pipe::register(signal, signals.wake.try_clone()?)?;
        }
        Ok(signals)
    }

    /// From now on the daemon thread looks for SIGTERM and SIGINT.
    pub(super) fn started(&self) {
        self.starting.store(false, SeqCst);
    }

    /// A handle that ends [`sleep`](Self::sleep) when a byte is written to it.
    pub(super) fn waker(&self) -> io::Result<UnixStream> {
        self.wake.try_clone()
    }

    /// Sleeps until something happens or `timeout`, which must not be zero, is over.
    pub(super) fn sleep(&mut self, timeout: Duration) -> io::Result<()> {
        self.sleep.set_read_timeout(Some(timeout))?;
        match self.sleep.read(&mut [0; 64]) {
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// SIGTERM or SIGINT came.
    pub(super) fn terminate(&self) -> bool {
        self.terminate.load(SeqCst)
    }

    /// SIGHUP came since the last call.
    pub(super) fn take_reload(&self) -> bool {
        self.reload.swap(false, SeqCst)
    }

    /// SIGUSR1 came since the last call.
    pub(super) fn take_report(&self) -> bool {
        self.report.swap(false, SeqCst)
    }
}
