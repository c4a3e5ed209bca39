//! Starts the pinned threads on the best datapath that works here, and notices when one ends.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use crossbeam::channel::{self, Sender};
use tracing::warn;

use super::listen::WorkerSockets;
use crate::datapath::{Backend, QuerySender, Worker};
use crate::server::{Counters, Monitor, ServingState};
use crate::snapshot::Publisher;
use crate::sys::thread::interrupt_until_ended;
use crate::sys::uring;

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
    pub(super) queries: QuerySender,
    /// Clients that each remembers for `mrulist`.
    pub(super) monitored: usize,
    /// Written to by a worker that ends.
    pub(super) waker: Option<UnixStream>,
}

/// Running worker threads.
pub(super) struct Workers {
    threads: Vec<JoinHandle<io::Result<()>>>,
    stop: Arc<AtomicBool>,
    pub(super) backend: Backend,
    pub(super) counters: Vec<Arc<Counters>>,
    /// Who asked each of them.
    pub(super) monitors: Vec<Arc<Monitor>>,
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
        let mut workers = Workers {
            threads: Vec::new(),
            stop: Arc::default(),
            backend,
            counters: Vec::new(),
            monitors: Vec::new(),
        };
        for (&core, sockets) in self.cores.iter().zip(self.sockets) {
            let counters = Arc::new(Counters::for_sockets(sockets.len()));
            let monitor = Arc::new(Monitor::new(self.monitored, fastrand::u64(..)));
            let worker = Worker {
                core,
                sockets: Arc::clone(sockets),
                published: self.publisher.subscribe(),
                counters: Arc::clone(&counters),
                monitor: Arc::clone(&monitor),
                queries: self.queries.clone(),
                stop: Arc::clone(&workers.stop),
                seed: fastrand::u64(..),
            };
            workers.counters.push(counters);
            workers.monitors.push(monitor);
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
            Err(error) if backend == Backend::IoUring => uring::explain(error),
            Err(error) => error,
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
        let mut waker = self.waker.as_ref().map(UnixStream::try_clone).transpose()?;
        thread::Builder::new().name(format!("ntpring-cpu{}", worker.core)).spawn(move || {
            // The channel has room for every worker's one message; the receiver outlives them all.
            let result = worker.run(backend, move |outcome| drop(ready.send(outcome)));
            // If the daemon thread is gone already there is nobody to tell.
            let _ = waker.as_mut().map(|waker| waker.write(&[0]));
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
