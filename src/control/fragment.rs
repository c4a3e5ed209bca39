//! Requests into datagrams, and the datagrams of a response together again.

use super::{ErrorCode, Opcode};
use crate::wire::{ControlHeader, LeapIndicator};

/// Octets of data in one datagram: ntpd's CTL_MAX_DATA_LEN.
pub const DATA_MAX: usize = 468;

/// Datagrams in one response: ntpq gives up beyond that.
pub const FRAGMENTS_MAX: usize = 32;

/// Octets of the header.
pub(super) const HEADER: usize = 12;

/// The version of NTP that requests carry; ntpq's own, which every server answers.
const VERSION: u8 = 2;

/// One request as a datagram, its data padded to whole words. `data` beyond [`DATA_MAX`] is cut off.
pub fn request(opcode: Opcode, sequence: u16, association: u16, data: &[u8]) -> Vec<u8> {
    let data = &data[..data.len().min(DATA_MAX)];
    let header = ControlHeader {
        version: VERSION,
        response: false,
        error: false,
        more: false,
        opcode: opcode as u8,
        sequence,
        status: 0,
        association,
        offset: 0,
        count: data.len() as u16,
    };
    let mut datagram = header.to_bytes(LeapIndicator::None).to_vec();
    datagram.extend_from_slice(data);
    datagram.resize(HEADER + data.len().next_multiple_of(4), 0);
    datagram
}

/// A whole response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status word of the system, association or clock that was asked about.
    pub status: u16,
    /// All data, in order.
    pub data: Vec<u8>,
}

/// What a datagram adds up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is not, or not only, what was waited for: there is more to come.
    Incomplete,
    /// The response is complete.
    Whole(Response),
    /// The server refuses.
    Refused(ErrorCode),
}

/// Puts the response to one request together, whatever order its datagrams come in.
#[derive(Debug)]
pub struct Assembly {
    opcode: Opcode,
    sequence: u16,
    association: u16,
    status: u16,
    /// Where each fragment begins, and its data; in order of their beginnings.
    fragments: Vec<(usize, Vec<u8>)>,
    /// Where the last one ends, once it is there.
    end: Option<usize>,
}

impl Assembly {
    /// Waits for the response to this request.
    pub fn new(opcode: Opcode, sequence: u16, association: u16) -> Self {
        Self { opcode, sequence, association, status: 0, fragments: Vec::new(), end: None }
    }

    /// Whether anything has come.
    pub fn has_begun(&self) -> bool {
        !self.fragments.is_empty()
    }

    /// Takes one datagram. What does not belong to the response is passed over: it may be an answer to an
    /// earlier request that was given up, or be forged.
    pub fn take(&mut self, datagram: &[u8]) -> Answer {
        let Ok(header) = ControlHeader::parse(datagram) else { return Answer::Incomplete };
        if !self.is_ours(datagram[0], &header) {
            return Answer::Incomplete;
        }
        if header.error {
            return Answer::Refused(ErrorCode::from_status(header.status));
        }
        let Some(data) = datagram.get(HEADER..HEADER + usize::from(header.count)) else {
            return Answer::Incomplete;
        };
        self.insert(usize::from(header.offset), data, header.more);
        self.status = header.status;
        self.whole()
    }

    fn is_ours(&self, first: u8, header: &ControlHeader) -> bool {
        first & 7 == crate::wire::Mode::Control as u8
            && header.response
            && header.opcode == self.opcode as u8
            && header.sequence == self.sequence
            && header.association == self.association
    }

    /// A fragment that is there already, or one too many, changes nothing.
    fn insert(&mut self, offset: usize, data: &[u8], more: bool) {
        let Err(place) = self.fragments.binary_search_by_key(&offset, |(begin, _)| *begin) else { return };
        if self.fragments.len() >= FRAGMENTS_MAX {
            return;
        }
        self.fragments.insert(place, (offset, data.to_vec()));
        if !more {
            self.end = Some(offset + data.len());
        }
    }

    fn whole(&self) -> Answer {
        let Some(end) = self.end else { return Answer::Incomplete };
        let mut data = Vec::with_capacity(end);
        for (begin, fragment) in &self.fragments {
            if *begin != data.len() {
                return Answer::Incomplete;
            }
            data.extend_from_slice(fragment);
        }
        if data.len() != end {
            return Answer::Incomplete;
        }
        Answer::Whole(Response { status: self.status, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEQUENCE: u16 = 7;
    const ASSOCIATION: u16 = 33_344;

    fn fragment(offset: u16, data: &[u8], more: bool) -> Vec<u8> {
        let header = ControlHeader {
            version: 2,
            response: true,
            error: false,
            more,
            opcode: Opcode::ReadVariables as u8,
            sequence: SEQUENCE,
            status: 0x961A,
            association: ASSOCIATION,
            offset,
            count: data.len() as u16,
        };
        let mut bytes = header.to_bytes(LeapIndicator::None).to_vec();
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn assembly() -> Assembly {
        Assembly::new(Opcode::ReadVariables, SEQUENCE, ASSOCIATION)
    }

    fn whole(data: &[u8]) -> Answer {
        Answer::Whole(Response { status: 0x961A, data: data.to_vec() })
    }

    #[test]
    fn a_request_looks_as_ntpq_sends_it() {
        // m6-cl-errors: READVAR of association 0 for "stratum".
        let bytes = request(Opcode::ReadVariables, 0x68, 0, b"stratum");
        assert_eq!(bytes, *b"\x16\x02\x00\x68\x00\x00\x00\x00\x00\x00\x00\x07stratum\x00");
    }

    #[test]
    fn fragments_come_in_any_order_and_twice() {
        let (first, second, third) =
            (fragment(0, b"leap=", true), fragment(5, b"0, str", true), fragment(11, b"atum=4", false));
        let mut assembly = assembly();
        for part in [&third, &first, &first, &third] {
            assert_eq!(assembly.take(part), Answer::Incomplete);
        }
        assert_eq!(assembly.take(&second), whole(b"leap=0, stratum=4"));
    }

    #[test]
    fn what_is_not_ours_is_passed_over() {
        let good = fragment(0, b"leap=0", false);
        // Not a response, another opcode, sequence, association, mode; data cut short.
        for (at, bits) in [(1, 0x80), (1, 0x01), (3, 0x01), (7, 0x01), (0, 0x01)] {
            let mut bad = good.clone();
            bad[at] ^= bits;
            assert_eq!(assembly().take(&bad), Answer::Incomplete, "octet {at} ^= {bits:#x}");
        }
        assert_eq!(assembly().take(&good[..good.len() - 4]), Answer::Incomplete);
        assert_eq!(assembly().take(&[]), Answer::Incomplete);
        assert_eq!(assembly().take(&good), whole(b"leap=0"));
    }

    #[test]
    fn holes_and_overlaps_never_make_a_whole() {
        let mut overlap = assembly();
        assert_eq!(overlap.take(&fragment(0, b"abcdef", true)), Answer::Incomplete);
        assert_eq!(overlap.take(&fragment(4, b"efgh", false)), Answer::Incomplete);
        let mut endless = assembly();
        for at in 0..2 * FRAGMENTS_MAX as u16 {
            assert_eq!(endless.take(&fragment(at, b"a", true)), Answer::Incomplete);
        }
        assert_eq!(endless.fragments.len(), FRAGMENTS_MAX);
    }

    #[test]
    fn a_refusal_has_a_code() {
        let mut refusal = fragment(0, b"", false);
        refusal[1] |= 0x40;
        refusal[4] = 5;
        assert_eq!(assembly().take(&refusal), Answer::Refused(ErrorCode::UnknownVariable));
    }
}
