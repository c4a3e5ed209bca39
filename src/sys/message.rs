//! One received datagram, whichever call brought it.

use std::net::{IpAddr, SocketAddr};

use super::clock::Timespec;
use super::cmsg;

/// One datagram in the buffer that the kernel wrote it to.
#[derive(Debug)]
pub struct Received<'a> {
    /// Which of the sockets it came to, in the order they were handed over.
    pub socket: usize,
    /// The sender.
    pub peer: SocketAddr,
    /// The destination address in its IP header.
    pub destination: IpAddr,
    /// Whether that is a broadcast or IPv4 multicast address.
    pub shared_destination: bool,
    /// The kernel's receive stamp (CLOCK_REALTIME); `None` if the kernel gave none.
    pub stamp: Option<Timespec>,
    /// How long the replies that are sent before this one's will take, in nanoseconds.
    pub ahead_ns: u32,
    /// The UDP payload; a reply is written over it.
    pub payload: &'a mut [u8],
}

/// What sockets and kernel did, since the start of this worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoTally {
    /// Datagrams longer than the buffer, or without a usable address: dropped before anybody looked at them.
    pub truncated: u64,
    /// SO_RXQ_OVFL: datagrams lost because a socket's queue was full.
    pub receive_overflow: u64,
    /// Completions that the kernel could not queue (io_uring only).
    pub completion_overflow: u64,
    /// Multishot receives armed again after they ended (io_uring only).
    pub rearmed: u64,
    /// System calls made to move datagrams.
    pub kernel_entries: u64,
}

/// Per-socket state that outlives a datagram.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SocketState {
    overflow: u32,
}

impl SocketState {
    /// Turns the kernel's cumulative 32-bit loss counter into what was lost since the last look.
    pub(super) fn note_overflow(&mut self, counter: Option<u32>, tally: &mut IoTally) {
        if let Some(counter) = counter {
            tally.receive_overflow += u64::from(counter.wrapping_sub(self.overflow));
            self.overflow = counter;
        }
    }
}

/// A datagram's three parts as they lie in memory. After [`Parts::serve`] the same memory is the reply.
pub(super) struct Parts<'a> {
    pub(super) name: &'a [u8],
    pub(super) control: &'a mut [u8],
    pub(super) payload: &'a mut [u8],
}

/// How much of a datagram's memory is its reply.
#[derive(Clone, Copy)]
pub(super) struct ReplyLengths {
    pub(super) control: usize,
    pub(super) payload: usize,
}

impl Parts<'_> {
    /// Hands the datagram to `serve`, which returns the length of the reply it wrote over the payload (0:
    /// none). `None` when no reply is to be sent.
    #[inline]
    pub(super) fn serve(
        self,
        socket: usize,
        ahead_ns: u32,
        state: &mut SocketState,
        tally: &mut IoTally,
        serve: &mut impl FnMut(Received<'_>) -> usize,
    ) -> Option<ReplyLengths> {
        let control = cmsg::parse(self.control);
        state.note_overflow(control.overflow, tally);
        let (Some(peer), Some(arrival)) = (cmsg::parse_name(self.name), control.arrival) else {
            tally.truncated += 1;
            return None;
        };
        let room = self.payload.len();
        let received = Received {
            socket,
            peer,
            destination: arrival.destination,
            shared_destination: arrival.shared,
            stamp: control.stamp,
            ahead_ns,
            payload: self.payload,
        };
        let length = serve(received).min(room);
        (length > 0).then(|| ReplyLengths {
            control: cmsg::write_reply_source(self.control, arrival),
            payload: length,
        })
    }
}
