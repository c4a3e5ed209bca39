//! From a demand to cores and links: arithmetic only. What a core answers is measured elsewhere.

use std::time::Duration;

/// Who asks, how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    pub(crate) clients: u64,
    /// Time between two requests of one client.
    pub(crate) poll: Duration,
    /// The highest rate over the mean one.
    pub(crate) peak: f64,
}

/// What there is to answer with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Supply {
    /// Requests per second that one core answers.
    pub(crate) per_core: f64,
    /// Part of every core and link that is to stay free at the peak.
    pub(crate) headroom: f64,
    /// Octets of UDP payload in a request, and in its reply: NTP's replies are never longer.
    pub(crate) payload: u64,
}

/// An Ethernet link, in bits per second each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link(pub(crate) u64);

/// The internet protocol, which makes packets longer or shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    V4,
    V6,
}

/// What a demand comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Need {
    /// Requests per second, on the average.
    pub(crate) mean: f64,
    /// Requests per second at the peak; as many packets each way.
    pub(crate) peak: f64,
    /// Cores that answer the peak with the headroom left.
    pub(crate) cores: u64,
    /// Requests per second that those cores answer when nothing is left.
    pub(crate) capacity: f64,
}

/// How a link bears the peak.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LinkLoad {
    /// Packets per second each way that fill the link.
    pub(crate) line_rate: f64,
    /// Part of it that the peak takes; above 1 it does not fit.
    pub(crate) part: f64,
    /// Links that carry the peak with the headroom left.
    pub(crate) links: u64,
}

/// What gives way first when the demand grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bottleneck {
    Cores,
    Link,
}

impl Protocol {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    fn header(self) -> u64 {
        match self {
            Self::V4 => 20,
            Self::V6 => 40,
        }
    }

    /// Octets of link time that a datagram takes: with Ethernet's header, check sequence, preamble and the
    /// smallest gap to the next frame (IEEE 802.3).
    pub(crate) fn on_wire(self, payload: u64) -> u64 {
        const UDP: u64 = 8;
        const ETHERNET: u64 = 14;
        const SMALLEST: u64 = 46;
        const CHECK: u64 = 4;
        const PREAMBLE: u64 = 8;
        const GAP: u64 = 12;
        (self.header() + UDP + payload).max(SMALLEST) + ETHERNET + CHECK + PREAMBLE + GAP
    }
}

impl Demand {
    /// What it takes of `supply`.
    pub(crate) fn need(&self, supply: &Supply) -> Need {
        let mean = self.clients as f64 / self.poll.as_secs_f64();
        let peak = mean * self.peak;
        let cores = whole(peak / (supply.per_core * (1.0 - supply.headroom)));
        Need { mean, peak, cores, capacity: cores as f64 * supply.per_core }
    }

    /// Clients that ask `rate` times a second at their peak.
    pub(crate) fn clients_at(&self, rate: f64) -> f64 {
        rate / self.peak * self.poll.as_secs_f64()
    }
}

impl Link {
    /// How it bears `need`.
    pub(crate) fn load(self, protocol: Protocol, supply: &Supply, need: &Need) -> LinkLoad {
        let line_rate = self.0 as f64 / (8 * protocol.on_wire(supply.payload)) as f64;
        let part = need.peak / line_rate;
        LinkLoad { line_rate, part, links: whole(part / (1.0 - supply.headroom)) }
    }

    /// Bits per second in words.
    pub(crate) fn name(self) -> String {
        const GIGA: u64 = 1_000_000_000;
        if self.0.is_multiple_of(GIGA) {
            format!("{} Gbit/s", self.0 / GIGA)
        } else {
            format!("{} Mbit/s", self.0 as f64 / 1e6)
        }
    }
}

impl LinkLoad {
    /// What gives way first: the cores of `need`, or one such link.
    pub(crate) fn first_to_saturate(&self, need: &Need) -> Bottleneck {
        if self.line_rate < need.capacity { Bottleneck::Link } else { Bottleneck::Cores }
    }
}

/// At least one, and rounded up, but not for an error of floating point.
fn whole(amount: f64) -> u64 {
    ((amount - 1e-9).ceil() as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUPPLY: Supply = Supply { per_core: 100_000.0, headroom: 0.3, payload: 48 };
    const DEMAND: Demand = Demand { clients: 50_000_000, poll: Duration::from_secs(1024), peak: 3.0 };

    /// Line rates that are known from elsewhere.
    #[test]
    fn packets_have_their_size_on_the_wire() {
        for (protocol, payload, octets, gigabit) in [
            (Protocol::V4, 48, 114, 1_096_491),
            (Protocol::V6, 48, 134, 932_836),
            (Protocol::V4, 68, 134, 932_836),
            (Protocol::V4, 228, 294, 425_170),
        ] {
            assert_eq!(protocol.on_wire(payload), octets);
            let supply = Supply { payload, ..SUPPLY };
            let load = |link| Link(link).load(protocol, &supply, &DEMAND.need(&supply));
            assert_eq!(load(1_000_000_000).line_rate.round() as u64, gigabit);
            assert!((load(100_000_000_000).line_rate / load(1_000_000_000).line_rate - 100.0).abs() < 1e-9);
        }
        assert_eq!(Protocol::V4.on_wire(1), 84, "the shortest frame there is: 64 octets, and the gap");
    }

    #[test]
    fn a_demand_becomes_cores() {
        let need = DEMAND.need(&SUPPLY);
        assert_eq!((need.mean, need.peak), (48_828.125, 146_484.375));
        // 146 484 / 70 000 = 2.09
        assert_eq!((need.cores, need.capacity), (3, 300_000.0));
        assert_eq!(DEMAND.clients_at(need.peak), 50_000_000.0);
        let exactly = Demand { clients: 70_000, poll: Duration::from_secs(1), peak: 1.0 };
        assert_eq!(exactly.need(&SUPPLY).cores, 1);
        assert_eq!(Demand { clients: 70_001, ..exactly }.need(&SUPPLY).cores, 2);
    }

    #[test]
    fn the_first_to_saturate_is_the_smaller() {
        let need = DEMAND.need(&SUPPLY);
        let slow = Link(100_000_000).load(Protocol::V4, &SUPPLY, &need);
        assert_eq!(slow.first_to_saturate(&need), Bottleneck::Link);
        assert!(slow.part > 1.3 && slow.links == 2, "{slow:?}");
        let fast = Link(1_000_000_000).load(Protocol::V4, &SUPPLY, &need);
        assert_eq!(fast.first_to_saturate(&need), Bottleneck::Cores);
        assert_eq!(fast.links, 1);
    }

    #[test]
    fn links_have_names() {
        assert_eq!([Link(25_000_000_000).name(), Link(100_000_000).name()], ["25 Gbit/s", "100 Mbit/s"]);
    }
}
