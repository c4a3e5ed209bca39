//! One request and its reply: what is asked, which replies count, and what they say (RFC 5905 §8, §9.2).

use std::fmt;

use super::units::{precision_seconds, seconds, short_seconds, units};
use crate::wire::{HEADER_LEN, LeapIndicator, Mode, NtpShort, NtpTimestamp, Packet, Precision, ReferenceId};

/// RFC 5905 figure 6, MAXDISP: a root distance that says nothing any more.
const DISTANCE_MAX: f64 = 16.0;

/// A request, zero but for version, mode, poll and the cookie: it tells nothing about our clock.
pub fn request(version: u8, poll: u8, cookie: NtpTimestamp) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    if let Ok(mut packet) = Packet::new_checked(&mut bytes) {
        packet.set_first(LeapIndicator::None, version, Mode::Client);
        packet.set_poll(poll.cast_signed());
        packet.set_transmit(cookie);
    }
    bytes
}

/// What a request was, for telling its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its transmit stamp: 64 random bits.
    pub cookie: NtpTimestamp,
    /// Its version.
    pub version: u8,
    /// The key that its reply must be made with.
    pub key: Option<u32>,
}

/// What a usable reply says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reply {
    /// What the server says about its clock.
    pub server: ServerState,
    /// The request's arrival, T2.
    pub receive: NtpTimestamp,
    /// The reply's departure, T3.
    pub transmit: NtpTimestamp,
}

/// What a reply says about the server's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// Leap indicator.
    pub leap: LeapIndicator,
    /// Stratum, 1 to 15; 16 for none.
    pub stratum: u8,
    /// The poll field, our own one echoed.
    pub poll: i8,
    /// Precision.
    pub precision: Precision,
    /// Root delay.
    pub root_delay: NtpShort,
    /// Root dispersion.
    pub root_dispersion: NtpShort,
    /// Reference id.
    pub reference_id: ReferenceId,
    /// Reference time.
    pub reference_time: NtpTimestamp,
}

impl ServerState {
    /// Before the first reply.
    pub const UNKNOWN: Self = Self {
        leap: LeapIndicator::Unsynchronised,
        stratum: 16,
        poll: 0,
        precision: Precision::COARSEST,
        root_delay: NtpShort::ZERO,
        root_dispersion: NtpShort::ZERO,
        reference_id: ReferenceId::INIT,
        reference_time: NtpTimestamp::UNKNOWN,
    };

    fn of(packet: &Packet<&[u8]>) -> Self {
        Self {
            leap: packet.leap(),
            // RFC 5905 §7.3: stratum 16 is 0 on the wire.
            stratum: if matches!(packet.stratum(), 1..=15) { packet.stratum() } else { 16 },
            poll: packet.poll(),
            precision: Precision::from_log2(packet.precision()),
            root_delay: packet.root_delay(),
            root_dispersion: packet.root_dispersion(),
            reference_id: packet.reference_id(),
            reference_time: packet.reference_time(),
        }
    }
}

/// Why a datagram is not a usable reply. The names are RFC 5905 figure 22's where it has some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// No NTP packet, or not a server's reply of the version that was asked for.
    Malformed,
    /// From another address or port than was asked.
    Stranger,
    /// Test 1: the reply was had already.
    Duplicate,
    /// Test 2: the origin stamp is not our request's transmit stamp.
    Bogus,
    /// Test 3: origin, receive or transmit stamp are zero, or the server's times run backwards.
    Invalid,
    /// Test 5: no MAC of the association's key, or a wrong one.
    Authentication,
    /// A kiss-o'-death.
    Kiss(ReferenceId, i8),
    /// Test 6: the server is not synchronised.
    Unsynchronised(ServerState),
    /// Test 7: root delay and dispersion say nothing, or the clock was set after the reply left.
    Distance(ServerState),
}

/// How many kinds of [`Flaw`] there are.
pub const FLAWS: usize = 9;

impl Flaw {
    /// The bit of ntpd's flash word, as `ntpq` shows it.
    pub const fn flash(self) -> u16 {
        match self {
            Self::Duplicate => 0x1,
            Self::Bogus | Self::Stranger => 0x2,
            Self::Malformed | Self::Invalid => 0x4,
            Self::Kiss(..) => 0x8,
            Self::Authentication => 0x10,
            Self::Unsynchronised(_) => 0x20,
            Self::Distance(_) => 0x40,
        }
    }

    /// Its place among the counters.
    pub const fn index(self) -> usize {
        match self {
            Self::Malformed => 0,
            Self::Stranger => 1,
            Self::Duplicate => 2,
            Self::Bogus => 3,
            Self::Invalid => 4,
            Self::Authentication => 5,
            Self::Kiss(..) => 6,
            Self::Unsynchronised(_) => 7,
            Self::Distance(_) => 8,
        }
    }

    /// Whether the server itself said so in answer to our request: the exchange is over. Anything else may
    /// be an attacker's, and the true reply still comes.
    pub const fn ends_exchange(self) -> bool {
        matches!(self, Self::Invalid | Self::Kiss(..) | Self::Unsynchronised(_) | Self::Distance(_))
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "no NTP reply of the version that was asked for",
            Self::Stranger => "from another address than was asked",
            Self::Duplicate => "had already",
            Self::Bogus => "not the reply to our request",
            Self::Invalid => "its time stamps say nothing",
            Self::Authentication => "its MAC is missing or wrong",
            Self::Kiss(code, _) => {
                let code = code.octets();
                return write!(
                    f,
                    "refused with kiss code {}",
                    String::from_utf8_lossy(&code).trim_end_matches('\0')
                );
            }
            Self::Unsynchronised(_) => "the server is not synchronised",
            Self::Distance(_) => "the server is too far from a reference clock",
        })
    }
}

/// Looks at a datagram that may be the reply to what was `asked`; `authentic` is the key that its MAC was
/// found right with. `None` for what was asked: there is no request without a reply.
///
/// # Errors
/// Why it is not, or says nothing.
pub fn open(bytes: &[u8], asked: Option<&Asked>, authentic: Option<u32>) -> Result<Reply, Flaw> {
    let packet = Packet::new_checked(bytes).map_err(|_| Flaw::Malformed)?;
    if packet.mode() != Mode::Server || packet.trailer().is_err() {
        return Err(Flaw::Malformed);
    }
    let asked = asked.ok_or(Flaw::Duplicate)?;
    // A zero origin never matches: cookies are not zero.
    if packet.origin() != asked.cookie {
        return Err(Flaw::Bogus);
    }
    if packet.version() != asked.version {
        return Err(Flaw::Malformed);
    }
    if asked.key.is_some() && authentic != asked.key {
        return Err(Flaw::Authentication);
    }
    if let Some(code) = kiss_code(&packet) {
        return Err(Flaw::Kiss(code, packet.poll()));
    }
    let server = ServerState::of(&packet);
    if server.leap == LeapIndicator::Unsynchronised || server.stratum == 16 {
        return Err(Flaw::Unsynchronised(server));
    }
    let (receive, transmit) = (packet.receive(), packet.transmit());
    if receive.is_unknown() || transmit.is_unknown() || runs_backwards(receive, transmit, server.precision) {
        return Err(Flaw::Invalid);
    }
    let distance = short_seconds(server.root_delay) / 2.0 + short_seconds(server.root_dispersion);
    let set_later = !server.reference_time.is_unknown() && transmit.signed_since(server.reference_time) < 0;
    if distance >= DISTANCE_MAX || set_later {
        return Err(Flaw::Distance(server));
    }
    Ok(Reply { server, receive, transmit })
}

/// Whether a reply left before its request came. Random bits below the server's precision may make one that
/// was quick seem so.
pub fn runs_backwards(receive: NtpTimestamp, transmit: NtpTimestamp, precision: Precision) -> bool {
    transmit.signed_since(receive) < -units(2.0 * precision_seconds(precision))
}

/// RFC 5905 §7.4: a stratum of zero, and four ASCII characters in the place of the reference id. An
/// unsynchronised server sends `INIT` or `STEP` there, which asks for nothing.
fn kiss_code(packet: &Packet<&[u8]>) -> Option<ReferenceId> {
    let code = packet.reference_id();
    (packet.stratum() == 0 && [*b"RATE", *b"DENY", *b"RSTR"].contains(&code.octets())).then_some(code)
}

/// The four stamps of an exchange, in RFC 5905's arithmetic (§8).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OnWire {
    /// Server − local in seconds.
    pub offset: f64,
    /// Round trip in seconds; what the stamps' errors make of it may be negative.
    pub delay: f64,
}

impl OnWire {
    /// From T1 and T4, the local ones, and the reply. Differences are taken first, modulo 2^64, so that
    /// neither clock need be in the other's era.
    pub fn new(sent: NtpTimestamp, reply: &Reply, received: NtpTimestamp) -> Self {
        let there = i128::from(reply.receive.signed_since(sent));
        let back = i128::from(reply.transmit.signed_since(received));
        Self {
            offset: seconds(there + back) / 2.0,
            delay: seconds(
                i128::from(received.signed_since(sent))
                    - i128::from(reply.transmit.signed_since(reply.receive)),
            ),
        }
    }
}
