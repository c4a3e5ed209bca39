//! What mode 6 tells about associations and about the clock discipline: copies that the client publishes,
//! so that nobody who asks can hold it up.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::wire::{LeapIndicator, NtpShort, NtpTimestamp, Precision, ReferenceId};

/// One association, as of the last change.
#[derive(Clone, Debug, PartialEq)]
pub struct Association {
    /// Association id, never zero.
    pub id: u16,
    /// What it is with.
    pub kind: AssociationKind,
    /// Whom it is with: `srcadr`, `srcport`. Unspecified for a pool's template and for a name without address
    /// yet; 127.127.1.u for the local clock.
    pub source: SocketAddr,
    /// The name in the configuration, if it was one: `srchost`.
    pub host: Option<Arc<str>>,
    /// Our address on the way there: `dstadr`. Unspecified before the first reply.
    pub local: IpAddr,
    /// The source's leap indicator.
    pub leap: LeapIndicator,
    /// The source's stratum; 16 while unknown.
    pub stratum: u8,
    /// The source's precision.
    pub precision: Precision,
    /// The source's root delay.
    pub root_delay: NtpShort,
    /// The source's root dispersion.
    pub root_dispersion: NtpShort,
    /// The source's reference id, or a kiss code.
    pub reference_id: ReferenceId,
    /// The source's reference time.
    pub reference_time: NtpTimestamp,
    /// When its last valid reply arrived.
    pub received: NtpTimestamp,
    /// Which of the last eight polls were answered; the newest is the lowest bit.
    pub reach: u8,
    /// Polls in a row without an answer.
    pub unreach: u32,
    /// Our poll interval, log2 seconds.
    pub host_poll: u8,
    /// The source's poll interval as its reply had it, log2 seconds.
    pub peer_poll: i8,
    /// Which tests the last packet failed, ntpd's bits; see the `FLASH_…` constants of the client.
    pub flash: u16,
    /// Key of requests and replies; 0 for none.
    pub key_id: u32,
    /// What became of the last reply's MAC.
    pub authentication: Authentication,
    /// Server − local, in seconds, of the last sample.
    pub offset: f64,
    /// Round trip in seconds.
    pub delay: f64,
    /// Error bound of the measurement in seconds.
    pub dispersion: f64,
    /// Scatter of the offsets in seconds.
    pub jitter: f64,
    /// The last samples, newest first; unused ones are [`FilterSample::EMPTY`].
    pub filter: [FilterSample; 8],
    /// What selection made of it.
    pub selection: Selection,
    /// The last event: RFC 9327 §4.3's code, 0 for none.
    pub event: u8,
    /// How often that has happened in a row, at most 15.
    pub events: u8,
    /// When it is asked next.
    pub next: NtpTimestamp,
    /// What was exchanged with it.
    pub exchanged: Exchanged,
}

/// Packets of one association, since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exchanged {
    /// Requests.
    pub sent: u32,
    /// Whatever came in answer.
    pub received: u32,
    /// Among these: not signed as they should be.
    pub bad_authentication: u32,
    /// Not to our request.
    pub bogus: u32,
    /// Had already.
    pub duplicates: u32,
    /// Too far from any reference, by their own account.
    pub distant: u32,
    /// Not synchronised, or with times that cannot be.
    pub unsynchronised: u32,
}

/// What an association is with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssociationKind {
    /// A server of the configuration.
    Server,
    /// One of a pool's servers.
    PoolMember,
    /// A pool, whose members are associations of their own.
    Pool,
    /// This machine's clock, 127.127.1.u.
    LocalClock,
}

/// What became of a reply's MAC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Authentication {
    /// The association has no key.
    #[default]
    None,
    /// The last reply's MAC was missing, of another key, or wrong; or there was no reply yet.
    Bad,
    /// The last reply's MAC was right.
    Good,
}

/// RFC 9327 §3.2's selection field: the tally character of `ntpq -p`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Selection {
    /// ` `: not valid, or never to be selected.
    #[default]
    Rejected = 0,
    /// `x`: outside the majority's intersection.
    Falseticker = 1,
    /// `.`: more than `tos maxclock` survived.
    Excess = 2,
    /// `-`: discarded by the cluster algorithm.
    Outlier = 3,
    /// `+`: combined.
    Candidate = 4,
    /// `#`: a backup.
    Backup = 5,
    /// `*`: the system peer.
    SystemPeer = 6,
}

/// One stage of the clock filter as `filtdelay`, `filtoffset` and `filtdisp` show it, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FilterSample {
    /// Round trip.
    pub delay: f64,
    /// Server − local.
    pub offset: f64,
    /// Error bound when it was taken.
    pub dispersion: f64,
}

impl FilterSample {
    /// No sample yet: RFC 5905's MAXDISP.
    pub const EMPTY: Self = Self { delay: 0.0, offset: 0.0, dispersion: 16.0 };
}

/// The clock discipline, as of the last change.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Discipline {
    /// Association id of the system peer; 0 for none.
    pub system_peer: u16,
    /// True − local in seconds, as the survivors together have it.
    pub offset: f64,
    /// What the clock's rate is corrected by, in parts per million.
    pub frequency_ppm: f64,
    /// Scatter of the survivors' offsets, and of the system peer's own, in seconds.
    pub system_jitter: f64,
    /// Uncertainty of the clock's phase in seconds.
    pub clock_jitter: f64,
    /// Uncertainty of the clock's frequency in parts per million.
    pub clock_wander_ppm: f64,
    /// Poll interval of the system peer, log2 seconds.
    pub time_constant: u8,
    /// The last system event: RFC 9327 §4.1's code, 0 for none.
    pub event: u8,
    /// How often that has happened in a row, at most 15.
    pub events: u8,
}
