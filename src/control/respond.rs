//! One control message, and what is answered to it: all of RFC 9327 that reads, nothing that writes.

use std::net::SocketAddr;

use super::budget::Budget;
use super::fragment::{DATA_MAX, HEADER};
use super::mru::Question;
use super::nonce::Nonces;
use super::ordered;
use super::peer::Dialect;
use super::signature::Signature;
use super::status::ErrorCode;
use super::view::View;
use super::writer::{self, List};
use super::{Opcode, peer, system};
use crate::wire::{ControlHeader, LeapIndicator, Mode};

/// Answers control messages. It remembers nobody, but how much was said to whom.
#[derive(Debug)]
pub struct Responder {
    nonces: Nonces,
    budget: Budget,
}

/// A control message that `restrict` has let through.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub client: SocketAddr,
    /// The UDP payload.
    pub payload: &'a [u8],
    /// Whether its address may read the list of clients: not with `nomrulist`.
    pub may_list_clients: bool,
    /// What its end proves.
    pub signature: Signature<'a>,
    /// The key that lists of this machine's own are told to.
    pub control_key: Option<u16>,
}

impl Request<'_> {
    /// Whether it asks for a list of this machine's own, and may have it.
    pub fn deserves_ordered_list(&self) -> bool {
        let opcode = header(self.payload).map(|header| header.opcode);
        opcode == Some(Opcode::ReadOrderedList as u8) && self.signature.is_by(self.control_key)
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered, with so many datagrams.
    Answered(usize),
    /// It was refused, with an error code.
    Refused,
    /// It deserves silence: it is no request, or proves nothing.
    Silence,
    /// Its answer would be more than its address may be told now.
    OverBudget,
}

/// Data, or a reason why there is none, under a status word.
enum Reply {
    Data(u16, Vec<u8>),
    Error(ErrorCode),
    Nothing,
}

impl Responder {
    /// `secret` is random, and known to nobody else.
    pub fn new(secret: [u8; 16]) -> Self {
        Self { nonces: Nonces::new(secret), budget: Budget::new() }
    }

    /// Answers one message; each datagram of the answer goes to `send`.
    pub fn respond(&mut self, request: Request<'_>, view: &View<'_>, mut send: impl FnMut(&[u8])) -> Outcome {
        let Some(header) = header(request.payload) else { return Outcome::Silence };
        let reply = match data(request.payload, &header) {
            Some(data) => self.reply(&request, &header, data, view),
            None => Reply::Error(ErrorCode::BadFormat),
        };
        let (status, error, data, outcome) = match reply {
            Reply::Data(status, data) => (status, false, data, Outcome::Answered(0)),
            Reply::Error(code) => (code.status(), true, Vec::new(), Outcome::Refused),
            Reply::Nothing => return Outcome::Silence,
        };
        let datagrams = data.len().div_ceil(DATA_MAX).max(1);
        let octets = data.len() + datagrams * (HEADER + request.signature.room());
        if !self.budget.spend(request.client.ip(), octets, view.now) {
            return Outcome::OverBudget;
        }
        let header = ControlHeader { response: true, error, status, ..header };
        let mut sent = 0;
        writer::send_all(header, view.system.leap, &data, request.signature, &mut |datagram: &[u8]| {
            sent += 1;
            send(datagram);
        });
        if outcome == Outcome::Answered(0) { Outcome::Answered(sent) } else { outcome }
    }

    fn reply(&self, request: &Request<'_>, header: &ControlHeader, data: &[u8], view: &View<'_>) -> Reply {
        // ntpd's answer to an opcode of zero: a status word and nothing else.
        if header.opcode == 0 {
            return Reply::Data(system::status(view), Vec::new());
        }
        match Opcode::from_bits(header.opcode) {
            Some(Opcode::ReadStatus) => read_status(header.association, view, dialect(request.payload)),
            Some(Opcode::ReadVariables) => {
                read_variables(header.association, data, view, dialect(request.payload))
            }
            Some(Opcode::ReadClock) => read_clock(header.association, data, view),
            Some(Opcode::RequestNonce) => {
                let mut list = List::default();
                list.push("nonce", self.nonces.make(request.client, view.now));
                Reply::Data(0, list.finish())
            }
            Some(Opcode::ReadMru) => self.read_mru(request, data, view),
            Some(Opcode::ReadOrderedList) if request.deserves_ordered_list() => {
                ordered::read(data, view.lists)
                    .map_or(Reply::Error(ErrorCode::UnknownVariable), |data| Reply::Data(0, data))
            }
            // What writes is never done, and lists of the machine's own are for those with its key.
            Some(
                Opcode::WriteVariables
                | Opcode::WriteClock
                | Opcode::SetTrap
                | Opcode::Configure
                | Opcode::SaveConfiguration
                | Opcode::ReadOrderedList
                | Opcode::UnsetTrap,
            ) => Reply::Error(ErrorCode::Permission),
            None => Reply::Error(ErrorCode::BadOpcode),
        }
    }

    fn read_mru(&self, request: &Request<'_>, data: &[u8], view: &View<'_>) -> Reply {
        if !request.may_list_clients {
            return Reply::Error(ErrorCode::Permission);
        }
        let Some(question) = Question::parse(data) else { return Reply::Error(ErrorCode::BadValue) };
        // Silence: whoever forges an address gets nothing sent there.
        if !self.nonces.is_good(&question.nonce, request.client, view.now) {
            return Reply::Nothing;
        }
        Reply::Data(0, question.answer(view, self.nonces.make(request.client, view.now)))
    }
}

/// The header of what may be answered. What is no request gets silence, or two servers could be made to
/// answer each other; so do versions that nobody speaks.
fn header(payload: &[u8]) -> Option<ControlHeader> {
    let header = ControlHeader::parse(payload).ok()?;
    let is_control = Mode::from_first_octet(payload[0]) == Mode::Control;
    (is_control && header.is_request() && (1..=4).contains(&header.version)).then_some(header)
}

/// ntpsec's ntpq sets both leap bits in what it asks, the classic's none.
fn dialect(payload: &[u8]) -> Dialect {
    match payload.first().map(|first| LeapIndicator::from_first_octet(*first)) {
        Some(LeapIndicator::Unsynchronised) => Dialect::Ntpsec,
        _ => Dialect::Classic,
    }
}

/// The request's data: `None` if it is shorter than it says, or its length is no multiple of four. What
/// stands behind it does not matter; ntpstat sends a lot.
fn data<'a>(payload: &'a [u8], header: &ControlHeader) -> Option<&'a [u8]> {
    let is_aligned = payload.len().is_multiple_of(4);
    payload.get(HEADER..HEADER + usize::from(header.count)).filter(|_| is_aligned)
}

/// For the system all associations, each with its status word; for one of them, its variables.
fn read_status(association: u16, view: &View<'_>, dialect: Dialect) -> Reply {
    if association != 0 {
        return read_variables(association, &[], view, dialect);
    }
    let pair = |id: u16, status: u16| [id.to_be_bytes(), status.to_be_bytes()].concat();
    let pairs = view.associations.iter().flat_map(|found| pair(found.id, peer::status(found))).collect();
    Reply::Data(system::status(view), pairs)
}

fn read_variables(association: u16, data: &[u8], view: &View<'_>, dialect: Dialect) -> Reply {
    let Some(names) = names(data) else { return Reply::Error(ErrorCode::UnknownVariable) };
    if association == 0 {
        return listed(system::status(view), system::read(view, &names));
    }
    match view.association(association) {
        Some(found) => listed(peer::status(found), peer::read(view, found, &names, dialect)),
        None => Reply::Error(ErrorCode::BadAssociation),
    }
}

/// Of the association that is named; of the first reference clock, if none is.
fn read_clock(association: u16, data: &[u8], view: &View<'_>) -> Reply {
    let Some(names) = names(data) else { return Reply::Error(ErrorCode::UnknownVariable) };
    let is_clock = |kind| kind == crate::snapshot::AssociationKind::LocalClock;
    let found = match association {
        0 => view.associations.iter().find(|found| is_clock(found.kind)),
        id => view.association(id).filter(|found| is_clock(found.kind)),
    };
    match found {
        Some(found) => listed(0, peer::read_clock(found, &names)),
        None => Reply::Error(ErrorCode::BadAssociation),
    }
}

fn listed(status: u16, variables: Option<Vec<(&'static str, String)>>) -> Reply {
    let Some(variables) = variables else { return Reply::Error(ErrorCode::UnknownVariable) };
    let mut list = List::default();
    for (name, value) in variables {
        list.push(name, value);
    }
    Reply::Data(status, list.finish())
}

/// The names in a request, each up to its comma or to the value that may follow it; `None` if they are no
/// text. As with ntpd, blanks in front of a name are passed over, and one behind it belongs to it: that makes
/// it unknown.
fn names(data: &[u8]) -> Option<Vec<&str>> {
    let text = std::str::from_utf8(data).ok()?.trim_end_matches('\0');
    Some(
        text.split(',')
            .map(|item| item.split_once('=').map_or(item, |(name, _)| name).trim_ascii_start())
            .filter(|name| !name.is_empty())
            .collect(),
    )
}
