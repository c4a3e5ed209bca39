//! Starts the pinned threads on the best datapath that works here, and notices when one ends.

use std::fs;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use crossbeam::channel::{self, Sender};
use tracing::warn;

use super::listen::WorkerSockets;
use crate::datapath::{Backend, Query, Worker};
use crate::server::{Counters, ServingState};
use crate::snapshot::Publisher;
use crate::sys::thread::interrupt_until_ended;

/// Which datapath to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DatapathChoice {
    /// io_uring where it works, else recvmmsg and sendmmsg.
    #[default]
    Auto,
    /// This one or none.
    Only(Backend),
}

/// What every worker gets.
pub(super) struct Crew<'a> {
    pub(super) cores: &'a [usize],
    pub(super) sockets: &'a WorkerSockets,
    pub(super) publisher: &'a Publisher<ServingState>,
    pub(super) queries: Sender<Query>,
    /// Written to by a worker that ends.
    pub(super) waker: UnixStream,
}

/// Running worker threads.
pub(super) struct Workers {
    threads: Vec<JoinHandle<io::Result<()>>>,
    stop: Arc<AtomicBool>,
    pub(super) backend: Backend,
    pub(super) counters: Vec<Arc<Counters>>,
}

impl Crew<'_> {
    /// Returns when every worker's receive is armed. All workers use the same datapath: where one ring fails,
    /// all fall back.
    pub(super) fn start(&self, choice: DatapathChoice) -> io::Result<Workers> {
        match choice {
            DatapathChoice::Only(backend) => self.start_on(backend),
            DatapathChoice::Auto => self.start_on(Backend::IoUring).or_else(|error| {
                warn!("{error}; using recvmmsg and sendmmsg");
                self.start_on(Backend::Mmsg)
            }),
        }
    }

    fn start_on(&self, backend: Backend) -> io::Result<Workers> {
        let (ready, readiness) = channel::bounded(self.cores.len());
        let mut workers =
            Workers { threads: Vec::new(), stop: Arc::default(), backend, counters: Vec::new() };
        for (&core, sockets) in self.cores.iter().zip(self.sockets) {
            let counters = Arc::new(Counters::new());
            let worker = Worker {
                core,
                sockets: Arc::clone(sockets),
                published: self.publisher.subscribe(),
                counters: Arc::clone(&counters),
                queries: self.queries.clone(),
                stop: Arc::clone(&workers.stop),
                seed: fastrand::u64(..),
            };
            workers.counters.push(counters);
            match self.spawn(worker, backend, ready.clone()) {
                Ok(thread) => workers.threads.push(thread),
                Err(error) => {
                    workers.stop();
                    let text =
                        format!("cannot start a worker: {error}: raise the limit: ulimit -n 4096 -u 4096");
                    return Err(io::Error::new(error.kind(), text));
                }
            }
        }
        drop(ready);
        let ready: io::Result<Vec<()>> = readiness.iter().take(self.cores.len()).collect();
        let error = match ready {
            Ok(ready) if ready.len() == self.cores.len() => return Ok(workers),
            Ok(_) => io::Error::other("a worker ended before it was ready"),
            Err(error) => explain(backend, error),
        };
        workers.stop();
        Err(error)
    }

    fn spawn(
        &self,
        worker: Worker,
        backend: Backend,
        ready: Sender<io::Result<()>>,
    ) -> io::Result<JoinHandle<io::Result<()>>> {
        let mut waker = self.waker.try_clone()?;
        thread::Builder::new().name(format!("ntpring-cpu{}", worker.core)).spawn(move || {
            // The channel has room for every worker's one message; the receiver outlives them all.
            let result = worker.run(backend, move |outcome| drop(ready.send(outcome)));
            // If the daemon thread is gone already there is nobody to tell.
            let _ = waker.write(&[0]);
            result
        })
    }
}

impl Workers {
    /// Ends every worker after its last batch, and waits for it.
    pub(super) fn stop(&mut self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            // Without the interruption it ends a little later, with its tick.
            let _ = interrupt_until_ended(&thread);
            let _ = thread.join();
        }
    }

    /// What a worker that ended by itself died of: a core without its worker answers nobody, so this ends the
    /// process.
    pub(super) fn take_failure(&mut self) -> Option<io::Error> {
        let ended = self.threads.iter().position(JoinHandle::is_finished)?;
        Some(match self.threads.swap_remove(ended).join() {
            Ok(Err(error)) => error,
            Ok(Ok(())) => io::Error::other("a worker ended early"),
            Err(_) => io::Error::other("a worker panicked"),
        })
    }
}

/// Why a ring could not be set up, and what would mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoUringRefusal {
    /// The cause.
    pub why: String,
    /// A command or a setting, where there is one.
    pub cure: Option<&'static str>,
}

impl IoUringRefusal {
    /// io_uring is refused in a few well-known ways; `disabled` is the text of
    /// /proc/sys/kernel/io_uring_disabled.
    pub fn explain(error: &io::Error, disabled: &str) -> Self {
        let (why, cure) = match (error.raw_os_error(), disabled.trim()) {
            (Some(libc::EPERM), "1" | "2") => {
                let why = format!("kernel.io_uring_disabled={}", disabled.trim());
                return Self { why, cure: Some("sysctl -w kernel.io_uring_disabled=0") };
            }
            (Some(libc::EPERM | libc::EACCES), _) => (
                "a seccomp filter forbids it, as most containers' do",
                Some("docker run --security-opt seccomp=tuning/seccomp.json"),
            ),
            (Some(libc::ENOSYS), _) => {
                ("this kernel was built without it, or a seccomp filter hides it", None)
            }
            (Some(libc::EINVAL), _) => ("this kernel is older than Linux 6.1", None),
            (Some(libc::ENOMEM), _) => ("the memory limit is too low", Some("ulimit -l unlimited")),
            _ => ("unexpected", None),
        };
        Self { why: why.to_owned(), cure }
    }
}

/// Errors of our own explain themselves.
fn explain(backend: Backend, error: io::Error) -> io::Error {
    if backend != Backend::IoUring || error.raw_os_error().is_none() {
        return error;
    }
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let IoUringRefusal { why, cure } = IoUringRefusal::explain(&error, &disabled);
    let cure = cure.map_or_else(String::new, |cure| format!(" (to allow it: {cure})"));
    io::Error::new(error.kind(), format!("io_uring is not available: {error}: {why}{cure}"))
}
