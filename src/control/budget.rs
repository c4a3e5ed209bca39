//! How much may be said to strangers: in octets, for each and for all, so that nobody is flooded through us.

use std::net::IpAddr;

use super::view::is_loopback;
use crate::wire::NtpTimestamp;

/// What one address earns in a second, and can have at once: one list of clients as long as lists get.
const ADDRESS: Rate = Rate { per_second: 2_048, burst: 32_768 };
/// The same for all addresses together.
const ALL: Rate = Rate { per_second: 65_536, burst: 262_144 };
/// Addresses that are remembered; whoever comes into a place that is taken by another has that one's rest,
/// and `ALL` is the bound for those who change their addresses.
const PLACES: usize = 256;

#[derive(Debug)]
struct Rate {
    per_second: u64,
    burst: u64,
}

/// Octets that are left, as of a moment.
#[derive(Clone, Copy, Debug)]
struct Purse {
    octets: u64,
    as_of: NtpTimestamp,
}

/// What was said lately.
#[derive(Debug)]
pub(super) struct Budget {
    all: Purse,
    addresses: Vec<Purse>,
}

impl Budget {
    pub(super) fn new() -> Self {
        let full = |rate: &Rate| Purse { octets: rate.burst, as_of: NtpTimestamp::UNKNOWN };
        Self { all: full(&ALL), addresses: vec![full(&ADDRESS); PLACES] }
    }

    /// Whether so many octets may go to this address; if so, they are spent. Loopback costs nothing.
    pub(super) fn spend(&mut self, address: IpAddr, octets: usize, now: NtpTimestamp) -> bool {
        if is_loopback(address) {
            return true;
        }
        let octets = octets as u64;
        let place = &mut self.addresses[place(address)];
        place.earn(&ADDRESS, now);
        self.all.earn(&ALL, now);
        if octets > place.octets || octets > self.all.octets {
            return false;
        }
        place.octets -= octets;
        self.all.octets -= octets;
        true
    }
}

impl Purse {
    fn earn(&mut self, rate: &Rate, now: NtpTimestamp) {
        if self.as_of.is_unknown() {
            self.as_of = now;
        }
        // A clock that was set back starts anew from there.
        let elapsed = u128::try_from(now.signed_since(self.as_of)).unwrap_or(0);
        let earned = (elapsed * u128::from(rate.per_second)) >> 32;
        if earned > 0 || now.signed_since(self.as_of) < 0 {
            self.octets =
                rate.burst.min(self.octets.saturating_add(u64::try_from(earned).unwrap_or(u64::MAX)));
            self.as_of = now;
        }
    }
}

/// IPv6 addresses of one /64 share a place.
fn place(address: IpAddr) -> usize {
    const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
    let network = match address.to_canonical() {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
    };
    (network.wrapping_mul(SPREAD) >> 56) as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(budget: &mut Budget, address: &str, now: NtpTimestamp) -> usize {
        let address: IpAddr = address.parse().unwrap();
        (0..).take_while(|_| budget.spend(address, 480, now)).take(10_000).count()
    }

    #[test]
    fn a_stranger_has_so_much_and_all_together_have_so_much() {
        let mut budget = Budget::new();
        let now = NtpTimestamp::from_unix(1_800_000_000, 0);
        assert_eq!(spent(&mut budget, "192.0.2.1", now), 68);
        assert_eq!(spent(&mut budget, "192.0.2.1", now.offset_by(1 << 32)), 4);
        let all: usize = (0..255).map(|host| spent(&mut budget, &format!("198.51.100.{host}"), now)).sum();
        assert!((262_144 / 480 - 80..=262_144 / 480).contains(&all), "{all}");
        assert_eq!(spent(&mut budget, "127.0.0.1", now), 10_000);
        // Set back by an hour: it neither stops nor runs over.
        let back = now.offset_by(-3600 << 32);
        assert_eq!(spent(&mut budget, "192.0.2.1", back), 0);
        assert!((1..80).contains(&spent(&mut budget, "192.0.2.1", back.offset_by(10 << 32))));
    }
}
