//! What the control protocol can tell: copies that others keep, borrowed for one answer.

use std::net::{IpAddr, SocketAddr};

use crate::snapshot::{Association, Discipline, SystemVariables};
use crate::wire::NtpTimestamp;

/// Everything, as of one moment.
#[derive(Debug)]
pub struct View<'a> {
    /// That moment, of the served time.
    pub now: NtpTimestamp,
    /// What is served.
    pub system: &'a SystemVariables,
    /// How the clock is kept.
    pub discipline: &'a Discipline,
    /// Whom it is kept by.
    pub associations: &'a [Association],
    /// Who we are.
    pub identity: &'a Identity,
    /// What was done so far.
    pub statistics: &'a Statistics,
    /// What the kernel says about its clock; `None` where it was not asked.
    pub kernel: Option<KernelClock>,
    /// Who has asked.
    pub monitor: Monitor<'a>,
    /// What is told to those with the control key; empty for others.
    pub lists: &'a Lists,
}

/// Lists of this machine's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// The addresses that are served.
    pub interfaces: Vec<Interface>,
    /// Whom `restrict` is about, in the order in which the first that fits holds.
    pub restrictions: Vec<Restriction>,
}

/// An address that is served, and what went through its sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The interface's name, or what ntpd calls the wildcard addresses.
    pub name: String,
    /// The address and port.
    pub address: SocketAddr,
    /// ntpd's INT_… bits.
    pub flags: u16,
    /// Datagrams received.
    pub received: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams that the kernel refused to send.
    pub send_failed: u64,
    /// Sources that are asked from this address.
    pub peers: usize,
    /// Seconds since it is served.
    pub uptime: u64,
}

/// Addresses, and what they may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restriction {
    /// The first address.
    pub address: IpAddr,
    /// How many bits of it are given.
    pub length: u8,
    /// Datagrams that it was applied to.
    pub hits: u64,
    /// ntpd's words for what holds.
    pub flags: String,
}

/// The program and its machine, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Program and version.
    pub version: String,
    /// The machine's architecture.
    pub processor: String,
    /// Name and release of its kernel.
    pub system: String,
}

/// Counts since the start; every reset is the start itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Seconds since the start.
    pub uptime: u64,
    /// Packets received.
    pub received: u64,
    /// Time requests of version 4 that were answered.
    pub this_version: u64,
    /// Time requests of older versions that were answered.
    pub old_version: u64,
    /// Those of version 1 among them.
    pub version_1: u64,
    /// Control messages that were answered.
    pub control: u64,
    /// Packets too short, or of a format that nothing has.
    pub bad_format: u64,
    /// MACs that were wrong, or of keys that nobody has.
    pub bad_authentication: u64,
    /// Packets that nobody had to answer.
    pub declined: u64,
    /// Packets that `restrict` left unanswered.
    pub restricted: u64,
    /// Packets above the rate limit.
    pub limited: u64,
    /// Kiss-o'-death packets sent.
    pub kod_sent: u64,
    /// Replies of our own sources that were used.
    pub processed: u64,
    /// Packets lost because a queue was full.
    pub dropped: u64,
    /// Packets that were not for this host alone.
    pub ignored: u64,
    /// Packets sent.
    pub sent: u64,
    /// Packets that the kernel refused to send.
    pub send_failed: u64,
    /// Times that a wait for packets ended.
    pub wakeups: u64,
    /// Times that there was a packet then.
    pub useful_wakeups: u64,
    /// Packets that there is room for.
    pub buffers: u64,
    /// Packets that wait there.
    pub buffers_in_use: u64,
    /// Times that there was no room left.
    pub buffers_short: u64,
    /// Whole seconds by which timers were late.
    pub timer_overruns: u64,
    /// Requests that our own client sent.
    pub polls: u64,
    /// Keys in use.
    pub keys: u64,
    /// Keys that were looked for.
    pub key_lookups: u64,
    /// Keys that were not found.
    pub keys_not_found: u64,
    /// Codes made.
    pub encryptions: u64,
    /// Codes checked.
    pub decryptions: u64,
}

/// The kernel's clock, by clock_adjtime.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct KernelClock {
    /// What is left of the last offset, in seconds.
    pub offset: f64,
    /// Its frequency correction, in parts per million.
    pub frequency_ppm: f64,
    /// Error bound in seconds.
    pub maximum_error: f64,
    /// Probable error in seconds.
    pub estimated_error: f64,
    /// STA_… bits of timex.h.
    pub status: u32,
    /// The time constant of its loop.
    pub time_constant: i64,
    /// What it can tell apart, in seconds.
    pub precision: f64,
    /// The bound of its frequency correction, in parts per million.
    pub tolerance_ppm: f64,
}

/// The list of clients, and its bounds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Monitor<'a> {
    /// Whether it is kept.
    pub enabled: bool,
    /// Those in it, the longest unseen first.
    pub clients: &'a [MonitoredClient],
    /// How many it has held at most.
    pub deepest: u64,
    /// How many it can hold.
    pub maximum_depth: u64,
    /// What one of them takes, in bytes.
    pub entry_bytes: u64,
}

/// A client that was heard from lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MonitoredClient {
    /// Whence its last packet came.
    pub address: SocketAddr,
    /// When its first one came, since it is in the list.
    pub first: NtpTimestamp,
    /// When its last one came.
    pub last: NtpTimestamp,
    /// How many came.
    pub count: u64,
    /// Version (bits 3 to 5) and mode (bits 0 to 2) of the last.
    pub version_mode: u8,
    /// What `restrict` says of it, in ntpd's bits.
    pub restrict: u16,
}

impl View<'_> {
    /// The association with this id.
    pub(super) fn association(&self, id: u16) -> Option<&Association> {
        self.associations.iter().find(|association| association.id == id)
    }

    /// The source that the clock follows.
    pub(super) fn system_peer(&self) -> Option<&Association> {
        match self.discipline.system_peer {
            0 => None,
            id => self.association(id),
        }
    }
}

/// Whether an address is this machine's loopback.
pub(super) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
