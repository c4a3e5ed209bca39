//! Moves datagrams between the kernel and the responder. Which backend does it is chosen once per thread;
//! after that everything is static. No `dyn`, lock, allocation or log line per packet, and no decision about
//! what to answer.

pub mod memory;
mod mmsg;
mod queries;
mod stamp;
mod translate;
mod uring;
mod worker;

use std::io;
use std::time::Duration;

use crate::limits;
use crate::server::{Datagram, PathTally, SocketTally, Verdict};
use crate::sys::SendChunks;

pub use mmsg::Mmsg;
pub use queries::{QuerySender, queries};
pub use stamp::{SystemClock, to_ntp};
pub use uring::Uring;
pub use worker::{Backend, Query, Worker};

const SEND_CHUNKS: SendChunks = SendChunks { calm: limits::SEND_CHUNK_CALM, backlog: limits::SEND_CHUNK };

/// A way to receive requests and send replies; built by its worker on the worker's own pinned thread.
pub trait Datapath {
    /// Sleeps until there may be something to drain, or `timeout` is over.
    ///
    /// # Errors
    /// What the kernel says when it cannot wait at all; network trouble is no error.
    fn wait(&mut self, timeout: Duration) -> io::Result<()>;

    /// Hands every waiting request to `serve`, sends the replies, and returns what this path has counted
    /// since it was built.
    ///
    /// # Errors
    /// What the kernel says when a socket is beyond repair; network trouble is counted, not an error.
    fn drain(&mut self, serve: impl FnMut(Datagram<'_>) -> Verdict) -> io::Result<PathTally>;

    /// What each socket has moved since this path was built, in the order they were handed over.
    fn by_socket(&self) -> &[SocketTally];
}
