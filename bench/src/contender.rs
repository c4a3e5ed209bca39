//! What is compared: servers and echoes, each on a pinned thread of this process with a socket of its own on
//! loopback.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use ntpring::datapath::Backend::{self, IoUring, Mmsg};
use ntpring::datapath::{self, Datapath, SystemClock, Uring, Worker};
use ntpring::limits;
use ntpring::server::{Clock, Counters, Monitor, Responder, ServingState, Totals};
use ntpring::snapshot::{Published, Publisher};
use ntpring::sys::SendChunks;
use ntpring::sys::clock::ThreadCpuClock;
use ntpring::sys::socket::{ServeSocket, SocketOptions};
use ntpring::sys::thread::pin_to;

use crate::{echo, requests};

/// What answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// The server's own worker.
    Server(Backend),
    /// The control of the server on this backend.
    Echo(Backend),
    /// The worker's loop with another send chunk.
    SendChunk(Backend, usize),
}

impl Contender {
    /// The name in tables.
    pub fn name(self) -> String {
        match self {
            Self::Server(backend) => backend.name().to_owned(),
            Self::Echo(backend) => format!("echo-{}", backend.name()),
            Self::SendChunk(backend, chunk) => format!("{}, chunk {chunk}", backend.name()),
        }
    }

    /// Whether replies are time, not echoes.
    pub fn tells_time(self) -> bool {
        !matches!(self, Self::Echo(_))
    }
}

/// A contender that serves.
pub struct Running {
    /// What it is.
    pub contender: Contender,
    /// Where it listens.
    pub address: SocketAddr,
    /// The CPU time of its thread.
    pub cpu: ThreadCpuClock,
    counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

type Ready = Sender<io::Result<ThreadCpuClock>>;

impl Running {
    /// Starts `contender` on a thread pinned to `core`, on any port of `address`; returns when its receive is
    /// armed.
    ///
    /// # Errors
    /// The socket, the core or the backend cannot be had.
    pub fn start(contender: Contender, address: IpAddr, core: usize) -> io::Result<Self> {
        let options =
            SocketOptions { receive_buffer: limits::SOCKET_RECEIVE_BUFFER, ..SocketOptions::default() };
        let socket = ServeSocket::open(SocketAddr::new(address, 0), options)?;
        socket.steer_group(1)?;
        let address = socket.local();
        let seat = Seat { core, sockets: [socket].into(), counters: Arc::default(), stop: Arc::default() };
        let (counters, stop) = (Arc::clone(&seat.counters), Arc::clone(&seat.stop));
        let (ready, readiness) = mpsc::channel();
        let thread =
            thread::Builder::new().name("contender".into()).spawn(move || seat.run(contender, &ready))?;
        match readiness.recv() {
            Ok(Ok(cpu)) => Ok(Self { contender, address, cpu, counters, stop, thread: Some(thread) }),
            Ok(Err(error)) => Err(io::Error::new(error.kind(), format!("{}: {error}", contender.name()))),
            Err(_) => Err(thread.join().map_or_else(
                |_| io::Error::other("it panicked"),
                |ended| ended.err().unwrap_or_else(|| io::Error::other("it ended at once")),
            )),
        }
    }

    /// What it has counted, up to its last batch.
    pub fn totals(&self) -> Totals {
        self.counters.read()
    }

    /// Ends it.
    ///
    /// # Errors
    /// What its thread ended with.
    pub fn stop(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        self.stop.store(true, Relaxed);
        // Wakes it before its tick is over; nobody answers a single octet but the echo.
        UdpSocket::bind((self.address.ip(), 0))?.send_to(&[0], self.address)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("a contender panicked")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After `stop` there is nothing left to end; elsewhere an error is under way already.
        let _ = self.end();
    }
}

/// The same chunk with and without a backlog.
fn always(chunk: usize) -> SendChunks {
    SendChunks { calm: chunk, backlog: chunk }
}

/// What a contender's thread owns.
struct Seat {
    core: usize,
    sockets: Arc<[ServeSocket]>,
    counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
}

impl Seat {
    fn run(self, contender: Contender, ready: &Ready) -> io::Result<()> {
        // A worker pins itself.
        if !matches!(contender, Contender::Server(_)) && !pin_to(self.core) {
            return Err(io::Error::other(format!("cannot pin to core {}", self.core)));
        }
        let sockets = Arc::clone(&self.sockets);
        match contender {
            Contender::Server(backend) => self.worker().run(backend, |outcome| announce(ready, outcome)),
            Contender::Echo(IoUring) => self.echo(Uring::new(sockets)?, ready),
            Contender::Echo(Mmsg) => self.echo(datapath::Mmsg::new(sockets), ready),
            Contender::SendChunk(IoUring, chunk) => {
                self.respond(Uring::with_send_chunks(sockets, always(chunk))?, ready)
            }
            Contender::SendChunk(Mmsg, chunk) => {
                self.respond(datapath::Mmsg::with_send_chunks(sockets, always(chunk)), ready)
            }
        }
    }

    fn worker(self) -> Worker {
        let Self { core, sockets, counters, stop } = self;
        // Nobody sends control messages here; were it so, they would be dropped and counted.
        let (queries, _) = datapath::queries();
        // As the daemon runs it: clients are remembered.
        let monitor = Arc::new(Monitor::new(limits::MONITORED_CLIENTS, fastrand::u64(..)));
        let seed = fastrand::u64(..);
        Worker { core, sockets, published: published(), counters, monitor, queries, stop, seed }
    }

    fn echo(&self, path: impl Datapath, ready: &Ready) -> io::Result<()> {
        announce(ready, Ok(()));
        echo::run(path, &self.counters, &self.stop)
    }

    fn respond(&self, mut path: impl Datapath, ready: &Ready) -> io::Result<()> {
        let mut published = published();
        let mut responder = Responder::new(fastrand::u64(..));
        announce(ready, Ok(()));
        while !self.stop.load(Relaxed) {
            path.wait(limits::TICK)?;
            responder.begin_batch(&mut published, false);
            let path_tally = path.drain(|datagram| responder.respond(datagram, &SystemClock))?;
            self.counters.publish(responder.tally(), &path_tally, path.by_socket());
        }
        Ok(())
    }
}

/// A synchronised clock, served to everybody.
fn published() -> Published<ServingState> {
    let system = requests::synchronised(SystemClock.now());
    Publisher::new(ServingState { system, monitor: true, ..ServingState::default() }).subscribe()
}

/// Whoever started this thread waits for the message.
fn announce(ready: &Ready, outcome: io::Result<()>) {
    let _ = ready.send(outcome.and_then(|()| ThreadCpuClock::of_this_thread()));
}
