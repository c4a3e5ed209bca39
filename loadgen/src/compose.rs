//! Requests, octet by octet.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ntpring::wire::{HEADER_LEN, LeapIndicator, Mode, NtpTimestamp, Packet, field};

use crate::keys::{Key, MAC_MAX};
use crate::mix::{Kind, Mix};
use crate::pcap::PAYLOAD_MAX;

/// What requests are made of.
#[derive(Clone, Debug)]
pub(crate) enum Supply {
    /// Kinds at random.
    Mix(Mix),
    /// Captured ones, again and again in their order.
    Replay(Arc<[Captured]>),
}

/// A captured request.
#[derive(Clone, Debug)]
pub(crate) struct Captured {
    kind: Kind,
    payload: Box<[u8]>,
}

/// What one request has to say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    /// The random number by which its reply is known; its transmit timestamp, where it has one.
    pub(crate) cookie: u64,
    /// The number by which a control response is known.
    pub(crate) sequence: u16,
    /// The receive timestamp of the reply before to the same client, 0 if there is none.
    pub(crate) met: u64,
}

/// Makes the requests of one thread.
#[derive(Debug)]
pub(crate) struct Composer {
    supply: Supply,
    /// The next captured request.
    next: usize,
    key: Option<Key>,
    random: fastrand::Rng,
    /// The second in which it began, for clients that tell their time.
    seconds: i64,
    buffer: [u8; PAYLOAD_MAX],
}

/// Every request fits the smallest IPv6 MTU: 1280 less 48 octets of IPv6 and UDP headers.
const OVERSIZED_MAX: usize = 1232;
/// From here on what follows the header cannot be taken for a MAC.
const OVERSIZED_MIN: usize = 76;
const GARBAGE_MAX: usize = 512;
/// RFC 7822 §7.5.1.4: "the length of the last extension field MUST be at least 28 octets" without a MAC.
const LAST_FIELD: usize = 28;
const FIELD: usize = 16;
const CONTROL_LEN: usize = 12;
const PRIVATE_LEN: usize = 8;

impl Supply {
    /// The longest request there can be.
    pub(crate) fn longest(&self) -> usize {
        let of_kind = |kind| match kind {
            Kind::Oversized => OVERSIZED_MAX,
            Kind::Garbage => GARBAGE_MAX,
            Kind::Ef => HEADER_LEN + FIELD + LAST_FIELD,
            Kind::Mac => HEADER_LEN + MAC_MAX,
            _ => HEADER_LEN,
        };
        match self {
            Self::Mix(mix) => mix.kinds().map(of_kind).max().unwrap_or(HEADER_LEN),
            Self::Replay(all) => all.iter().map(|one| one.payload.len()).max().unwrap_or(0),
        }
    }

    /// Whether a request of this kind can occur.
    pub(crate) fn has(&self, wanted: impl Fn(Kind) -> bool) -> bool {
        match self {
            Self::Mix(mix) => mix.kinds().any(wanted),
            Self::Replay(all) => all.iter().any(|captured| wanted(captured.kind)),
        }
    }
}

impl Captured {
    /// A captured payload; what it is tells how its reply is judged.
    pub(crate) fn new(payload: Box<[u8]>) -> Self {
        Self { kind: kind_of(&payload), payload }
    }
}

/// A code or an authenticator in a captured request does not hold for the new transmit timestamp, so that
/// whatever follows the header makes it [`Kind::Other`].
fn kind_of(payload: &[u8]) -> Kind {
    let Some(&first) = payload.first() else { return Kind::Truncated };
    match (Mode::from_first_octet(first), first >> 3 & 7) {
        (Mode::Control, 1..=4) if payload.len() >= CONTROL_LEN => Kind::Mode6,
        (Mode::Private, _) => Kind::Mode7,
        _ if payload.len() < HEADER_LEN => Kind::Truncated,
        _ if payload.len() > HEADER_LEN => Kind::Other,
        (Mode::Client, 1) => Kind::V1,
        (Mode::Client, 2) => Kind::V2,
        (Mode::Client, 3) => Kind::V3,
        (Mode::Client, 4) => Kind::V4,
        _ => Kind::Other,
    }
}

/// One plain request of version 4, to find out whether anybody answers.
pub(crate) fn probe(cookie: u64) -> Vec<u8> {
    let mut composer = Composer::new(Supply::Mix(Mix::only(Kind::V4)), None, fastrand::Rng::new());
    let (_, request) = composer.compose(Ticket { cookie, sequence: 0, met: 0 });
    request.to_vec()
}

impl Composer {
    /// One that takes from `supply`, and signs with `key`.
    pub(crate) fn new(supply: Supply, key: Option<Key>, random: fastrand::Rng) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = now.as_secs().cast_signed();
        Self { supply, next: 0, key, random, seconds, buffer: [0; PAYLOAD_MAX] }
    }

    /// The next request.
    #[inline]
    pub(crate) fn compose(&mut self, ticket: Ticket) -> (Kind, &[u8]) {
        let (kind, length) = match &self.supply {
            Supply::Mix(mix) => {
                let kind = mix.pick(&mut self.random);
                (kind, self.write(kind, ticket))
            }
            Supply::Replay(all) => {
                let Captured { kind, payload } = &all[self.next];
                let (kind, length) = (*kind, payload.len());
                self.buffer[..length].copy_from_slice(payload);
                self.next = (self.next + 1) % all.len();
                match kind {
                    Kind::Mode6 => self.number(ticket),
                    _ => self.stamp(ticket),
                }
                (kind, length)
            }
        };
        (kind, &self.buffer[..length])
    }

    fn write(&mut self, kind: Kind, ticket: Ticket) -> usize {
        self.header(kind, ticket);
        match kind {
            Kind::Mode6 => self.control(ticket),
            Kind::Mode7 => self.private(),
            Kind::Truncated => self.random.usize(..HEADER_LEN),
            Kind::Oversized => {
                let length = self.random.usize(OVERSIZED_MIN..=OVERSIZED_MAX);
                // Zeros are a field of type 0 and length 0, which no field has.
                self.buffer[HEADER_LEN..length].fill(0);
                length
            }
            Kind::Garbage => self.garbage(ticket),
            Kind::Ef => self.fields(),
            Kind::Mac => match &self.key {
                Some(key) => key.sign(&mut self.buffer, HEADER_LEN).unwrap_or(HEADER_LEN),
                None => HEADER_LEN,
            },
            _ => HEADER_LEN,
        }
    }

    /// A client's header. The transmit timestamp is the cookie in all of them: it must be random, and nobody
    /// but the client knows what it means (RFC 5905 §7.3; draft-ietf-ntp-data-minimization).
    fn header(&mut self, kind: Kind, ticket: Ticket) {
        let Some(header) = self.buffer.first_chunk_mut::<HEADER_LEN>() else { return };
        header.fill(0);
        let Ok(mut packet) = Packet::new_checked(&mut header[..]) else { return };
        let mode = if kind == Kind::Mode1 { Mode::SymmetricActive } else { Mode::Client };
        packet.set_first(LeapIndicator::None, kind.version().unwrap_or(4), mode);
        packet.set_transmit(NtpTimestamp::from_bits(ticket.cookie));
        match kind {
            Kind::Interleaved => {
                packet.set_origin(NtpTimestamp::from_bits(ticket.met));
                // It comes back as origin if the reply is interleaved, and finds the same request.
                packet.set_receive(NtpTimestamp::from_bits(!ticket.cookie));
            }
            Kind::Minimised => {
                packet.set_poll(6);
                header[field::PRECISION] = 32;
            }
            Kind::Ntpd | Kind::Mode1 => self.all_fields(),
            _ => {}
        }
    }

    /// What a client of stratum 3 tells about itself.
    fn all_fields(&mut self) {
        let draw = self.random.u64(..);
        let [poll, delay, dispersion, ..] = draw.to_be_bytes();
        let ago = i64::from(draw as u8);
        let stamp = |seconds: i64| NtpTimestamp::from_unix(seconds, (draw >> 34) as u32 % 1_000_000_000);
        let reference = stamp(self.seconds - 300 - ago).to_bits().to_be_bytes();
        let origin = stamp(self.seconds - 64 - ago).to_bits().to_be_bytes();
        let receive = stamp(self.seconds - 63 - ago).to_bits().to_be_bytes();
        let fields: [(usize, &[u8]); 7] = [
            (field::STRATUM, &[3, 6 + poll % 5, 0xE8]),
            // Up to 16 ms in units of 15 µs.
            (field::ROOT_DELAY.start, &[0, 0, delay >> 2, delay]),
            (field::ROOT_DISPERSION.start, &[0, 0, dispersion >> 2, dispersion]),
            (field::REFERENCE_ID.start, &[192, 0, 2, 1]),
            (field::REFERENCE.start, &reference),
            (field::ORIGIN.start, &origin),
            (field::RECEIVE.start, &receive),
        ];
        for (at, octets) in fields {
            self.buffer[at..at + octets.len()].copy_from_slice(octets);
        }
    }

    /// RFC 9327: read the system variables; version 2, as ntpq asks.
    fn control(&mut self, ticket: Ticket) -> usize {
        self.buffer[..CONTROL_LEN].fill(0);
        self.buffer[..2].copy_from_slice(&[2 << 3 | 6, 2]);
        self.number(ticket);
        CONTROL_LEN
    }

    /// MON_GETLIST_1 of ntpd's old private mode, as ntpdc asked, and scanners still ask.
    fn private(&mut self) -> usize {
        self.buffer[..PRIVATE_LEN].copy_from_slice(&[2 << 3 | 7, 0, 3, 42, 0, 0, 0, 0]);
        PRIVATE_LEN
    }

    fn garbage(&mut self, ticket: Ticket) -> usize {
        let length = self.random.usize(1..=GARBAGE_MAX);
        self.random.fill(&mut self.buffer[..length]);
        // Mode 2, 4 or 5, whose receivers know who sends, or a version that does not exist yet or any more.
        let first = self.buffer[0] & 0xC0;
        let modes = [4 << 3 | 2, 4 << 3 | 4, 3 << 3 | 5, 3, 6 << 3 | 3, 7 << 3 | 3];
        self.buffer[0] = first | modes[self.random.usize(..modes.len())];
        self.stamp(ticket);
        length
    }

    /// One or two fields of types for experiments (RFC 7822 leaves 0xF000 to 0xFFFF to them).
    fn fields(&mut self) -> usize {
        let mut at = HEADER_LEN;
        let lengths: &[usize] = if self.random.bool() { &[LAST_FIELD] } else { &[FIELD, LAST_FIELD] };
        for &length in lengths {
            self.random.fill(&mut self.buffer[at..at + length]);
            self.buffer[at] |= 0xF0;
            self.buffer[at + 2..at + 4].copy_from_slice(&(length as u16).to_be_bytes());
            at += length;
        }
        at
    }

    fn number(&mut self, ticket: Ticket) {
        self.buffer[2..4].copy_from_slice(&ticket.sequence.to_be_bytes());
    }

    fn stamp(&mut self, ticket: Ticket) {
        self.buffer[field::TRANSMIT].copy_from_slice(&ticket.cookie.to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
