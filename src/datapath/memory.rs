//! A datapath without a kernel, for tests, benches and fuzzing: datagrams and their stamps come from the
//! caller.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::Datapath;
use crate::limits::REQUEST_MAX;
use crate::server::{Datagram, PathTally, SocketTally, Verdict};
use crate::wire::NtpTimestamp;

/// Datagrams in, replies out, both in the order of arrival.
#[derive(Debug, Default)]
pub struct Memory {
    waiting: VecDeque<Arrival>,
    /// Replies that a kernel would have sent.
    pub replies: Vec<Departure>,
    /// Control messages that the daemon would have got.
    pub forwarded: Vec<Departure>,
    tally: PathTally,
}

/// A datagram that arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its source.
    pub peer: SocketAddr,
    /// Its destination.
    pub local: SocketAddr,
    /// When it arrived.
    pub received: NtpTimestamp,
    /// Its payload.
    pub bytes: Vec<u8>,
}

/// A datagram that was passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// The client: a reply's destination, a control message's source.
    pub peer: SocketAddr,
    /// The server's own address and port.
    pub local: SocketAddr,
    /// The payload.
    pub bytes: Vec<u8>,
}

impl Memory {
    /// Nothing waits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets a datagram arrive.
    pub fn push(&mut self, arrival: Arrival) {
        self.waiting.push_back(arrival);
    }
}

impl Datapath for Memory {
    fn wait(&mut self, _timeout: Duration) -> io::Result<()> {
        Ok(())
    }

    fn drain(&mut self, mut serve: impl FnMut(Datagram<'_>) -> Verdict) -> io::Result<PathTally> {
        while let Some(Arrival { peer, local, received, mut bytes }) = self.waiting.pop_front() {
            if bytes.len() > REQUEST_MAX {
                self.tally.truncated += 1;
                continue;
            }
            match serve(Datagram { peer, local, received, ahead: 0, buf: &mut bytes }) {
                Verdict::Reply(length) => {
                    bytes.truncate(length);
                    self.replies.push(Departure { peer, local, bytes });
                }
                Verdict::Forward => self.forwarded.push(Departure { peer, local, bytes }),
                Verdict::Drop(_) => {}
            }
        }
        Ok(self.tally)
    }

    fn by_socket(&self) -> &[SocketTally] {
        &[]
    }
}
