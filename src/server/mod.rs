//! Request to reply, in place. The hot room: no allocation, log line, lock or clock of its own; the time is an argument.

use std::net::SocketAddr;

use crate::wire::NtpTimestamp;

/// One request, still in the buffer it arrived in; the reply is written over it.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// Where the request came from, and where the reply goes.
    pub peer: SocketAddr,
    /// The packet's own destination (IP_PKTINFO's ipi_addr) and the served port.
    pub local: SocketAddr,
    /// The kernel's receive stamp.
    pub received: NtpTimestamp,
    /// Exactly the request's UDP payload.
    pub buf: &'a mut [u8],
}

/// Why a request got no answer; each reason has its own counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Reason {
    /// Fewer than 48 bytes.
    Short,
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
