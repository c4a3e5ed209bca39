//! What mode 6 is told about the associations and the discipline.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::association::{Association as Source, PeerEvent};
use super::estimator::Estimator;
use super::names::Line;
use super::seam::Now;
use super::{Client, Host};
use crate::snapshot::{
    Association, AssociationKind, Authentication, Discipline, Exchanged, FilterSample, LocalClock, Selection,
};
use crate::wire::{LeapIndicator, NtpShort, NtpTimestamp, Precision, ReferenceId};

/// What the local clock's row is numbered with: after everybody else's.
const LOCAL_CLOCK_ID: u16 = u16::MAX;

/// The reach of a clock that is always there.
const ALWAYS: u8 = 0xFF;

impl Client {
    /// What mode 6 tells about the associations, once per
    /// [`Action::PublishAssociations`](super::Action::PublishAssociations).
    pub fn associations(&self) -> Vec<Association> {
        let now = self.virtual_clock.as_ref().map_or(self.last, |clock| clock.now(self.last));
        let local = self.settings.local_clock.map(|clock| self.local_row(clock, now));
        let pools = self.lines.iter().filter_map(pool_row);
        let sources = self.associations.iter().map(|source| row(source, now));
        local.into_iter().chain(pools).chain(sources).collect()
    }

    /// What mode 6 tells about the clock discipline, once per
    /// [`Action::PublishAssociations`](super::Action::PublishAssociations).
    pub fn discipline(&self) -> Discipline {
        let peer = self.associations.iter().find(|each| Some(each.id) == self.system.peer);
        let is_alone = self.system.authority == super::system::Authority::Ourselves;
        let alone = || self.settings.local_clock.filter(|_| is_alone).map(|_| LOCAL_CLOCK_ID);
        Discipline {
            system_peer: peer.map(|each| each.id.0).or_else(alone).unwrap_or_default(),
            offset: self.discipline.remaining(),
            frequency_ppm: self.discipline.rate().base_ppm,
            system_jitter: self.combined.jitter.hypot(peer.map_or(0.0, |each| each.history.jitter())),
            clock_jitter: self.combined.estimate.error_variance.sqrt(),
            clock_wander_ppm: self.combined.estimate.frequency_variance.sqrt().min(1.0) * 1e6,
            time_constant: peer.map_or(6, |each| each.poll.exponent()),
            event: self.system.event,
            events: self.system.events,
        }
    }

    fn local_row(&self, clock: LocalClock, now: Now) -> Association {
        let is_served = self.system.authority == super::system::Authority::Ourselves;
        let event = if is_served { PeerEvent::SystemPeer } else { PeerEvent::Reachable };
        Association {
            kind: AssociationKind::LocalClock,
            source: SocketAddr::new(Ipv4Addr::new(127, 127, 1, clock.unit).into(), 123),
            leap: LeapIndicator::None,
            stratum: clock.stratum,
            precision: self.settings.precision,
            reference_id: clock.reference_id,
            reference_time: now.realtime,
            received: now.realtime,
            reach: ALWAYS,
            dispersion: 0.0,
            selection: if is_served { Selection::SystemPeer } else { Selection::Rejected },
            event: event as u8,
            events: 1,
            ..blank(LOCAL_CLOCK_ID)
        }
    }
}

/// A pool's own row, above those of its members.
fn pool_row(line: &Line) -> Option<Association> {
    let id = line.row?;
    let unspecified = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    Some(Association {
        kind: AssociationKind::Pool,
        source: SocketAddr::new(unspecified, line.source.options.port),
        host: match &line.source.host {
            Host::Name(name, _) => Some(name.clone()),
            Host::Address(..) => None,
        },
        reference_id: ReferenceId::from_octets(*b"POOL"),
        host_poll: line.source.options.minpoll,
        ..blank(id.0)
    })
}

fn blank(id: u16) -> Association {
    let unspecified = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    Association {
        id,
        kind: AssociationKind::Server,
        source: SocketAddr::new(unspecified, 0),
        host: None,
        local: unspecified,
        leap: LeapIndicator::Unsynchronised,
        stratum: 16,
        precision: Precision::COARSEST,
        root_delay: NtpShort::ZERO,
        root_dispersion: NtpShort::ZERO,
        reference_id: ReferenceId::INIT,
        reference_time: NtpTimestamp::UNKNOWN,
        received: NtpTimestamp::UNKNOWN,
        reach: 0,
        unreach: 0,
        host_poll: 6,
        peer_poll: 6,
        flash: 0,
        key_id: 0,
        authentication: Authentication::None,
        offset: 0.0,
        delay: 0.0,
        dispersion: 16.0,
        jitter: 0.0,
        filter: [FilterSample::EMPTY; 8],
        selection: Selection::Rejected,
        event: 0,
        events: 0,
        next: NtpTimestamp::UNKNOWN,
        exchanged: Exchanged::default(),
    }
}

fn row(source: &Source, now: Now) -> Association {
    let is_measured = !source.history.is_empty();
    let unspecified = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), source.options.port);
    Association {
        kind: if source.is_pool_member { AssociationKind::PoolMember } else { AssociationKind::Server },
        source: source.address().unwrap_or(unspecified),
        host: source.host.clone(),
        local: source.local,
        leap: source.server.leap,
        stratum: source.server.stratum,
        precision: source.server.precision,
        root_delay: source.server.root_delay,
        root_dispersion: source.server.root_dispersion,
        reference_id: source.server.reference_id,
        reference_time: source.server.reference_time,
        received: source.received,
        reach: source.reach,
        unreach: source.unreach,
        host_poll: source.poll.exponent(),
        peer_poll: source.server.poll,
        flash: source.flash,
        key_id: source.options.key.unwrap_or_default(),
        authentication: source.authentication,
        offset: if is_measured { -source.estimator.estimate().error } else { 0.0 },
        delay: if is_measured { source.history.delay() } else { 0.0 },
        dispersion: source.history.dispersion(now.monotonic),
        jitter: source.history.jitter(),
        filter: source.history.stages(now.monotonic),
        selection: source.selection,
        event: source.event,
        events: source.events,
        next: source.wake_at().map_or(NtpTimestamp::UNKNOWN, |next| {
            now.realtime.offset_by(super::units::units(super::units::between(next, now.monotonic)))
        }),
        exchanged: source.exchanged,
        ..blank(source.id.0)
    }
}
