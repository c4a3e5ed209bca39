//! Lists of variables into the text that ntpq reads, and that into datagrams.

use std::fmt::{self, Write};

use super::fragment::DATA_MAX;
use super::signature::Signature;
use crate::wire::{ControlHeader, LeapIndicator};

/// A line is broken before it would be as long as this.
const LINE: usize = 72;

/// A list of variables, `name=value, name=value`, in lines.
#[derive(Debug, Default)]
pub(super) struct List {
    text: String,
    line: usize,
}

impl List {
    /// Appends one variable.
    pub(super) fn push(&mut self, name: impl fmt::Display, value: impl fmt::Display) {
        let begin = self.text.len();
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{name}={value}");
        let length = self.text.len() - begin;
        if begin > 0 {
            let breaks = self.line + 1 + length + 1 >= LINE;
            self.text.insert_str(begin, if breaks { ",\r\n" } else { ", " });
            self.line = if breaks { 0 } else { self.line + 2 };
        }
        self.line += length;
    }

    /// Octets so far.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// The whole text with its end of line; nothing, if it is empty.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if !self.text.is_empty() {
            self.text.push_str("\r\n");
        }
        self.text.into_bytes()
    }
}

/// Sends `data` in as many datagrams as it takes, each under a copy of `header` and with the end that
/// `signature` deserves. Data without an octet takes
/// one.
pub(super) fn send_all(
    header: ControlHeader,
    leap: LeapIndicator,
    data: &[u8],
    signature: Signature<'_>,
    send: &mut impl FnMut(&[u8]),
) {
    let mut offset = 0;
    loop {
        let end = data.len().min(offset + DATA_MAX);
        let part = &data[offset..end];
        let more = end < data.len();
        let header = ControlHeader { more, offset: offset as u16, count: part.len() as u16, ..header };
        let mut datagram = [header.to_bytes(leap).as_slice(), part].concat();
        datagram.resize(datagram.len().next_multiple_of(4), 0);
        signature.end(&mut datagram);
        send(&datagram);
        if !more {
            return;
        }
        offset = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_where_ntpd_breaks_them() {
        // The capture m6-cl-client-ntpq-pn.
        let mut list = List::default();
        for (name, value) in [
            ("srcadr", "192.168.0.1"),
            ("srcport", "123"),
            ("dstadr", "192.168.0.2"),
            ("dstport", "123"),
            ("leap", "0"),
            ("stratum", "4"),
        ] {
            list.push(name, value);
        }
        let expected =
            "srcadr=192.168.0.1, srcport=123, dstadr=192.168.0.2, dstport=123,\r\nleap=0, stratum=4\r\n";
        assert_eq!(String::from_utf8(list.finish()).unwrap(), expected);
        assert!(List::default().finish().is_empty());
    }
}
