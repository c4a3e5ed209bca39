//! Variables of an association and of a reference clock, by ntpd's names, in its units and formats.

use std::net::{IpAddr, Ipv4Addr};

use super::format::{boolean, milliseconds, name, quoted, refid, seconds16, stamp};
use super::status::PeerStatus;
use super::view::View;
use crate::snapshot::{Association, AssociationKind, Authentication, FilterSample};

/// Reads one variable; `None` where the association has nothing of that name.
type Read = fn(&View<'_>, &Association) -> Option<String>;

/// Whose ntpq asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// ntpd's, or one that cannot be told from it.
    Classic,
    /// ntpsec's, which takes a source for a clock driver if its `srchost` has a parenthesis. Classic has no
    /// `srchost` for drivers.
    Ntpsec,
}

/// What is told when nothing is asked for, in ntpd's order.
const DEFAULT: &[&str] = &[
    "srcadr",
    "srcport",
    "srchost",
    "dstadr",
    "dstport",
    "leap",
    "stratum",
    "precision",
    "rootdelay",
    "rootdisp",
    "refid",
    "reftime",
    "rec",
    "reach",
    "unreach",
    "hmode",
    "pmode",
    "hpoll",
    "ppoll",
    "headway",
    "flash",
    "keyid",
    "ttl",
    "offset",
    "delay",
    "dispersion",
    "jitter",
    "filtdelay",
    "filtoffset",
    "filtdisp",
];

/// All there are, in ntpd's order, which is also that of an answer.
const VARIABLES: &[(&str, Read)] = &[
    ("config", |_, peer| Some(boolean(is_configured(peer)).to_string())),
    ("authenable", |_, peer| Some(boolean(peer.authentication != Authentication::None).to_string())),
    ("authentic", |_, peer| Some(boolean(peer.authentication == Authentication::Good).to_string())),
    ("srcadr", |_, peer| Some(peer.source.ip().to_string())),
    ("srcport", |_, peer| Some(peer.source.port().to_string())),
    ("dstadr", |_, peer| Some(local(peer).to_string())),
    ("dstport", |_, _| Some(NTP_PORT.to_string())),
    ("leap", |_, peer| Some((peer.leap as u8).to_string())),
    ("hmode", |_, _| Some(CLIENT.to_string())),
    ("stratum", |_, peer| Some(peer.stratum.to_string())),
    ("ppoll", |_, peer| Some(peer.peer_poll.to_string())),
    ("hpoll", |_, peer| Some(peer.host_poll.to_string())),
    ("precision", |_, peer| Some(peer.precision.log2().to_string())),
    ("rootdelay", |_, peer| Some(seconds16(peer.root_delay))),
    ("rootdisp", |_, peer| Some(seconds16(peer.root_dispersion))),
    ("refid", |_, peer| Some(reference(peer))),
    ("reftime", |_, peer| Some(stamp(peer.reference_time))),
    ("rec", |_, peer| Some(stamp(peer.received))),
    ("reach", |_, peer| Some(format!("0x{:x}", peer.reach))),
    ("unreach", |_, peer| Some(peer.unreach.to_string())),
    ("timer", |view, peer| Some(until_next(view, peer).to_string())),
    ("delay", |_, peer| Some(milliseconds(peer.delay))),
    ("offset", |_, peer| Some(milliseconds(peer.offset))),
    ("jitter", |_, peer| Some(milliseconds(peer.jitter))),
    ("dispersion", |_, peer| Some(milliseconds(peer.dispersion))),
    ("keyid", |_, peer| Some(peer.key_id.to_string())),
    ("filtdelay", |_, peer| Some(filter(peer, |sample| sample.delay))),
    ("filtoffset", |_, peer| Some(filter(peer, |sample| sample.offset))),
    ("pmode", |_, peer| Some(if peer.received.is_unknown() { 0 } else { SERVER }.to_string())),
    ("received", |_, peer| Some(peer.exchanged.received.to_string())),
    ("sent", |_, peer| Some(peer.exchanged.sent.to_string())),
    ("filtdisp", |_, peer| Some(filter(peer, |sample| sample.dispersion))),
    ("flash", |_, peer| Some(format!("0x{:x}", peer.flash))),
    ("ttl", |_, peer| (peer.kind == AssociationKind::LocalClock).then(|| "0".to_owned())),
    ("peer_var_list", |_, _| Some(quoted(&names()))),
    // Ours never send before it is time, so there is never credit to be told.
    ("headway", |_, _| Some("0".to_owned())),
    ("srchost", |_, peer| peer.host.as_deref().map(quoted)),
    ("timerec", |view, peer| Some(since(view, peer).to_string())),
    ("timereach", |view, peer| Some(since(view, peer).to_string())),
    ("flags", |_, peer| Some(format!("0x{:x}", u16::from(is_configured(peer))))),
    ("bias", |_, _| Some("0.000".to_owned())),
    ("rootdist", |_, peer| Some(milliseconds(root_distance(peer)))),
    ("badauth", |_, peer| Some(peer.exchanged.bad_authentication.to_string())),
    ("bogusorg", |_, peer| Some(peer.exchanged.bogus.to_string())),
    ("oldpkt", |_, peer| Some(peer.exchanged.duplicates.to_string())),
    ("seldisp", |_, peer| Some(peer.exchanged.distant.to_string())),
    ("selbroken", |_, peer| Some(peer.exchanged.unsynchronised.to_string())),
    ("candidate", |_, peer| Some((peer.selection as u8).to_string())),
];

const NTP_PORT: u16 = 123;
/// Modes of RFC 5905 figure 10: ours, and a server's.
const CLIENT: u8 = 3;
const SERVER: u8 = 4;

/// The variables of a name list, in our order, those that have a value; `None` if any name is unknown. An
/// empty list stands for the usual ones.
pub(super) fn read(
    view: &View<'_>,
    peer: &Association,
    wanted: &[&str],
    dialect: Dialect,
) -> Option<Vec<(&'static str, String)>> {
    let value = |(name, read): &(&'static str, Read)| {
        let driver = if *name == "srchost" { driver(peer, dialect) } else { None };
        driver.or_else(|| read(view, peer)).map(|value| (*name, value))
    };
    if wanted.is_empty() {
        let find = |name: &&str| VARIABLES.iter().find(|(known, _)| known == name);
        return Some(DEFAULT.iter().filter_map(find).filter_map(value).collect());
    }
    let is_known = |name: &&str| VARIABLES.iter().any(|(known, _)| known == name);
    let is_wanted = |(name, _): &&(&'static str, Read)| wanted.contains(name);
    wanted.iter().all(is_known).then(|| VARIABLES.iter().filter(is_wanted).filter_map(value).collect())
}

/// The name of a clock driver, for those who want one.
fn driver(peer: &Association, dialect: Dialect) -> Option<String> {
    match (peer.kind, peer.source.ip(), dialect) {
        (AssociationKind::LocalClock, IpAddr::V4(address), Dialect::Ntpsec) => {
            Some(quoted(&format!("LOCAL({})", address.octets()[3])))
        }
        _ => None,
    }
}

fn names() -> String {
    VARIABLES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(",")
}

fn is_configured(peer: &Association) -> bool {
    peer.kind != AssociationKind::PoolMember
}

/// A local clock is spoken to from the loopback, as ntpd says.
fn local(peer: &Association) -> IpAddr {
    match peer.kind {
        AssociationKind::LocalClock => Ipv4Addr::LOCALHOST.into(),
        _ => peer.local,
    }
}

/// A reference clock, a kiss code and a pool have names; a server has the address of its own source.
fn reference(peer: &Association) -> String {
    match peer.kind {
        AssociationKind::LocalClock | AssociationKind::Pool => name(peer.reference_id),
        _ => refid(peer.reference_id, peer.stratum),
    }
}

fn filter(peer: &Association, part: impl Fn(&FilterSample) -> f64) -> String {
    peer.filter.iter().map(|sample| format!(" {:.2}", part(sample) * 1e3)).collect()
}

fn since(view: &View<'_>, peer: &Association) -> i64 {
    if peer.received.is_unknown() { 0 } else { (view.now.signed_since(peer.received) >> 32).max(0) }
}

fn until_next(view: &View<'_>, peer: &Association) -> i64 {
    if peer.next.is_unknown() { 0 } else { (peer.next.signed_since(view.now) >> 32).max(0) }
}

fn root_distance(peer: &Association) -> f64 {
    let short = |bits: u32| f64::from(bits) / 65_536.0;
    (short(peer.root_delay.to_bits()) + peer.delay) / 2.0
        + short(peer.root_dispersion.to_bits())
        + peer.dispersion
        + peer.jitter
}

/// The status word of an association.
pub(super) fn status(peer: &Association) -> u16 {
    let mut word = 0;
    let mut set = |flag, is: bool| word |= if is { flag } else { 0 };
    set(PeerStatus::CONFIGURED, is_configured(peer));
    set(PeerStatus::AUTHENTICATION_ENABLED, peer.authentication != Authentication::None);
    set(PeerStatus::AUTHENTIC, peer.authentication == Authentication::Good);
    set(PeerStatus::REACHABLE, peer.reach != 0);
    set(PeerStatus::BROADCAST, peer.kind == AssociationKind::Pool);
    word | ((peer.selection as u16) << 8) | (u16::from(peer.events.min(15)) << 4) | u16::from(peer.event & 15)
}

/// Reads one variable of a reference clock.
type ReadClock = fn(&Association) -> String;

/// Variables of a reference clock, in ntpd's order; the last is told only when it is asked for. Only the
/// local clock is one.
const CLOCK: &[(&str, ReadClock)] = &[
    ("device", |_| quoted("Undisciplined local clock")),
    ("timecode", |_| quoted("")),
    ("poll", |_| "0".to_owned()),
    ("noreply", |_| "0".to_owned()),
    ("badformat", |_| "0".to_owned()),
    ("baddata", |_| "0".to_owned()),
    ("stratum", |peer| peer.stratum.to_string()),
    ("refid", |peer| name(peer.reference_id)),
    ("flags", |_| "0".to_owned()),
    (CLOCK_LIST, |_| quoted(&CLOCK.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(","))),
];
const CLOCK_LIST: &str = "clock_var_list";

/// The variables of a reference clock by names; `None` if any is unknown.
pub(super) fn read_clock(peer: &Association, wanted: &[&str]) -> Option<Vec<(&'static str, String)>> {
    let is_known = |name: &&str| CLOCK.iter().any(|(known, _)| known == name);
    let is_wanted = |(name, _): &&(&'static str, ReadClock)| match wanted {
        [] => *name != CLOCK_LIST,
        _ => wanted.contains(name),
    };
    let value = |(name, read): &(&'static str, ReadClock)| (*name, read(peer));
    wanted.iter().all(is_known).then(|| CLOCK.iter().filter(is_wanted).map(value).collect())
}
