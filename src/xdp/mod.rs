//! Answers in the network driver: a program in the kernel (responder.bpf.c) that replies to plain requests
//! where they arrive and passes everything else to the sockets.
//!
//! It decides nothing of its own. `feed` tells it what `server` would answer, `attach` puts it on interfaces,
//! and a differential test holds its replies against the server's.

mod attach;
mod feed;
mod layout;
mod tier;
mod timescale;
mod tries;

pub use attach::{OBJECT, Program};
pub use feed::Feed;
pub use tier::{InterfaceStatus, Tier, View, Wanted};
pub use timescale::Timescale;

pub use crate::sys::xdp::{Attachment, LoadError, Mode};

use std::sync::Arc;

use aya::maps::{MapData, MapError, PerCpuArray};

use self::layout::{CoreCounters, PASSED};

/// A link that requests come over: an interface, or a VLAN of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Name of the interface that has the addresses: of a VLAN, the VLAN's own.
    pub name: String,
    /// Index of the interface that the program is attached to.
    pub ifindex: u32,
    /// VLAN tag, 0 for none.
    pub vlan: u16,
    /// Where frames must be sent to.
    pub mac: [u8; 6],
    /// Whether this is the loopback interface, over which own addresses send.
    pub loopback: bool,
}

/// What the program has counted since it was loaded; any thread may read it.
#[derive(Clone)]
pub struct XdpCounters(Arc<PerCpuArray<MapData, CoreCounters>>);

/// The counts of all cores together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpTotals {
    /// Replies that the driver was given to send, by version: the first is version 1.
    pub answered: [u64; 4],
    passed: [u64; PASSED.len()],
}

impl XdpCounters {
    /// The counts of this moment.
    ///
    /// # Errors
    /// What the kernel says; it has no reason to.
    pub fn read(&self) -> Result<XdpTotals, MapError> {
        let mut totals = XdpTotals::default();
        for core in self.0.get(&0, 0)?.iter() {
            for (total, count) in totals.answered.iter_mut().zip(core.answered) {
                *total += count;
            }
            for (total, count) in totals.passed.iter_mut().zip(core.passed) {
                *total += count;
            }
        }
        Ok(totals)
    }
}

impl XdpTotals {
    /// Replies of all versions.
    pub fn answered(&self) -> u64 {
        self.answered.iter().sum()
    }

    /// Requests of 48 octets to a served address that were left to the sockets, by name of the reason.
    pub fn passed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        PASSED.into_iter().zip(self.passed)
    }
}
