//! One request, one verdict.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::monitor::Monitor;
use super::rate_limit::{Judgement, Limiter};
use super::{AccessFlags, Clock, Datagram, NTP_PORT, Reason, ServingState, Tally, Verdict, template};
use crate::auth::{Key, KeyTable, NotAuthentic};
use crate::snapshot::{Published, SystemVariables};
use crate::wire::{ControlHeader, HEADER_LEN, Mac, Malformed, Mode, NtpTimestamp, Packet, Precision, field};

/// Version and mode in a packet's first octet.
const VERSION_MODE: u8 = 0x3F;

/// Answers the requests of one worker.
#[derive(Debug)]
pub struct Responder {
    state: Arc<ServingState>,
    limiter: Limiter,
    monitor: Option<Arc<Monitor>>,
    clock_stepped: bool,
    random: fastrand::Rng,
    tally: Tally,
}

/// What is asked for.
enum Request {
    Control,
    Time { version: u8, mode: Mode },
}

/// What a request deserves, unless it is silence.
enum Answer {
    Control,
    /// A kiss-o'-death packet of so many octets.
    Kiss {
        length: usize,
    },
    /// A reply of so many octets, in the request's version.
    Time {
        version: u8,
        length: usize,
    },
}

impl Responder {
    /// A responder whose random bits come from `seed`; it serves an unsynchronised clock until its first
    /// batch begins.
    pub fn new(seed: u64) -> Self {
        Self {
            state: Arc::default(),
            limiter: Limiter::new(),
            monitor: None,
            clock_stepped: false,
            random: fastrand::Rng::with_seed(seed),
            tally: Tally::default(),
        }
    }

    /// The same, which writes down who asks while the state says that it should. Nobody else may write there.
    pub fn with_monitor(seed: u64, monitor: Arc<Monitor>) -> Self {
        Self { monitor: Some(monitor), ..Self::new(seed) }
    }

    /// Takes the newest state for the datagrams that follow. If the clock was set since the last batch, the
    /// datagrams of this one may have been stamped before that: every time reply is dropped.
    ///
    /// The first state in which somebody is limited allocates the table that this takes, one that asks for
    /// another size replaces it; nothing else here allocates.
    pub fn begin_batch(&mut self, published: &mut Published<ServingState>, clock_stepped: bool) {
        let newest = published.load();
        if !Arc::ptr_eq(&self.state, newest) {
            let was_monitored = self.state.monitor;
            self.state = Arc::clone(newest);
            let sources = if newest.access.limits_somebody() { newest.limit.sources } else { 0 };
            self.limiter.resize(sources, &mut self.random);
            if let Some(monitor) = self.monitor.as_ref().filter(|_| was_monitored && !newest.monitor) {
                monitor.clear();
            }
        }
        self.clock_stepped = clock_stepped;
        if clock_stepped {
            self.limiter.clock_stepped();
        }
    }

    /// What has become of all requests so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Looks at one request and, where it deserves time, writes the reply over it.
    pub fn respond(&mut self, datagram: Datagram<'_>, clock: &impl Clock) -> Verdict {
        match self.answer(datagram, clock) {
            Ok(Answer::Time { version, length }) => {
                self.tally.count_answer(version);
                Verdict::Reply(length)
            }
            Ok(Answer::Kiss { length }) => {
                self.tally.count_kod();
                Verdict::Reply(length)
            }
            Ok(Answer::Control) => {
                self.tally.count_forward();
                Verdict::Forward
            }
            Err(reason) => {
                self.tally.count_drop(reason);
                Verdict::Drop(reason)
            }
        }
    }

    fn answer(&mut self, datagram: Datagram<'_>, clock: &impl Clock) -> Result<Answer, Reason> {
        let Datagram { peer, local, received, ahead, buf } = datagram;
        check_addresses(peer, local)?;
        let ServingState { system, access, limit, monitor, keys, spent_mark, .. } = self.state.as_ref();
        let flags = access.lookup(peer);
        if flags.contains(AccessFlags::IGNORE) {
            return Err(Reason::Ignored);
        }
        let monitor = self.monitor.as_ref().filter(|_| *monitor);
        if let Some(monitor) = monitor {
            monitor.observe(peer, received, buf.first().map_or(0, |first| first & VERSION_MODE));
        }
        let Request::Time { version, mode } = classify(buf, peer.port())? else {
            return check_control(buf, flags).map(|()| Answer::Control);
        };
        let key = check_time(buf, version, flags, peer.ip(), keys)?;
        self.tally.authentic += u64::from(key.is_some());
        if self.clock_stepped {
            return Err(Reason::ClockStepped);
        }
        let mut judgement = Judgement::Answer;
        if flags.contains(AccessFlags::LIMITED) {
            // A client of RFC 1059 would not know what a kiss is.
            let kod = flags.contains(AccessFlags::KOD) && mode == Mode::Client;
            // Only a whole header can have the mark, and the checks above have seen to that.
            let spent = spent_mark.is_some_and(|mark| buf.get(field::ORIGIN) == Some(&mark[..]));
            judgement = self.limiter.judge(peer.ip(), received, limit, kod, spent, &mut self.random);
            if let (Some(limited), Some(monitor)) = (judgement.beyond(), monitor) {
                monitor.note_limit(peer, limited);
            }
        }
        let mut packet = Packet::new_checked(buf.first_chunk_mut().ok_or(Reason::Short)?)?;
        match judgement {
            Judgement::Answer | Judgement::Leak => {
                let moment = Moment { received, ahead };
                write_reply(system, self.random.u64(..), &mut packet, version, moment, clock)?;
                Ok(Answer::Time { version, length: signed(buf, key, &mut self.tally)? })
            }
            Judgement::Kiss => {
                template::apply_kiss(version, limit.kod_poll(), &mut packet);
                Ok(Answer::Kiss { length: signed(buf, key, &mut self.tally)? })
            }
            Judgement::Refuse => Err(Reason::Limited),
        }
    }
}

/// Turns the request's header into the reply's.
fn write_reply(
    system: &SystemVariables,
    random: u64,
    packet: &mut Packet<&mut [u8; HEADER_LEN]>,
    version: u8,
    Moment { received, ahead }: Moment,
    clock: &impl Clock,
) -> Result<(), Reason> {
    // Where the machine's clock is not corrected, all stamps are of the time that is.
    let received = system.clock.apply(received);

    let origin = packet.transmit();
    packet.set_origin(origin);

    let receive = distinct(received.fuzzed(Precision::NANOSECOND, random), origin);
    packet.set_receive(receive);

    template::apply(system, version, receive, packet);

    let now = system.clock.apply(clock.now());
    if now.signed_since(received) < 0 {
        return Err(Reason::ClockStepped);
    }
    let leaves = now.offset_by(ahead);
    packet.set_transmit(after(leaves.fuzzed(system.precision, random >> 32), receive));
    Ok(())
}

/// When a request came, and how long after its reply is written it will leave.
#[derive(Clone, Copy)]
struct Moment {
    received: NtpTimestamp,
    ahead: i64,
}

/// The length of the reply, once it is signed with the key of its request, if that was. The request's own MAC
/// was as long.
fn signed(reply: &mut [u8], key: Option<&Key>, tally: &mut Tally) -> Result<usize, Reason> {
    let Some(key) = key else { return Ok(HEADER_LEN) };
    tally.signed += 1;
    key.sign(reply, HEADER_LEN).ok_or(Reason::Short)
}

impl From<Malformed> for Reason {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::Extension => Self::Extension,
            Malformed::Misaligned => Self::Misaligned,
            Malformed::Short => Self::Short,
        }
    }
}

impl From<NotAuthentic> for Reason {
    fn from(not_authentic: NotAuthentic) -> Self {
        match not_authentic {
            NotAuthentic::BadMac => Self::BadMac,
            NotAuthentic::UnknownKey => Self::UnknownKey,
        }
    }
}

/// Refuses what cannot come from a client, or was not sent to this server alone.
fn check_addresses(peer: SocketAddr, local: SocketAddr) -> Result<(), Reason> {
    let shared = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.is_multicast() || v4 == Ipv4Addr::BROADCAST,
        IpAddr::V6(v6) => v6.is_multicast(),
    };
    let (source, destination) = (peer.ip().to_canonical(), local.ip().to_canonical());
    // The very socket that a packet arrived at cannot have sent it. Another port of the same address is a
    // local client.
    let own = peer.port() == local.port() && source == destination;
    if own || peer.port() == 0 || source.is_unspecified() || shared(source) {
        return Err(Reason::MartianSource);
    }
    // RFC 5905 §9.2 answers multicast requests only for manycast, which is not served.
    if shared(destination) {
        return Err(Reason::SharedDestination);
    }
    Ok(())
}

/// What is asked for, by version and mode.
fn classify(request: &[u8], port: u16) -> Result<Request, Reason> {
    let first = *request.first().ok_or(Reason::Short)?;
    let version = (first >> 3) & 7;
    if !(1..=4).contains(&version) {
        return Err(Reason::Version);
    }
    match Mode::from_first_octet(first) {
        mode @ Mode::Client => Ok(Request::Time { version, mode }),
        Mode::Control => Ok(Request::Control),
        Mode::Private => Err(Reason::Private),
        // RFC 1059 had no modes: clients and servers were told apart by the port.
        mode @ Mode::Reserved if version == 1 && port != NTP_PORT => Ok(Request::Time { version, mode }),
        Mode::Reserved | Mode::SymmetricActive | Mode::SymmetricPassive | Mode::Server | Mode::Broadcast => {
            Err(Reason::Mode)
        }
    }
}

/// Whether the daemon may see this control message. Its length and count are left to the daemon, which
/// answers an error.
fn check_control(request: &[u8], flags: AccessFlags) -> Result<(), Reason> {
    if flags.contains(AccessFlags::NOQUERY) {
        return Err(Reason::NoQuery);
    }
    match ControlHeader::parse(request) {
        Ok(header) if header.is_request() => Ok(()),
        _ => Err(Reason::MalformedControl),
    }
}

/// Whether this request for time may be answered, and with which key it was signed, if it was.
fn check_time<'k>(
    request: &[u8],
    version: u8,
    flags: AccessFlags,
    source: IpAddr,
    keys: &'k KeyTable,
) -> Result<Option<&'k Key>, Reason> {
    if flags.contains(AccessFlags::NOSERVE) {
        return Err(Reason::NoServe);
    }
    let packet = Packet::new_checked(request)?;
    if flags.contains(AccessFlags::VERSION) && version != 4 {
        return Err(Reason::OldVersion);
    }
    // Extension fields must be well-formed, but none is known here: RFC 7822 has them ignored.
    match packet.trailer()?.mac {
        Some(Mac::CryptoNak) => Err(Reason::CryptoNak),
        // A client that sends a MAC does not want an answer without one.
        Some(Mac::Digest { key_id, digest }) => Ok(Some(keys.authenticate(source, request, key_id, digest)?)),
        None if flags.contains(AccessFlags::NOTRUST) => Err(Reason::NoTrust),
        None => Ok(None),
    }
}

/// `stamp`, moved by the least step if it says nothing or equals `other` (RFC 9769 §2 tells basic from
/// interleaved replies by stamps being different).
fn distinct(stamp: NtpTimestamp, other: NtpTimestamp) -> NtpTimestamp {
    let known = stamp.known();
    if known == other { known.offset_by(1).known() } else { known }
}

/// `stamp`, or the least stamp after `earlier`: random bits must not make a reply leave before its request
/// came.
fn after(stamp: NtpTimestamp, earlier: NtpTimestamp) -> NtpTimestamp {
    let stamp = stamp.known();
    if stamp.signed_since(earlier) > 0 { stamp } else { earlier.offset_by(1).known() }
}
