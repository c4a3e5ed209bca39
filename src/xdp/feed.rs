//! Tells the program what to answer: the serving state, the access list, the served addresses.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use aya::maps::{Array, HashMap, MapData, MapError};

use super::layout::{Favourite, GENERATIONS, Service, ServiceKey, State};
use super::tries::Tries;
use super::{Link, Timescale};
use crate::limits;
use crate::server::{AccessList, ServingState};
use crate::snapshot::SystemVariables;
use crate::sys::interfaces::InterfaceAddress;
use crate::sys::random;
use crate::wire::{HEADER_LEN, Mode, NtpShort, Packet};

/// The writing end of the program's maps. Needs no privilege: who has the maps may write them.
pub struct Feed {
    states: Array<MapData, State>,
    generation: Array<MapData, u32>,
    services: HashMap<MapData, ServiceKey, Service>,
    served: BTreeMap<ServiceKey, Service>,
    tries: Tries,
    /// What the tries of the generation in force were made from.
    listed: Option<(Arc<AccessList>, Vec<InterfaceAddress>)>,
    /// What is in force.
    state: State,
    /// What the program marks requests over the limit with, and makes noise of; see responder.bpf.c.
    secret: u64,
    /// IP's traffic class of replies.
    pub traffic_class: u8,
    /// What the set of a source's bucket is chosen by: random, because nobody outside may know which sources
    /// share one.
    pub set_hash: [u64; 3],
}

/// The program's maps that the feed writes.
pub(super) struct Maps {
    pub(super) states: aya::maps::Map,
    pub(super) generation: aya::maps::Map,
    pub(super) services: aya::maps::Map,
    pub(super) access4: aya::maps::Map,
    pub(super) access6: aya::maps::Map,
}

impl Feed {
    pub(super) fn new(maps: Maps) -> Result<Self, MapError> {
        Ok(Self {
            states: maps.states.try_into()?,
            generation: maps.generation.try_into()?,
            services: maps.services.try_into()?,
            served: BTreeMap::new(),
            tries: Tries::new(maps.access4, maps.access6)?,
            listed: None,
            state: State::default(),
            // No reference time that a client would have.
            secret: fastrand::u64(..) | 1,
            traffic_class: 0,
            set_hash: [random::unpredictable()?, random::unpredictable()?, random::unpredictable()?],
        })
    }

    /// What the program writes into the origin of requests over the rate limit before it passes them to the
    /// sockets.
    pub fn spent_mark(&self) -> [u8; 8] {
        self.secret.to_ne_bytes()
    }

    /// Puts state, access list and rate limit in force, together. `own` are this host's addresses, which
    /// nobody else can have.
    ///
    /// # Errors
    /// The kernel is out of memory; what was in force stays.
    pub fn publish(
        &mut self,
        serving: &ServingState,
        timescale: &Timescale,
        own: &[InterfaceAddress],
    ) -> Result<(), MapError> {
        let mut state = describe(&serving.system);
        timescale.describe(|machine| serving.system.clock.apply(machine), &mut state);
        // So long that nothing is ever earned, and short enough to add the present time.
        let never = u64::MAX >> 2;
        state.headway = serving.limit.headway_ns.min(never);
        state.capacity = serving.limit.capacity_ns().min(never);
        state.minimum = serving.limit.minimum_ns.min(never);
        state.secret = self.secret;
        state.set_hash = self.set_hash;
        state.favourites = self.favourites();
        state.traffic_class = self.traffic_class.into();
        state.limits_somebody = serving.access.limits_somebody().into();
        state.access = self.state.access;
        if !self.is_listed(&serving.access, own) {
            let next = (state.access + 1) % GENERATIONS;
            self.tries.fill(next, &serving.access, own)?;
            self.listed = Some((Arc::clone(&serving.access), own.to_vec()));
            state.access = next;
        }
        self.put_in_force(state)
    }

    fn is_listed(&self, access: &Arc<AccessList>, own: &[InterfaceAddress]) -> bool {
        self.listed.as_ref().is_some_and(|(listed, theirs)| Arc::ptr_eq(listed, access) && theirs == own)
    }

    /// Readers are on the generation in force, so the other one is written. A reader so slow that it was on
    /// the other one before that sees the numbers at its ends change.
    fn put_in_force(&mut self, mut state: State) -> Result<(), MapError> {
        state.before = self.state.before + 1;
        state.after = state.before;
        let at = (state.before % u64::from(GENERATIONS)) as u32;
        self.states.set(at, state, 0)?;
        self.generation.set(0, at, 0)?;
        self.state = state;
        Ok(())
    }

    /// Serves `listening` on these links; wildcard addresses are all of `own` of their family. True if
    /// there was room for all.
    ///
    /// # Errors
    /// The kernel is out of memory.
    pub fn serve(
        &mut self,
        listening: &[SocketAddr],
        own: &[InterfaceAddress],
        links: &[Link],
    ) -> Result<bool, MapError> {
        let mut wanted = BTreeMap::new();
        for link in links {
            for address in listening.iter().flat_map(|one| reachable(*one, own, link)) {
                wanted.entry(link.service_key(address)).or_insert_with(|| link.service());
            }
        }
        let room = wanted.len() <= limits::XDP_SERVICES;
        let wanted: BTreeMap<_, _> = wanted.into_iter().take(limits::XDP_SERVICES).collect();
        for key in self.served.extract_if(.., |key, service| wanted.get(key) != Some(service)) {
            self.services.remove(&key.0)?;
        }
        for (key, service) in wanted {
            if let Entry::Vacant(place) = self.served.entry(key) {
                self.services.insert(key, service, 0)?;
                place.insert(service);
            }
        }
        if self.state.before > 0 && self.state.favourites != self.favourites() {
            self.put_in_force(State { favourites: self.favourites(), ..self.state })?;
        }
        Ok(room)
    }

    /// The first address of each family, IPv4 before IPv6.
    fn favourites(&self) -> [Favourite; 2] {
        let is_v4 = |key: &ServiceKey| Ipv6Addr::from(key.address).to_ipv4_mapped().is_some();
        let first = |v4: bool| {
            let found = self.served.iter().find(|(key, _)| is_v4(key) == v4);
            found.map(|(&key, &service)| Favourite { key, service }).unwrap_or_default()
        };
        [first(true), first(false)]
    }
}

/// The addresses that a socket at `listening` is reached by over `link`. A link-local address belongs to its
/// link, every other one to the host, whichever link it is on.
fn reachable(
    listening: SocketAddr,
    own: &[InterfaceAddress],
    link: &Link,
) -> impl Iterator<Item = SocketAddr> {
    let covers = move |address: &InterfaceAddress| {
        let any = listening.ip().is_unspecified() && listening.is_ipv4() == address.address.is_ipv4();
        any || same_address(listening, address.address)
    };
    let over = move |address: &&InterfaceAddress| match address.address.ip() {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => address.interface == link.name,
        other => other.is_loopback() <= link.loopback,
    };
    own.iter()
        .filter(over)
        .filter(move |address| covers(address))
        .map(move |address| SocketAddr::new(address.address.ip(), listening.port()))
}

/// The same address on the same link.
fn same_address(one: SocketAddr, other: SocketAddr) -> bool {
    let scope = |address: SocketAddr| match address {
        SocketAddr::V6(v6) => v6.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    one.ip().to_canonical() == other.ip().to_canonical() && scope(one) == scope(other)
}

impl Link {
    fn service_key(&self, address: SocketAddr) -> ServiceKey {
        let octets = match address.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        let port = address.port().to_be_bytes();
        ServiceKey { ifindex: self.ifindex, vlan: self.vlan, port, address: octets }
    }

    fn service(&self) -> Service {
        Service { mac: self.mac, loopback: self.loopback.into(), unused: 0 }
    }
}

/// The header of replies, as far as it does not depend on the request or the time; see server/template.rs.
fn describe(system: &SystemVariables) -> State {
    let mut header = [0; HEADER_LEN];
    if let Ok(mut packet) = Packet::new_checked(&mut header) {
        packet.set_first(system.leap, 0, Mode::Server);
        packet.set_stratum(system.stratum);
        packet.set_precision(system.precision);
        packet.set_root_delay(system.root_delay);
        packet.set_reference_id(system.reference_id);
    }
    let word = |at: usize| [header[at], header[at + 1], header[at + 2], header[at + 3]];
    // As of when it is exact it has not grown yet; a bound of unknown age is none.
    let root_dispersion = system.root_dispersion_at(system.updated);
    State {
        head: word(0),
        root_delay: word(4),
        reference_id: word(12),
        root_dispersion: root_dispersion.to_bits(),
        half_root_delay: system.root_delay.to_bits() / 2,
        // The program knows of the root dispersion of the moment.
        synchronised: system.is_synchronised(NtpShort::ZERO).into(),
        updated: system.updated.to_bits(),
        reference_time: system.reference_time.to_bits(),
        transmit_noise: system.precision.insignificant_bits() as u32,
        ..State::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::LocalClock;
    use crate::wire::{LeapIndicator, NtpTimestamp, Precision};

    fn own(interface: &str, address: &str, scope: u32) -> InterfaceAddress {
        let mut address = SocketAddr::new(address.parse().unwrap(), 0);
        if let SocketAddr::V6(v6) = &mut address {
            v6.set_scope_id(scope);
        }
        InterfaceAddress {
            interface: interface.to_owned(),
            address,
            prefix_length: 0,
            flags: Default::default(),
        }
    }

    fn link(name: &str, loopback: bool) -> Link {
        Link { name: name.to_owned(), ifindex: 1, vlan: 0, mac: [0; 6], loopback }
    }

    #[test]
    fn sockets_are_reached_by_their_addresses_and_wildcards_by_all() {
        let own = [
            own("lo", "127.0.0.1", 0),
            own("lo", "192.0.2.53", 0),
            own("lo", "::1", 0),
            own("a", "192.0.2.1", 0),
            own("a", "fe80::1", 2),
            own("b", "2001:db8::1", 0),
            own("b", "fe80::2", 3),
        ];
        let over = |listening: &str, link: &Link| {
            let listening = listening.parse().unwrap();
            reachable(listening, &own, link).map(|address| address.to_string()).collect::<Vec<_>>()
        };
        let (lo, a) = (link("lo", true), link("a", false));
        assert_eq!(over("0.0.0.0:123", &a), ["192.0.2.53:123", "192.0.2.1:123"]);
        assert_eq!(over("[::]:123", &a), ["[fe80::1]:123", "[2001:db8::1]:123"]);
        assert_eq!(over("0.0.0.0:99", &lo), ["127.0.0.1:99", "192.0.2.53:99", "192.0.2.1:99"]);
        assert_eq!(over("192.0.2.1:123", &a), ["192.0.2.1:123"]);
        assert_eq!(over("[fe80::1%2]:123", &a), ["[fe80::1]:123"]);
        assert_eq!(over("[fe80::2%3]:123", &a), [] as [&str; 0]);
        assert_eq!(over("198.51.100.1:123", &a), [] as [&str; 0], "an address that is not ours");
    }

    #[test]
    fn a_header_says_what_a_template_says() {
        let now = NtpTimestamp::from_unix(1_800_000_000, 0);
        let clock = LocalClock { stratum: 3, ..LocalClock::default() };
        let system = SystemVariables::local_clock(clock, Precision::from_log2(-25), now);
        let state = describe(&system);
        assert_eq!((state.head, state.reference_id), ([0x04, 4, 0, 0xE7], [127, 127, 1, 0]));
        assert_eq!((state.synchronised, state.transmit_noise), (1, 0x7F));
        assert_eq!((state.updated, state.reference_time), (now.to_bits(), now.to_bits()));

        let none = describe(&SystemVariables::unsynchronised(Precision::from_log2(-25)));
        assert_eq!(none.synchronised, 0);
        assert_eq!((none.updated, none.root_dispersion), (0, 16 << 16));
        let alarm = SystemVariables { leap: LeapIndicator::Unsynchronised, ..system };
        assert_eq!(describe(&alarm).synchronised, 0);
    }
}
