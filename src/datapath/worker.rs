//! The whole life of one pinned thread.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::stamp::{StepWatch, SystemClock};
use super::{Datapath, Mmsg, QuerySender, Uring};
use crate::limits;
use crate::server::{Counters, Datagram, Monitor, PathTally, Responder, ServingState, Verdict};
use crate::snapshot::Published;
use crate::sys::socket::ServeSocket;
use crate::sys::thread;

/// How datagrams are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// io_uring.
    IoUring,
    /// recvmmsg and sendmmsg.
    Mmsg,
}

impl Backend {
    /// The name in options, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Mmsg => "mmsg",
        }
    }
}

/// A mode 6 request on its way to the daemon.
#[derive(Clone, Debug)]
pub struct Query {
    /// Who asked.
    pub peer: SocketAddr,
    /// The address and port it was sent to, which the answer must come from.
    pub local: SocketAddr,
    length: usize,
    bytes: [u8; limits::REQUEST_MAX],
}

impl Query {
    /// The request's UDP payload.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn copy_of(datagram: &Datagram<'_>) -> Self {
        let length = datagram.buf.len().min(limits::REQUEST_MAX);
        let mut bytes = [0; limits::REQUEST_MAX];
        bytes[..length].copy_from_slice(&datagram.buf[..length]);
        Self { peer: datagram.peer, local: datagram.local, length, bytes }
    }
}

/// All that a worker thread needs; it shares nothing else. Counters and monitor are written by it alone, the
/// stop flag by the daemon.
pub struct Worker {
    /// The core it is pinned to.
    pub core: usize,
    /// Its own sockets, one per served address. The daemon keeps them too, for another try with another
    /// backend.
    pub sockets: Arc<[ServeSocket]>,
    /// What to answer.
    pub published: Published<ServingState>,
    /// What it did.
    pub counters: Arc<Counters>,
    /// Who asked it.
    pub monitor: Arc<Monitor>,
    /// Where mode 6 requests go; bounded.
    pub queries: QuerySender,
    /// Ends the thread within one tick.
    pub stop: Arc<AtomicBool>,
    /// For the random bits below the clock's precision.
    pub seed: u64,
}

impl Worker {
    /// Serves on the calling thread until told to stop. `ready` is called once: when every receive is armed,
    /// or with the reason why this backend cannot work here.
    pub fn run(self, backend: Backend, ready: impl FnOnce(io::Result<()>)) -> io::Result<()> {
        if !thread::pin_to(self.core) {
            ready(Err(io::Error::other(format!("cannot pin a worker to core {}", self.core))));
            return Ok(());
        }
        let sockets = Arc::clone(&self.sockets);
        match backend {
            Backend::Mmsg => {
                ready(Ok(()));
                self.serve(Mmsg::new(sockets))
            }
            Backend::IoUring => match Uring::new(sockets) {
                Ok(path) => {
                    ready(Ok(()));
                    self.serve(path)
                }
                Err(error) => {
                    ready(Err(error));
                    Ok(())
                }
            },
        }
    }

    fn serve(mut self, mut path: impl Datapath) -> io::Result<()> {
        let mut responder = Responder::with_monitor(self.seed, Arc::clone(&self.monitor));
        // What it needs memory for it takes now.
        responder.begin_batch(&mut self.published, false);
        let mut watch = StepWatch::new();
        let (mut forward_full, mut wakeups, mut useful_wakeups) = (0, 0, 0);
        while !self.stop.load(Relaxed) {
            path.wait(limits::TICK)?;
            let before = responder.tally().received;
            responder.begin_batch(&mut self.published, watch.stepped());
            let mut path_tally = path.drain(|mut datagram| {
                let verdict = responder.respond(datagram.reborrow(), &SystemClock);
                if verdict == Verdict::Forward {
                    forward_full += u64::from(!self.forward(&datagram));
                }
                verdict
            })?;
            wakeups += 1;
            useful_wakeups += u64::from(responder.tally().received > before);
            path_tally = PathTally { forward_full, wakeups, useful_wakeups, ..path_tally };
            self.counters.publish(responder.tally(), &path_tally, path.by_socket());
        }
        Ok(())
    }

    /// False when the daemon is too busy to take it.
    #[cold]
    fn forward(&self, datagram: &Datagram<'_>) -> bool {
        self.queries.send(Query::copy_of(datagram))
    }
}
