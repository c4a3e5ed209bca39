//! Asks a server for the time, once or a few times, and tells what it said: what `ntpring query` does.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::exchange;
use crate::datapath::to_ntp;
use crate::limits;
use crate::sys::client_socket::{ClientSocket, PollSet, Stamp, StampingAnchor};
use crate::sys::random;
use crate::sys::resolve::{self, AddressFamily};
use crate::wire::{LeapIndicator, Mode, NtpShort, NtpTimestamp, Packet, Precision, ReferenceId};

/// How long a reply is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between two requests: servers answer no more than one in two seconds for long.
const HEADWAY: Duration = Duration::from_secs(2);

/// Addresses of one name that are tried.
const ADDRESSES: usize = 8;

/// RFC 5905 figure 6, PHI: how fast a clock may drift, seconds per second.
const PHI: f64 = 15e-6;

/// `tos maxdist` of the daemon: a root distance beyond is of no use.
const DISTANCE_MAX: f64 = 1.5;

const UNITS_PER_SECOND: f64 = (1_u64 << 32) as f64;

/// What a server said, and how far its clock is from ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Who said it.
    pub server: SocketAddr,
    /// Server − local, in seconds.
    pub offset: f64,
    /// Round trip, in seconds.
    pub delay: f64,
    /// The server's leap indicator.
    pub leap: LeapIndicator,
    /// The server's stratum; 0 with a kiss code or an unsynchronised clock.
    pub stratum: u8,
    /// Whom the server follows, or a kiss code.
    pub reference_id: ReferenceId,
    /// The server's precision, log2 seconds.
    pub precision: i8,
    /// The server's round trip to the primary reference, in seconds.
    pub root_delay: f64,
    /// The server's error bound to the primary reference, in seconds.
    pub root_dispersion: f64,
    /// When the server's clock was last found right.
    pub reference_time: NtpTimestamp,
    /// The server's time when the request came.
    pub receive: NtpTimestamp,
    /// The server's time when it answered.
    pub transmit: NtpTimestamp,
    /// Whether the kernel stamped request and reply.
    pub stamped_by_kernel: bool,
}

/// Of several answers the best, and how many there were.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// That of the shortest round trip, which the network could falsify least.
    pub best: Answer,
    /// Requests.
    pub sent: usize,
    /// Replies.
    pub received: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The resolver knows no address.
    #[error("{host}: {error}: check the name, or name an address")]
    Name {
        /// What was looked up.
        host: String,
        /// What the resolver says.
        error: io::Error,
    },
    /// No address answered: the reason of each.
    #[error("{}", reasons.join("\n"))]
    Silence {
        /// One sentence for each address.
        reasons: Vec<String>,
    },
}

impl Answer {
    /// The largest error that the answer may have, in seconds: RFC 5905's root distance, of the server and
    /// of the way to it.
    pub fn root_distance(&self) -> f64 {
        let precision = 2f64.powi(self.precision.into());
        (self.root_delay + self.delay) / 2.0 + self.root_dispersion + precision + PHI * self.delay
    }

    /// Why no clock should follow this server; `None` if one may.
    pub fn fault(&self) -> Option<Fault> {
        let age = self.transmit.signed_since(self.reference_time);
        Some(match self {
            Self { stratum: 0, leap: LeapIndicator::Unsynchronised, reference_id, .. }
                if reference_id.octets().iter().all(u8::is_ascii_graphic)
                    && *reference_id != ReferenceId::INIT =>
            {
                Fault::Kiss(*reference_id)
            }
            Self { leap: LeapIndicator::Unsynchronised, .. } => Fault::Unsynchronised,
            Self { stratum: 0 | 16.., .. } => Fault::Stratum(self.stratum),
            Self { receive: NtpTimestamp::UNKNOWN, .. } | Self { transmit: NtpTimestamp::UNKNOWN, .. } => {
                Fault::NoTime
            }
            _ if exchange::runs_backwards(
                self.receive,
                self.transmit,
                Precision::from_log2(self.precision),
            ) =>
            {
                Fault::Backwards
            }
            _ if !self.reference_time.is_unknown() && age < 0 => Fault::FutureReference,
            _ if self.root_distance() > DISTANCE_MAX => Fault::Distance(self.root_distance()),
            _ => return None,
        })
    }
}

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// The server refuses: its kiss code.
    Kiss(ReferenceId),
    /// The server's own clock follows nobody.
    Unsynchronised,
    /// No stratum that can be followed.
    Stratum(u8),
    /// The reply has no time in it.
    NoTime,
    /// The server answered before it was asked.
    Backwards,
    /// The server's clock was last set after the reply was sent.
    FutureReference,
    /// Too far from the primary reference, in seconds.
    Distance(f64),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kiss(code) => {
                let octets = code.octets();
                write!(
                    f,
                    "the server refuses to serve us (kiss code {})",
                    String::from_utf8_lossy(&octets).trim_end_matches('\0')
                )
            }
            Self::Unsynchronised => f.write_str("the server's clock is not synchronised"),
            Self::Stratum(stratum) => write!(f, "stratum {stratum} cannot be followed"),
            Self::NoTime => f.write_str("there is no time in the reply"),
            Self::Backwards => f.write_str("by the server's clock it answered before it was asked"),
            Self::FutureReference => f.write_str("the server's reference time is later than its reply"),
            Self::Distance(distance) => {
                write!(f, "the root distance of {distance:.3} s is above {DISTANCE_MAX} s")
            }
        }
    }
}

/// Asks the first address of `host` that answers, `count` times in all.
///
/// # Errors
/// The name has no address, or no address answers.
pub fn query(host: &str, port: u16, count: usize) -> Result<Report, QueryError> {
    let _stamping = StampingAnchor::new();
    let mut reasons = Vec::new();
    for server in addresses(host, port)?.into_iter().take(ADDRESSES) {
        let first = match ask(server) {
            Ok(answer) => answer,
            Err(error) => {
                reasons.push(format!("{server}: {}", explain(server, &error)));
                continue;
            }
        };
        let mut report = Report { best: first, sent: 1, received: 1 };
        for _ in 1..count {
            thread::sleep(HEADWAY);
            report.sent += 1;
            let Ok(answer) = ask(server) else { continue };
            report.received += 1;
            // A server that cannot be followed once cannot be followed.
            let is_better = answer.fault().is_some() || answer.delay < report.best.delay;
            if report.best.fault().is_none() && is_better {
                report.best = answer;
            }
        }
        return Ok(report);
    }
    Err(QueryError::Silence { reasons })
}

/// Literal addresses are not for the resolver.
fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, QueryError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    if let Some((address, scope)) = resolve::scoped_address(host) {
        return Ok(vec![SocketAddrV6::new(address, port, 0, scope).into()]);
    }
    match resolve::addresses(host, AddressFamily::Any) {
        Ok(found) => Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect()),
        Err(error) => Err(QueryError::Name { host: host.to_owned(), error }),
    }
}

/// One request, one reply.
fn ask(server: SocketAddr) -> io::Result<Answer> {
    let cookie = NtpTimestamp::from_bits(random::unpredictable()?).known();
    let socket = ClientSocket::open(server, 0)?;
    let mut sent = socket.send(&exchange::request(4, 0, cookie))?;
    let deadline = Instant::now() + PATIENCE;
    let (mut buffer, mut poll) = ([0; limits::REPLY_MAX], PollSet::default());
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        poll.clear();
        poll.push(&socket);
        poll.wait(left)?;
        let ready = poll.readiness(0);
        if ready.error {
            match socket.sent() {
                Ok(stamp) => sent = stamp,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        if !ready.readable {
            continue;
        }
        let Some(arrival) = socket.receive(&mut buffer)? else { continue };
        let reply = arrival.length.and_then(|length| buffer.get(..length)).unwrap_or_default();
        if let Some(answer) = read(server, reply, cookie, sent, arrival.stamp) {
            return Ok(answer);
        }
    }
}

/// `None` for whatever is no reply to the request with this cookie.
fn read(
    server: SocketAddr,
    reply: &[u8],
    cookie: NtpTimestamp,
    sent: Stamp,
    received: Stamp,
) -> Option<Answer> {
    let packet = Packet::new_checked(reply).ok()?;
    if packet.mode() != Mode::Server || packet.origin() != cookie {
        return None;
    }
    let (t1, t4) = (to_ntp(sent.time), to_ntp(received.time));
    let (t2, t3) = (packet.receive(), packet.transmit());
    let (there, back) = (t2.signed_since(t1) as f64, t3.signed_since(t4) as f64);
    let seconds = |short: NtpShort| short.to_nanoseconds() as f64 / 1e9;
    let finest = 2f64.powi(Precision::FINEST.log2().into());
    Some(Answer {
        server,
        offset: (there + back) / 2.0 / UNITS_PER_SECOND,
        // Clocks that are read to the nanosecond may differ by more than the way takes.
        delay: ((there - back) / UNITS_PER_SECOND).max(finest),
        leap: packet.leap(),
        stratum: packet.stratum(),
        reference_id: packet.reference_id(),
        precision: packet.precision(),
        root_delay: seconds(packet.root_delay()),
        root_dispersion: seconds(packet.root_dispersion()),
        reference_time: packet.reference_time(),
        receive: t2,
        transmit: t3,
        stamped_by_kernel: sent.by_kernel && received.by_kernel,
    })
}

fn explain(server: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::TimedOut => format!(
            "no answer within {} s: is there an NTP server, and does every firewall let UDP port {} pass?",
            PATIENCE.as_secs(),
            server.port()
        ),
        ErrorKind::ConnectionRefused => {
            format!("nobody listens on UDP port {} there", server.port())
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock::Timespec;
    use crate::wire::HEADER_LEN;

    const COOKIE: NtpTimestamp = NtpTimestamp::from_bits(0x0123_4567_89ab_cdef);

    fn at(seconds: i64, nanoseconds: u32) -> Stamp {
        Stamp { time: Timespec { seconds, nanoseconds }, by_kernel: true }
    }

    /// A good reply, received at 1 800 000 000.05 and answered at once by a server that is a second ahead.
    fn reply() -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        let mut packet = Packet::new_checked(&mut header).unwrap();
        packet.set_first(LeapIndicator::None, 4, Mode::Server);
        packet.set_stratum(2);
        packet.set_root_delay(NtpShort::from_bits(1 << 15));
        packet.set_root_dispersion(NtpShort::from_bits(1 << 14));
        packet.set_reference_time(NtpTimestamp::from_unix(1_800_000_000, 0));
        packet.set_origin(COOKIE);
        packet.set_receive(NtpTimestamp::from_unix(1_800_000_001, 50_000_000));
        packet.set_transmit(NtpTimestamp::from_unix(1_800_000_001, 50_000_000));
        header
    }

    fn answer(change: impl FnOnce(&mut Packet<&mut [u8; HEADER_LEN]>)) -> Option<Answer> {
        let mut header = reply();
        change(&mut Packet::new_checked(&mut header).unwrap());
        let server = "192.0.2.1:123".parse().unwrap();
        read(server, &header, COOKIE, at(1_800_000_000, 0), at(1_800_000_000, 100_000_000))
    }

    #[test]
    fn offset_and_delay_are_those_of_rfc_5905() {
        let answer = answer(|_| ()).expect("a reply");
        assert!((answer.offset - 1.0).abs() < 1e-8 && (answer.delay - 0.1).abs() < 1e-8, "{answer:?}");
        assert!((answer.root_distance() - 1.55).abs() < 1e-4, "{}", answer.root_distance());
    }

    #[test]
    fn what_does_not_answer_the_request_is_passed_over() {
        assert_eq!(answer(|packet| packet.set_origin(COOKIE.offset_by(1))), None);
        assert_eq!(answer(|packet| packet.set_first(LeapIndicator::None, 4, Mode::Client)), None);
        let server = "192.0.2.1:123".parse().unwrap();
        assert_eq!(read(server, &reply()[..47], COOKIE, at(1, 0), at(1, 0)), None);
    }

    #[test]
    fn a_fault_is_named() {
        let near = |packet: &mut Packet<&mut [u8; HEADER_LEN]>| packet.set_root_delay(NtpShort::ZERO);
        let fault = |change: &dyn Fn(&mut Packet<&mut [u8; HEADER_LEN]>)| {
            answer(|packet| {
                near(packet);
                change(packet);
            })
            .expect("a reply")
            .fault()
        };
        assert_eq!(fault(&|_| ()), None);
        let kiss = |packet: &mut Packet<&mut [u8; HEADER_LEN]>, code| {
            packet.set_first(LeapIndicator::Unsynchronised, 4, Mode::Server);
            packet.set_stratum(0);
            packet.set_reference_id(code);
        };
        let rate = ReferenceId::from_code("RATE").unwrap();
        assert_eq!(fault(&|packet| kiss(packet, rate)), Some(Fault::Kiss(rate)));
        assert_eq!(fault(&|packet| kiss(packet, ReferenceId::INIT)), Some(Fault::Unsynchronised));
        assert_eq!(fault(&|packet| packet.set_stratum(16)), Some(Fault::Stratum(16)));
        assert_eq!(fault(&|packet| packet.set_transmit(NtpTimestamp::UNKNOWN)), Some(Fault::NoTime));
        assert_eq!(fault(&|packet| packet.set_receive(NtpTimestamp::UNKNOWN)), Some(Fault::NoTime));
        let earlier = NtpTimestamp::from_unix(1_800_000_000, 950_000_000);
        assert_eq!(fault(&|packet| packet.set_transmit(earlier)), Some(Fault::Backwards));
        let late = NtpTimestamp::from_unix(1_800_000_002, 0);
        assert_eq!(fault(&|packet| packet.set_reference_time(late)), Some(Fault::FutureReference));
        assert!(matches!(
            fault(&|packet| packet.set_root_delay(NtpShort::from_bits(3 << 16))),
            Some(Fault::Distance(_))
        ));
    }
}
