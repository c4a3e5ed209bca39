//! Signals become flags, and wake the daemon thread.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1};
use signal_hook::{flag, low_level::pipe};

/// The signals that came. Beside workers the daemon thread has a socket that ends its sleep, which signal
/// handlers, ending workers and resolvers write to; without them a signal interrupts the sleep by itself.
pub(super) struct Signals {
    starting: Arc<AtomicBool>,
    terminate: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    report: Arc<AtomicBool>,
    wake: Option<Wake>,
}

struct Wake {
    sleep: UnixStream,
    wake: UnixStream,
}

impl Signals {
    /// Installs the handlers. Until [`started`](Self::started), SIGTERM and SIGINT end the process at once:
    /// there is nothing to drain yet. The other signals wait.
    pub(super) fn install(with_waker: bool) -> io::Result<Self> {
        let signals = Self {
            starting: Arc::new(AtomicBool::new(true)),
            terminate: Arc::default(),
            reload: Arc::default(),
            report: Arc::default(),
            wake: if with_waker { Some(Wake::new()?) } else { None },
        };
        for signal in [SIGTERM, SIGINT, SIGQUIT] {
            flag::register_conditional_shutdown(signal, 0, Arc::clone(&signals.starting))?;
        }
        for (signal, flag) in [
            (SIGTERM, &signals.terminate),
            (SIGINT, &signals.terminate),
            (SIGQUIT, &signals.terminate),
            (SIGHUP, &signals.reload),
            (SIGUSR1, &signals.report),
        ] {
            // The flag first: when the wake-up is read, it is set.
            flag::register(signal, Arc::clone(flag))?;
            if let Some(waker) = signals.waker()? {
                pipe::register(signal, waker)?;
            }
        }
        Ok(signals)
    }

    /// From now on the daemon thread looks for SIGTERM and SIGINT.
    pub(super) fn started(&self) {
        self.starting.store(false, SeqCst);
    }

    /// A handle that ends the daemon thread's sleep when a byte is written to it.
    pub(super) fn waker(&self) -> io::Result<Option<UnixStream>> {
        self.wake.as_ref().map(|wake| wake.wake.try_clone()).transpose()
    }

    /// What becomes readable when there is something to look at.
    pub(super) fn sleep(&self) -> Option<&UnixStream> {
        self.wake.as_ref().map(|wake| &wake.sleep)
    }

    /// Takes note of having been woken: the next sleep is a new one.
    pub(super) fn awake(&self) {
        // Whoever wakes twice is looked at once; an empty socket is no error.
        let _ = self.sleep().map(|mut sleep| sleep.read(&mut [0; 64]));
    }

    /// SIGTERM, SIGINT or SIGQUIT came.
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

impl Wake {
    fn new() -> io::Result<Self> {
        let (sleep, wake) = UnixStream::pair()?;
        // Whoever wakes the daemon thread must not wait for it: it may be waiting for them to end.
        wake.set_nonblocking(true)?;
        sleep.set_nonblocking(true)?;
        Ok(Self { sleep, wake })
    }
}
