//! RFC 5905 §11's system process: what is served, and on whose authority.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::exchange::ServerState;
use super::seam::{AssociationId, Now};
use super::settings::Settings;
use super::units::{between, precision_seconds, short, short_seconds};
use crate::snapshot::{LocalClock, SystemVariables};
use crate::wire::{LeapIndicator, NtpShort, ReferenceId};

/// RFC 5905 figure 6, MAXSTRAT.
const STRATUM_MAX: u8 = 16;

/// The clock on our own is found right again so often, in seconds: clients refuse one that was set a day ago.
const OWN_REFRESH: f64 = 64.0;

/// RFC 9327 §4.1: events of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum SystemEvent {
    ClockSync = 5,
    Restart = 6,
    PanicStop = 7,
    NoSystemPeer = 8,
    LeapArmed = 9,
    LeapDisarmed = 10,
    ClockStep = 12,
}

/// Where the served time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Authority {
    /// Nobody's word, and every reply says so.
    Nobody,
    /// The survivors'; or, when there are none any more, what they said last.
    Sources,
    /// Our own: the local clock, or orphan mode.
    Ourselves,
}

/// What the system peer and the survivors say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Following {
    pub(super) id: AssociationId,
    pub(super) address: SocketAddr,
    pub(super) server: ServerState,
    /// Round trip to it, in seconds.
    pub(super) delay: f64,
    /// What the clock may be off by in addition to the root dispersion of the server, in seconds.
    pub(super) uncertainty: f64,
    pub(super) leap: LeapIndicator,
}

#[derive(Debug)]
pub(super) struct System {
    pub(super) variables: SystemVariables,
    pub(super) authority: Authority,
    pub(super) peer: Option<AssociationId>,
    /// The leap second that was announced last.
    pub(super) leap: LeapIndicator,
    pub(super) event: u8,
    pub(super) events: u8,
    /// Since when there is no source that can be followed.
    without_since: Option<Duration>,
    refreshed: Duration,
}

impl System {
    pub(super) fn new(settings: &Settings, now: Duration) -> Self {
        Self {
            variables: SystemVariables::unsynchronised(settings.precision),
            authority: Authority::Nobody,
            peer: None,
            leap: LeapIndicator::None,
            event: SystemEvent::Restart as u8,
            events: 1,
            without_since: Some(now),
            refreshed: now,
        }
    }

    /// RFC 9327 §4.1: a count is of events of one kind in a row.
    pub(super) fn note(&mut self, event: SystemEvent) {
        self.events = if self.event == event as u8 { (self.events + 1).min(15) } else { 1 };
        self.event = event as u8;
    }

    /// The clock was just corrected, or found right, by these sources.
    pub(super) fn follow(&mut self, following: &Following, now: Now) {
        let server = &following.server;
        let precision = self.variables.precision;
        let uncertainty = following.uncertainty + precision_seconds(precision);
        self.without_since = None;
        self.peer = Some(following.id);
        self.authority = Authority::Sources;
        self.variables = SystemVariables {
            leap: following.leap,
            stratum: (server.stratum + 1).min(STRATUM_MAX),
            precision,
            root_delay: server.root_delay.saturating_add(short(following.delay)),
            root_dispersion: server.root_dispersion.saturating_add(short(uncertainty)),
            updated: now.realtime,
            reference_id: reference_id(following.address.ip()),
            reference_time: now.realtime,
            clock: self.variables.clock,
        };
    }

    /// There is nobody left to follow. What is served goes on, with an error bound that grows.
    pub(super) fn lose(&mut self, now: Duration) {
        self.peer = None;
        self.without_since.get_or_insert(now);
    }

    /// The clock cannot be believed any more, until it is measured anew.
    pub(super) fn distrust(&mut self, now: Duration) {
        self.lose(now);
        if self.authority == Authority::Sources {
            self.authority = Authority::Nobody;
            let clock = self.variables.clock;
            self.variables =
                SystemVariables { clock, ..SystemVariables::unsynchronised(self.variables.precision) };
        }
    }

    /// Takes over without sources, when the time has come: the local clock if there is one, else orphan mode.
    /// The stratum that is served if that is new, for the log.
    pub(super) fn stand_alone(&mut self, settings: &Settings, now: Now) -> Option<u8> {
        if self.own_from(settings).is_none_or(|from| now.monotonic < from) {
            return None;
        }
        let is_new = self.authority != Authority::Ourselves;
        if !is_new && between(now.monotonic, self.refreshed) < OWN_REFRESH {
            return None;
        }
        self.refreshed = now.monotonic;
        self.authority = Authority::Ourselves;
        let clock = self.variables.clock;
        let variables = match settings.local_clock {
            Some(local) => SystemVariables::local_clock(local, settings.precision, now.realtime),
            None => orphan(settings, now),
        };
        self.variables = SystemVariables { clock, ..variables };
        if is_new {
            self.note(SystemEvent::ClockSync);
        }
        is_new.then_some(self.variables.stratum)
    }

    /// From when on we would stand alone: at once where nobody else is configured, else when there was no
    /// source for `tos orphanwait`.
    fn own_from(&self, settings: &Settings) -> Option<Duration> {
        if settings.local_clock.is_none() && settings.selection.orphan_stratum >= STRATUM_MAX {
            return None;
        }
        let wait = if settings.sources.is_empty() { 0 } else { settings.selection.orphanwait };
        self.without_since.map(|since| since + Duration::from_secs(wait.into()))
    }

    pub(super) fn wake_at(&self, settings: &Settings) -> Option<Duration> {
        let from = self.own_from(settings)?;
        let is_alone = self.authority == Authority::Ourselves;
        Some(if is_alone { self.refreshed + Duration::from_secs_f64(OWN_REFRESH) } else { from })
    }

    /// Root distance at `now`, in seconds.
    pub(super) fn distance(&self, now: Now) -> f64 {
        let dispersion = self.variables.root_dispersion_at(now.realtime);
        short_seconds(self.variables.root_delay) / 2.0 + short_seconds(dispersion)
    }

    pub(super) fn is_synchronised(&self, now: Now) -> bool {
        self.variables.is_synchronised(self.variables.root_dispersion_at(now.realtime))
    }
}

/// `tos orphan`: a stratum that every orphan of a network agrees on, and the loopback address as reference.
fn orphan(settings: &Settings, now: Now) -> SystemVariables {
    let local = LocalClock { stratum: settings.selection.orphan_stratum - 1, ..LocalClock::default() };
    SystemVariables {
        reference_id: ReferenceId::from_octets([127, 0, 0, 1]),
        root_dispersion: NtpShort::from_bits(1),
        ..SystemVariables::local_clock(local, settings.precision, now.realtime)
    }
}

/// RFC 5905 §7.3: the address of an IPv4 source, a hash of an IPv6 one's.
pub(super) fn reference_id(address: IpAddr) -> ReferenceId {
    match address.to_canonical() {
        IpAddr::V4(v4) => ReferenceId::from_ipv4(v4),
        IpAddr::V6(v6) => ReferenceId::from_ipv6(v6),
    }
}
