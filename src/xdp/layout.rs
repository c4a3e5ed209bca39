//! What lies in the program's maps, as responder.h has it: the one place besides `sys` with unsafe code,
//! because only whoever knows a layout can promise that its bytes may be copied.

#![expect(unsafe_code, reason = "the promise that map values are plain bytes; every impl says why it holds")]

use aya::Pod;

/// As GENERATIONS there.
pub(super) const GENERATIONS: u32 = 2;

/// As SCALE_BITS there.
pub(super) const SCALE_BITS: u32 = 29;

/// As `struct state` there: all that a reply depends on but for request and time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct State {
    pub(super) before: u64,
    pub(super) monotonic_to_tai: i64,
    pub(super) base: u64,
    pub(super) ntp: u64,
    pub(super) leap_at: u64,
    pub(super) leap_step: u64,
    pub(super) scale: u32,
    pub(super) transmit_noise: u32,
    pub(super) head: [u8; 4],
    pub(super) root_delay: [u8; 4],
    pub(super) reference_id: [u8; 4],
    pub(super) root_dispersion: u32,
    pub(super) half_root_delay: u32,
    pub(super) synchronised: u32,
    pub(super) updated: u64,
    pub(super) reference_time: u64,
    pub(super) headway: u64,
    pub(super) capacity: u64,
    pub(super) minimum: u64,
    pub(super) set_hash: [u64; 3],
    pub(super) secret: u64,
    pub(super) favourites: [Favourite; 2],
    pub(super) access: u32,
    pub(super) limits_somebody: u16,
    pub(super) traffic_class: u16,
    pub(super) after: u64,
}

/// As `struct favourite` there: the address of one family that is found first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Favourite {
    pub(super) key: ServiceKey,
    pub(super) service: Service,
}

/// As `struct service_key` there: an address and port that are served, as reached over a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub(super) struct ServiceKey {
    pub(super) ifindex: u32,
    pub(super) vlan: u16,
    pub(super) port: [u8; 2],
    pub(super) address: [u8; 16],
}

/// As `struct service` there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Service {
    pub(super) mac: [u8; 6],
    pub(super) loopback: u8,
    pub(super) unused: u8,
}

/// As `struct access` there: the flags of one prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Access {
    pub(super) any: u16,
    pub(super) ntp: u16,
}

impl Access {
    /// Sources that are forged wherever they come from.
    pub(super) const MARTIAN: u16 = 1 << 15;
    /// Sources that are forged unless they come over loopback.
    pub(super) const LOCAL: u16 = 1 << 14;
}

/// As `enum passed` there, in that order: the names in counters.
pub(super) const PASSED: [&str; 7] =
    ["checksum", "clock", "limited", "martian_source", "mode", "restricted", "state"];

/// As `struct counters` there, of one core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct CoreCounters {
    pub(super) answered: [u64; 4],
    pub(super) passed: [u64; PASSED.len()],
}

// SAFETY: for each of these: repr(C), integers and arrays of integers only, and no padding, which the sizes
// below show; so every value is that many initialised bytes, and all bytes are a value. They own no memory.
unsafe impl Pod for State {}
// SAFETY: as above.
unsafe impl Pod for ServiceKey {}
// SAFETY: as above.
unsafe impl Pod for Service {}
// SAFETY: as above.
unsafe impl Pod for Access {}
// SAFETY: as above.
unsafe impl Pod for CoreCounters {}

const _: () = assert!(size_of::<State>() == 6 * 8 + 8 * 4 + 9 * 8 + 2 * 32 + 4 + 2 * 2 + 8);
const _: () = assert!(size_of::<Favourite>() == size_of::<ServiceKey>() + size_of::<Service>());
const _: () = assert!(size_of::<ServiceKey>() == 4 + 2 + 2 + 16);
const _: () = assert!(size_of::<Service>() == 8 && size_of::<Access>() == 4);
const _: () = assert!(size_of::<CoreCounters>() == 8 * (4 + PASSED.len()));
