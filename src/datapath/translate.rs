//! The step between a kernel datagram and the seam, the same for every backend.

use std::net::{Ipv4Addr, SocketAddr};

use super::stamp::{to_ntp, to_ntp_units};
use crate::server::{Datagram, PathTally, SocketTally, Verdict};
use crate::sys::clock::{self, Timespec};
use crate::sys::socket::ServeSocket;
use crate::sys::{IoTally, Received};

/// Turns what `sys` received into the responder's terms, and its verdict into a reply length.
pub(super) struct Translator {
    /// The served port of each socket.
    ports: Vec<u16>,
    by_socket: Vec<SocketTally>,
    missing_stamp: u64,
    /// What stands in for missing stamps until the end of this drain.
    substitute: Option<Timespec>,
}

impl Translator {
    pub(super) fn new(sockets: &[ServeSocket]) -> Self {
        Self {
            ports: sockets.iter().map(|socket| socket.local().port()).collect(),
            by_socket: vec![SocketTally::default(); sockets.len()],
            missing_stamp: 0,
            substitute: None,
        }
    }

    /// The length of the reply that `serve` wrote, 0 for none.
    #[inline]
    pub(super) fn serve(
        &mut self,
        received: Received<'_>,
        serve: &mut impl FnMut(Datagram<'_>) -> Verdict,
    ) -> usize {
        let stamp = received.stamp.unwrap_or_else(|| self.substitute_stamp());
        // Which addresses are a subnet's broadcast only the kernel knows; they all appear as the one
        // broadcast address.
        let destination =
            if received.shared_destination { Ipv4Addr::BROADCAST.into() } else { received.destination };
        let datagram = Datagram {
            peer: received.peer,
            local: SocketAddr::new(destination, self.ports[received.socket]),
            received: to_ntp(stamp),
            ahead: to_ntp_units(received.ahead_ns),
            buf: received.payload,
        };
        let tally = &mut self.by_socket[received.socket];
        tally.received += 1;
        match serve(datagram) {
            Verdict::Reply(length) => {
                tally.answered += 1;
                length
            }
            Verdict::Forward | Verdict::Drop(_) => 0,
        }
    }

    /// Without a kernel stamp the time of draining is the best there is; it is counted, because it hides the
    /// queueing time.
    #[cold]
    fn substitute_stamp(&mut self) -> Timespec {
        self.missing_stamp += 1;
        *self.substitute.get_or_insert_with(clock::realtime)
    }

    /// What each socket has moved.
    pub(super) fn by_socket(&self) -> &[SocketTally] {
        &self.by_socket
    }

    /// Ends a drain: all that was counted since the start.
    pub(super) fn total(&mut self, io: &IoTally, refused: &[u64]) -> PathTally {
        self.substitute = None;
        for (tally, refused) in self.by_socket.iter_mut().zip(refused) {
            tally.send_failed = *refused;
        }
        PathTally {
            truncated: io.truncated,
            forward_full: 0,
            send_failed: refused.iter().sum(),
            rxq_ovfl: io.receive_overflow,
            missing_stamp: self.missing_stamp,
            cq_overflow: io.completion_overflow,
            rearmed: io.rearmed,
            kernel_entries: io.kernel_entries,
            wakeups: 0,
            useful_wakeups: 0,
        }
    }
}
