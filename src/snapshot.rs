//! What the daemon knows and every worker must know: published whole, read once per batch.

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};

use crate::wire::{LeapIndicator, NtpShort, NtpTimestamp, Precision, ReferenceId};

mod association;
mod virtual_clock;

pub use association::{
    Association, AssociationKind, Authentication, Discipline, Exchanged, FilterSample, Selection,
};
pub use virtual_clock::VirtualClock;

/// RFC 5905 figure 6, PHI: how fast a clock may drift from the truth, in parts per million; every error bound
/// grows so.
const PHI_PPM: u64 = 15;

/// RFC 5905 figure 6, MAXSTRAT: this stratum and everything above it is "unsynchronized".
const STRATUM_MAX: u8 = 16;

/// RFC 5905 figure 6, MAXDISP: a root distance that says nothing any more, 16 s.
const DISTANCE_MAX: NtpShort = NtpShort::from_bits(16 << 16);

/// RFC 5905 §11's system variables: what a reply says about the clock it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemVariables {
    /// Leap warning, or that the clock is not synchronised.
    pub leap: LeapIndicator,
    /// Steps to the primary reference: 1 to 15; anything else is served as unsynchronised.
    pub stratum: u8,
    /// What the clock can tell apart.
    pub precision: Precision,
    /// Round trip to the primary reference.
    pub root_delay: NtpShort,
    /// Error bound to the primary reference as of `updated`; see [`SystemVariables::root_dispersion_at`].
    pub root_dispersion: NtpShort,
    /// When `root_dispersion` was true.
    pub updated: NtpTimestamp,
    /// Where the time comes from.
    pub reference_id: ReferenceId,
    /// When the clock was last set or found right.
    pub reference_time: NtpTimestamp,
    /// What turns readings of the machine's clock into the time that is served. The other stamps here are of
    /// the served time.
    pub clock: VirtualClock,
}

/// This machine's own clock, undisciplined, as a source: ntp.conf's `server 127.127.1.UNIT` and its `fudge`
/// line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalClock {
    /// The last octet of 127.127.1.UNIT.
    pub unit: u8,
    /// The source's own stratum, `fudge … stratum`; what is served is one more.
    pub stratum: u8,
    /// The name it is served by when it claims stratum 0, `fudge … refid`.
    pub reference_id: ReferenceId,
}

impl Default for LocalClock {
    fn default() -> Self {
        Self { unit: 0, stratum: 5, reference_id: ReferenceId::LOCAL }
    }
}

impl SystemVariables {
    /// Before the first synchronisation.
    pub const fn unsynchronised(precision: Precision) -> Self {
        Self {
            leap: LeapIndicator::Unsynchronised,
            stratum: STRATUM_MAX,
            precision,
            root_delay: NtpShort::ZERO,
            root_dispersion: DISTANCE_MAX,
            updated: NtpTimestamp::UNKNOWN,
            reference_id: ReferenceId::INIT,
            reference_time: NtpTimestamp::UNKNOWN,
            clock: VirtualClock::IDENTITY,
        }
    }

    /// The local clock, found right (by definition) at `now`. A primary reference goes by its name, a
    /// secondary one by the address of its source, which for this driver is 127.127.1.UNIT. A source of
    /// stratum 15 or more leaves nothing to serve.
    pub const fn local_clock(clock: LocalClock, precision: Precision, now: NtpTimestamp) -> Self {
        let reference_id = match clock.stratum {
            0 => clock.reference_id,
            1..=14 => ReferenceId::from_octets([127, 127, 1, clock.unit]),
            _ => return Self::unsynchronised(precision),
        };
        Self {
            leap: LeapIndicator::None,
            stratum: clock.stratum + 1,
            precision,
            root_delay: NtpShort::ZERO,
            root_dispersion: NtpShort::from_bits(1),
            updated: now,
            reference_id,
            reference_time: now,
            clock: VirtualClock::IDENTITY,
        }
    }

    /// The error bound at `now`: it grows at PHI since `updated`, rounded up and saturating. A clock that was
    /// set back since gains nothing by it; without a known time of update the bound is 16 s, which is none.
    pub fn root_dispersion_at(&self, now: NtpTimestamp) -> NtpShort {
        if self.updated.is_unknown() {
            return self.root_dispersion.max(DISTANCE_MAX);
        }
        let elapsed = u64::try_from(now.signed_since(self.updated)).unwrap_or(0);
        // 2^-32 s to 2^-16 s first: the product then fits for an elapsed time of up to 68 years.
        let growth = (elapsed.div_ceil(1 << 16) * PHI_PPM).div_ceil(1_000_000);
        self.root_dispersion.saturating_add(NtpShort::from_bits(u32::try_from(growth).unwrap_or(u32::MAX)))
    }

    /// Whether a client may use the time, given the root dispersion of the moment: a stratum of 1 to 15, no
    /// alarm, and a root distance below 16 s (RFC 5905 §7.2, §7.3).
    pub fn is_synchronised(&self, root_dispersion: NtpShort) -> bool {
        let distance = u64::from(self.root_delay.to_bits() / 2) + u64::from(root_dispersion.to_bits());
        self.leap != LeapIndicator::Unsynchronised
            && (1..STRATUM_MAX).contains(&self.stratum)
            && distance < u64::from(DISTANCE_MAX.to_bits())
    }
}

/// The daemon's end: publishes one value after the other.
///
/// A value that was replaced is kept until no reader holds it any more, so that freeing it is never a
/// reader's work.
#[derive(Debug)]
pub struct Publisher<T> {
    cell: Arc<ArcSwap<T>>,
    retired: Vec<Arc<T>>,
}

impl<T> Publisher<T> {
    /// Publishes the first value.
    pub fn new(first: T) -> Self {
        Self { cell: Arc::new(ArcSwap::from_pointee(first)), retired: Vec::new() }
    }

    /// Replaces the value. Readers see it at their next load.
    pub fn publish(&mut self, value: T) {
        self.retired.push(self.cell.swap(Arc::new(value)));
        // Nobody can take a new reference to a retired value, so a count of one stays one.
        self.retired.retain(|value| Arc::strong_count(value) > 1);
    }

    /// The value that readers see now.
    pub fn current(&self) -> Arc<T> {
        self.cell.load_full()
    }

    /// One more reader.
    pub fn subscribe(&self) -> Published<T> {
        Published { cache: Cache::new(Arc::clone(&self.cell)) }
    }
}

/// A reader's end, owned by one worker: loading is wait-free, and touches no shared cache line but the cell's
/// pointer.
#[derive(Clone, Debug)]
pub struct Published<T> {
    cache: Cache<Arc<ArcSwap<T>>, Arc<T>>,
}

impl<T> Published<T> {
    /// The newest value.
    pub fn load(&mut self) -> &Arc<T> {
        self.cache.load()
    }
}

#[cfg(test)]
mod tests;
