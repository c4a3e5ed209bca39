//! One request, one verdict.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::rate_limit::{Judgement, Limiter};
use super::{AccessFlags, Clock, Datagram, NTP_PORT, Reason, ServingState, Tally, Verdict, template};
use crate::snapshot::Published;
use crate::wire::{ControlHeader, HEADER_LEN, Mac, Malformed, Mode, NtpTimestamp, Packet, Precision, field};

/// Answers the requests of one worker.
#[derive(Debug)]
pub struct Responder {
    state: Arc<ServingState>,
    limiter: Limiter,
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
    Kiss,
    Time { version: u8 },
}

impl Responder {
    /// A responder whose random bits come from `seed`; it serves an unsynchronised clock until its first
    /// batch begins.
    pub fn new(seed: u64) -> Self {
        Self {
            state: Arc::default(),
            limiter: Limiter::new(),
            clock_stepped: false,
            random: fastrand::Rng::with_seed(seed),
            tally: Tally::default(),
        }
    }

    /// Takes the newest state for the datagrams that follow. If the clock was set since the last batch, the
    /// datagrams of this one may have been stamped before that: every time reply is dropped.
    ///
    /// The first state in which somebody is limited allocates the table that this takes, one that asks for
    /// another size replaces it; nothing else here allocates.
    pub fn begin_batch(&mut self, published: &mut Published<ServingState>, clock_stepped: bool) {
        let newest = published.load();
        if !Arc::ptr_eq(&self.state, newest) {
            self.state = Arc::clone(newest);
            let sources = if newest.access.limits_somebody() { newest.limit.sources } else { 0 };
            self.limiter.resize(sources, &mut self.random);
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
            Ok(Answer::Time { version }) => {
                self.tally.count_answer(version);
                Verdict::Reply(HEADER_LEN)
            }
            Ok(Answer::Kiss) => {
                self.tally.count_kod();
                Verdict::Reply(HEADER_LEN)
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
        let Datagram { peer, local, received, buf } = datagram;
        check_addresses(peer, local)?;
        let flags = self.state.access.lookup(peer);
        if flags.contains(AccessFlags::IGNORE) {
            return Err(Reason::Ignored);
        }
        let Request::Time { version, mode } = classify(buf, peer.port())? else {
            return check_control(buf, flags).map(|()| Answer::Control);
        };
        check_time(buf, version, flags)?;
        if self.clock_stepped {
            return Err(Reason::ClockStepped);
        }
        let header = buf.first_chunk_mut().ok_or(Reason::Short)?;
        if flags.contains(AccessFlags::LIMITED) {
            let limit = &self.state.limit;
            // A client of RFC 1059 would not know what a kiss is.
            let kod = flags.contains(AccessFlags::KOD) && mode == Mode::Client;
            let spent = self.state.spent_mark.is_some_and(|mark| header[field::ORIGIN] == mark);
            match self.limiter.judge(peer.ip(), received, limit, kod, spent, &mut self.random) {
                Judgement::Answer => {}
                Judgement::Kiss => {
                    let mut packet = Packet::new_checked(header)?;
                    template::apply_kiss(version, limit.kod_poll(), &mut packet);
                    return Ok(Answer::Kiss);
                }
                Judgement::Refuse => return Err(Reason::Limited),
            }
        }
        self.write_reply(header, version, received, clock).map(|()| Answer::Time { version })
    }

    /// Turns the request's header into the reply's.
    fn write_reply(
        &mut self,
        header: &mut [u8; HEADER_LEN],
        version: u8,
        received: NtpTimestamp,
        clock: &impl Clock,
    ) -> Result<(), Reason> {
        let system = &self.state.system;
        let random = self.random.u64(..);
        let mut packet = Packet::new_checked(header)?;

        let origin = packet.transmit();
        packet.set_origin(origin);

        let receive = distinct(received.fuzzed(Precision::NANOSECOND, random), origin);
        packet.set_receive(receive);

        template::apply(system, version, receive, &mut packet);

        let now = clock.now();
        if now.signed_since(received) < 0 {
            return Err(Reason::ClockStepped);
        }
        packet.set_transmit(after(now.fuzzed(system.precision, random >> 32), receive));
        Ok(())
    }
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

/// Whether this request for time may be answered.
fn check_time(request: &[u8], version: u8, flags: AccessFlags) -> Result<(), Reason> {
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
        Some(Mac::Digest { .. }) => Err(Reason::UnknownKey),
        None if flags.contains(AccessFlags::NOTRUST) => Err(Reason::NoTrust),
        None => Ok(()),
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
