//! Request to reply, in place. The hot room: no allocation, log line, lock or clock of its own; the time is
//! an argument.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::auth::KeyTable;
use crate::snapshot::SystemVariables;
use crate::wire::{NtpTimestamp, Precision};

mod access;
mod counters;
mod monitor;
mod rate_limit;
mod respond;
mod template;

pub use access::{AccessEntry, AccessFlags, AccessList, IpPrefix, TooManyEntries};
pub use counters::{Counters, PathTally, Reason, SocketTally, Tally, Totals};
pub use monitor::{Limited, Monitor, Observed};
pub use rate_limit::RateLimit;
pub use respond::Responder;

/// The port of NTP servers.
const NTP_PORT: u16 = 123;

/// All that the answers depend on, but for the request and the time.
#[derive(Clone, Debug)]
pub struct ServingState {
    /// What replies say about the clock.
    pub system: SystemVariables,
    /// Who may ask what.
    pub access: Arc<AccessList>,
    /// How often those may ask whom `access` limits.
    pub limit: RateLimit,
    /// Whether it is remembered who asks.
    pub monitor: bool,
    /// With which keys they may sign what they ask.
    pub keys: Arc<KeyTable>,
    /// Which of these may ask for more than everybody, in control messages.
    pub control_key: Option<u16>,
    /// What a tier in front of this one writes into the origin of requests whose source has had all its
    /// answers from there; a secret number, and none where there is no such tier.
    pub spent_mark: Option<[u8; 8]>,
}

impl Default for ServingState {
    /// An unsynchronised clock, served to everybody.
    fn default() -> Self {
        Self {
            system: SystemVariables::unsynchronised(Precision::COARSEST),
            access: Arc::default(),
            limit: RateLimit::default(),
            monitor: false,
            keys: Arc::default(),
            control_key: None,
            spent_mark: None,
        }
    }
}

/// One request, still in the buffer it arrived in; the reply is written over it.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// Where the request came from, and where the reply goes.
    pub peer: SocketAddr,
    /// The packet's own destination (IP_PKTINFO's ipi_addr) and the served port.
    pub local: SocketAddr,
    /// The kernel's receive stamp.
    pub received: NtpTimestamp,
    /// How long the replies that leave before this one's will take, in units of an `NtpTimestamp` (2^-32 s).
    pub ahead: i64,
    /// Exactly the request's UDP payload.
    pub buf: &'a mut [u8],
}

impl Datagram<'_> {
    /// The same datagram, lent for a while.
    pub fn reborrow(&mut self) -> Datagram<'_> {
        Datagram {
            peer: self.peer,
            local: self.local,
            received: self.received,
            ahead: self.ahead,
            buf: self.buf,
        }
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send the first so many bytes of the buffer back.
    Reply(usize),
    /// Copy the request to the daemon's bounded channel (mode 6).
    Forward,
    /// Silence.
    Drop(Reason),
}

/// Reads the time that goes into transmit stamps; asked exactly once per reply, as late as possible.
pub trait Clock {
    /// Now, on the timescale that is served.
    fn now(&self) -> NtpTimestamp;
}
