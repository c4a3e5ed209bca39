//! What went through the client's own sockets: written by its thread alone, read by whoever tells of it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// Requests sent.
    pub(super) sent: Count,
    /// Requests that could not be sent.
    pub(super) unsent: Count,
    /// Requests that were signed.
    pub(super) signed: Count,
    /// Datagrams received of version 4.
    pub(super) this_version: Count,
    /// Datagrams received of older versions.
    pub(super) old_version: Count,
    /// Datagrams received that are no NTP packets of a version that is known.
    pub(super) bad_format: Count,
    /// Codes that were right.
    pub(super) authentic: Count,
    /// Codes that were wrong.
    pub(super) bad_code: Count,
    /// Codes of keys that are not here.
    pub(super) unknown_key: Count,
    /// Replies that the clock process was given.
    pub(super) processed: Count,
    /// Whole seconds by which timers were late.
    pub(super) late_seconds: Count,
}

/// One of them.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    /// Counts so many more.
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    /// How many there were.
    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Traffic {
    /// A datagram came.
    pub(super) fn received(&self, bytes: &[u8]) {
        match bytes.first().map(|first| first >> 3 & 7) {
            Some(4) => self.this_version.add(1),
            Some(1..=3) => self.old_version.add(1),
            _ => self.bad_format.add(1),
        }
    }

    /// Datagrams that came.
    pub(super) fn arrivals(&self) -> u64 {
        self.this_version.get() + self.old_version.get() + self.bad_format.get()
    }
}
