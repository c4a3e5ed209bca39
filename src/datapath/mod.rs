//! Moves datagrams between the kernel and the responder; never decides what to answer.

use std::io;
use std::time::Duration;

use crate::server::{Datagram, PathTally, Verdict};

pub mod memory;

/// What one drain moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Datagrams that the responder saw.
    pub received: usize,
    /// Replies handed over for sending.
    pub replied: usize,
}

/// A way for datagrams to come and replies to go; built by its worker, on its own pinned thread.
pub trait Datapath {
    /// Sleeps until datagrams are there, at most for `timeout`.
    ///
    /// # Errors
    /// What the kernel says.
    fn wait(&mut self, timeout: Duration) -> io::Result<()>;

    /// Hands every waiting datagram to `serve` and sends the replies.
    ///
    /// # Errors
    /// What the kernel says.
    fn drain(&mut self, serve: impl FnMut(Datagram<'_>) -> Verdict) -> io::Result<Batch>;

    /// What this path has counted since it began.
    fn tally(&self) -> &PathTally;
}
