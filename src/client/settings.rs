//! What the client is to do. The daemon makes it from ntp.conf and the command line.

use std::net::IpAddr;
use std::sync::Arc;

use crate::snapshot::LocalClock;
use crate::wire::Precision;

/// Everything that a configuration says to the client.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `server`, `peer` and `pool` lines.
    pub sources: Vec<Source>,
    /// `server 127.127.1.u`.
    pub local_clock: Option<LocalClock>,
    /// `tos`.
    pub selection: SelectionSettings,
    /// `tinker`, and whose clock is corrected.
    pub discipline: DisciplineSettings,
    /// What the machine's clock can tell apart.
    pub precision: Precision,
    /// The machine's own addresses, for telling loops.
    pub own_addresses: Vec<IpAddr>,
    /// What the drift file says, in parts per million.
    pub drift_ppm: Option<f64>,
    /// The next leap second of the leap file.
    pub leap: Option<LeapSecond>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            local_clock: None,
            selection: SelectionSettings::default(),
            discipline: DisciplineSettings::default(),
            precision: Precision::from_log2(-24),
            own_addresses: Vec::new(),
            drift_ppm: None,
            leap: None,
        }
    }
}

/// One `server`, `peer` or `pool` line.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Whom.
    pub host: Host,
    /// Whether the name stands for many servers.
    pub is_pool: bool,
    /// The rest of the line.
    pub options: SourceOptions,
}

/// Whom a line is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address; never looked up. An IPv6 scope goes with it, 0 for none.
    Address(IpAddr, u32),
    /// A name to be looked up.
    Name(Arc<str>, Family),
}

/// Which addresses of a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// Both.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl Family {
    /// Whether `address` is of this family.
    pub fn contains(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// What follows the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceOptions {
    /// Where requests go; 123 but in tests.
    pub port: u16,
    /// Six requests, two seconds apart, while the source is unreachable.
    pub iburst: bool,
    /// The source to follow among those that survive.
    pub prefer: bool,
    /// Measured and shown, never followed.
    pub noselect: bool,
    /// Never taken for a falseticker.
    pub truechimer: bool,
    /// Shortest poll interval, log2 seconds.
    pub minpoll: u8,
    /// Longest poll interval, log2 seconds.
    pub maxpoll: u8,
    /// Key of requests; replies must be made with it.
    pub key: Option<u32>,
    /// Version of requests.
    pub version: u8,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            port: 123,
            iburst: false,
            prefer: false,
            noselect: false,
            truechimer: false,
            minpoll: 6,
            maxpoll: 10,
            key: None,
            version: 4,
        }
    }
}

/// `tos`, with its defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SelectionSettings {
    /// So many sources must agree.
    pub minsane: usize,
    /// Clustering leaves at least so many.
    pub minclock: usize,
    /// So many associations come of pools, and at most so many survive.
    pub maxclock: usize,
    /// Root distance beyond which a source cannot be selected, in seconds.
    pub maxdist: f64,
    /// Correctness intervals are at least so wide to either side, in seconds.
    pub mindist: f64,
    /// Stratum served without any source; 16: none.
    pub orphan_stratum: u8,
    /// Seconds without a source before the local clock or orphan mode takes over.
    pub orphanwait: u32,
}

impl Default for SelectionSettings {
    fn default() -> Self {
        Self {
            minsane: 1,
            minclock: 3,
            maxclock: 10,
            maxdist: 1.5,
            mindist: 0.001,
            orphan_stratum: 16,
            orphanwait: 300,
        }
    }
}

/// Whose clock is corrected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClockControl {
    /// The kernel's.
    #[default]
    Kernel,
    /// A virtual one: `-x`, or no CAP_SYS_TIME.
    Virtual,
    /// None: `disable ntp`.
    None,
}

/// `tinker`, with its defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DisciplineSettings {
    /// Whose clock.
    pub control: ClockControl,
    /// Offsets beyond are stepped, in seconds; 0: never.
    pub step: f64,
    /// Offsets beyond end the process, in seconds; 0: never.
    pub panic: f64,
    /// How long an offset must last before it is stepped, in seconds.
    pub stepout: f64,
    /// The fastest slew, in parts per million.
    pub max_slew_ppm: f64,
    /// `-g`: the first offset may exceed the panic threshold.
    pub allow_first_panic: bool,
}

impl Default for DisciplineSettings {
    fn default() -> Self {
        Self {
            control: ClockControl::Kernel,
            step: 0.128,
            panic: 1000.0,
            stepout: 300.0,
            max_slew_ppm: 83_333.0,
            allow_first_panic: false,
        }
    }
}

/// A leap second of the leap file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeapSecond {
    /// The first second after it, since 1970: midnight UTC.
    pub at: i64,
    /// Whether a second is inserted; else one is left out.
    pub insert: bool,
    /// From when on the file says nothing any more, since 1970.
    pub expires: i64,
}
