//! Servers, honest and otherwise.

use ntpring::wire::{LeapIndicator, Mode, NtpShort, Packet, ReferenceId};

use crate::clock::Clock;
use crate::path::Path;

/// A server and what it does over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// The way to it.
    pub path: Path,
    /// Its stratum.
    pub stratum: u8,
    /// What it does from a time on, in order of time.
    pub behaviour: Vec<(f64, Behaviour)>,
    /// Whether the client follows it at all, and how: `prefer`, `noselect`.
    pub prefer: bool,
    /// See `prefer`.
    pub noselect: bool,
}

/// What a server does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Behaviour {
    /// Tells the truth.
    Honest,
    /// Is off by so many seconds.
    Off(f64),
    /// Its time runs away at so many seconds per second, from when it began to.
    Drifts(f64),
    /// Says nothing.
    Silent,
    /// Says that it is not synchronised.
    Unsynchronised,
    /// Announces a leap second.
    Leap(LeapIndicator),
    /// Answers with a kiss-o'-death.
    Kiss([u8; 4], i8),
}

impl Server {
    /// An honest primary server.
    pub fn new(path: Path) -> Self {
        Self { path, stratum: 1, behaviour: vec![(0.0, Behaviour::Honest)], prefer: false, noselect: false }
    }

    /// The same server, but with this behaviour.
    pub fn behaving(path: Path, behaviour: &[(f64, Behaviour)]) -> Self {
        Self { behaviour: behaviour.to_vec(), ..Self::new(path) }
    }

    fn at(&self, time: f64) -> (f64, Behaviour) {
        let began = self.behaviour.iter().rev().find(|(from, _)| *from <= time);
        began.copied().unwrap_or((0.0, Behaviour::Honest))
    }

    /// Turns a request that arrives at the true `time` into the reply, sent at the same time. `leapt` is what
    /// leap seconds have made of UTC since the start.
    pub fn reply(&self, request: &[u8; 48], time: f64, leapt: f64, clock: &Clock) -> Option<[u8; 48]> {
        let mut bytes = *request;
        let mut packet = Packet::new_checked(&mut bytes[..]).ok()?;
        let (version, origin) = (packet.version(), packet.transmit());
        let (since, behaviour) = self.at(time);
        let (mut leap, mut stratum, mut lie) = (LeapIndicator::None, self.stratum, 0.0);
        let mut id = ReferenceId::from_octets(*b"GPS\0");
        match behaviour {
            Behaviour::Honest => {}
            Behaviour::Silent => return None,
            Behaviour::Off(by) => lie = by,
            Behaviour::Drifts(rate) => lie = rate * (time - since),
            Behaviour::Unsynchronised => {
                (leap, stratum, id) = (LeapIndicator::Unsynchronised, 0, ReferenceId::INIT);
            }
            Behaviour::Leap(announced) => leap = announced,
            Behaviour::Kiss(code, poll) => {
                (leap, stratum, id) = (LeapIndicator::Unsynchronised, 0, ReferenceId::from_octets(code));
                packet.set_poll(poll);
            }
        }
        packet.set_first(leap, version, Mode::Server);
        packet.set_stratum(stratum);
        packet.set_precision(ntpring::wire::Precision::from_log2(-25));
        packet.set_root_delay(NtpShort::ZERO);
        packet.set_root_dispersion(NtpShort::from_bits(1));
        packet.set_reference_id(id);
        packet.set_origin(origin);
        let stamp = clock.stamp(time + lie + leapt);
        packet.set_reference_time(stamp.offset_by(-(8 << 32)));
        packet.set_receive(stamp);
        packet.set_transmit(stamp);
        Some(bytes)
    }
}
