//! The leap second table of IERS and NIST, `leap-seconds.list`: what a `leapfile` line names.
//!
//! ```text
//! #$  3945196800                        when it was last changed, in seconds since 1900
//! #@  3991593600                        until when it holds
//! 2272060800  10  # 1 Jan 1972          from then on TAI − UTC is so many seconds
//! #h  848434d5 570f7ea8 …               SHA-1 of all these digits, in this order
//! ```

use sha1::{Digest, Sha1};

/// Seconds from 1900-01-01 to 1970-01-01.
const ERA_TO_UNIX: i64 = 2_208_988_800;

/// A table that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeapTable {
    /// From when on, in seconds since 1970, TAI − UTC is so many seconds; ascending, never empty.
    offsets: Vec<(i64, i32)>,
    /// From when on it says nothing any more, in seconds since 1970.
    expires: i64,
}

/// A leap second: the first second after it, and whether it is one more or one less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeapChange {
    /// Midnight UTC, in seconds since 1970.
    pub at: i64,
    /// Whether a second is inserted; else one is left out.
    pub insert: bool,
}

/// Why a table cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeapTableError {
    /// A line that is neither comment nor entry, or not later than the one before it.
    #[error("line {0} is no leap second")]
    Line(usize),
    /// No entry, or no line that says until when they hold.
    #[error("no leap second table: fetch leap-seconds.list from IERS")]
    Incomplete,
    /// Bits have changed since it was published, or it was edited by hand.
    #[error("its hash line does not fit: fetch it again, or say `leapfile PATH ignorehash`")]
    Hash,
}

impl LeapTable {
    /// Reads a table; its hash must be there and right if `check_hash` says so.
    ///
    /// # Errors
    /// [`LeapTableError`] for anything but a whole table.
    pub fn parse(text: &str, check_hash: bool) -> Result<Self, LeapTableError> {
        let mut table = Self { offsets: Vec::new(), expires: 0 };
        let (mut hashed, mut hash) = (Sha1::new(), None);
        for (number, line) in (1..).zip(text.lines()) {
            let special =
                |mark: &str| line.strip_prefix(mark).and_then(|rest| rest.split_whitespace().next());
            if let Some(rest) = line.strip_prefix("#h") {
                hash = Some(rest.split_whitespace().map(word).collect::<Option<Vec<u32>>>());
            } else if let Some(digits) = special("#$") {
                hashed.update(digits);
            } else if let Some(digits) = special("#@") {
                hashed.update(digits);
                table.expires =
                    digits.parse::<i64>().map_err(|_| LeapTableError::Line(number))? - ERA_TO_UNIX;
            } else if let Some((at, offset)) = entry(line, number)? {
                hashed.update(at);
                hashed.update(offset);
                table.push(at, offset).ok_or(LeapTableError::Line(number))?;
            }
        }
        if table.offsets.is_empty() || table.expires == 0 {
            return Err(LeapTableError::Incomplete);
        }
        let computed: Vec<u32> = hashed
            .finalize()
            .chunks_exact(4)
            .map(|octets| octets.iter().fold(0, |word, octet| word << 8 | u32::from(*octet)))
            .collect();
        match hash.flatten() {
            _ if !check_hash => Ok(table),
            Some(hash) if hash == computed => Ok(table),
            _ => Err(LeapTableError::Hash),
        }
    }

    /// The next leap second after `now`, in seconds since 1970; if there is none, the last one.
    pub fn next(&self, now: i64) -> Option<LeapChange> {
        let mut changes =
            self.offsets.windows(2).map(|pair| LeapChange { at: pair[1].0, insert: pair[1].1 > pair[0].1 });
        changes.clone().find(|change| change.at > now).or(changes.next_back())
    }

    /// TAI − UTC at `now`, in seconds.
    pub fn tai_offset(&self, now: i64) -> Option<i32> {
        self.offsets.iter().rev().find(|(from, _)| *from <= now).map(|(_, offset)| *offset)
    }

    /// From when on it says nothing any more, in seconds since 1970.
    pub fn expires(&self) -> i64 {
        self.expires
    }

    fn push(&mut self, at: &str, offset: &str) -> Option<()> {
        let (at, offset) = (at.parse::<i64>().ok()? - ERA_TO_UNIX, offset.parse().ok()?);
        if self.offsets.last().is_some_and(|(last, _)| *last >= at) {
            return None;
        }
        self.offsets.push((at, offset));
        Some(())
    }
}

/// The two numbers of a line; `None` for a comment.
fn entry(line: &str, number: usize) -> Result<Option<(&str, &str)>, LeapTableError> {
    let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (None, ..) => Ok(None),
        (Some(at), Some(offset), None) => Ok(Some((at, offset))),
        _ => Err(LeapTableError::Line(number)),
    }
}

/// One of the five words of a hash, whose leading zeros may be missing.
fn word(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 Jan 2017, the last one so far.
    const LAST: i64 = 1_483_228_800;

    /// The last three entries of the table that was published in January 2024, with the hash of just these.
    const TABLE: &str = "\
#	Updated through IERS Bulletin C
#$	3913697179
#@	3928521600
3550089600	35	# 1 Jul 2012
3644697600	36	# 1 Jul 2015
3692217600	37	# 1 Jan 2017
";

    fn with_hash(table: &str) -> String {
        let digits: String = table
            .lines()
            .filter_map(|line| match line.get(..2) {
                Some("#$" | "#@") => line.split_whitespace().nth(1).map(str::to_owned),
                _ if line.starts_with('#') => None,
                _ => Some(line.split('#').next()?.split_whitespace().collect()),
            })
            .collect();
        let hash = Sha1::digest(digits);
        let words: Vec<String> = hash
            .chunks_exact(4)
            .map(|octets| format!("{:x}", u32::from_be_bytes(octets.try_into().expect("four octets"))))
            .collect();
        format!("{table}#h {}\n", words.join(" "))
    }

    #[test]
    fn the_next_leap_second_is_found_and_else_the_last() {
        let table = LeapTable::parse(&with_hash(TABLE), true).unwrap();
        assert_eq!(table.next(LAST - 1), Some(LeapChange { at: LAST, insert: true }));
        assert_eq!(table.next(LAST), Some(LeapChange { at: LAST, insert: true }));
        assert_eq!((table.tai_offset(LAST - 1), table.tai_offset(LAST)), (Some(36), Some(37)));
        assert_eq!(table.tai_offset(0), None);
        assert_eq!(table.expires(), 1_719_532_800);
        let negative = TABLE.replace("3692217600	37", "3692217600	35");
        let table = LeapTable::parse(&negative, false).unwrap();
        assert_eq!(table.next(LAST - 1), Some(LeapChange { at: LAST, insert: false }));
    }

    #[test]
    fn the_published_hash_of_a_whole_table_fits() {
        let table = include_str!("../../tests/data/leap-seconds.list");
        let table = LeapTable::parse(table, true).unwrap();
        assert_eq!(table.offsets.len(), 28);
        assert_eq!(table.next(0).map(|change| change.at), Some(78_796_800));
    }

    #[test]
    fn l2_a_table_that_was_changed_is_refused() {
        let good = with_hash(TABLE);
        for (bad, error) in [
            (good.replace("	36	", "	38	"), LeapTableError::Hash),
            (TABLE.to_owned(), LeapTableError::Hash),
            (good.replace("#@", "#?"), LeapTableError::Incomplete),
            (String::new(), LeapTableError::Incomplete),
            ("garbage\n".to_owned(), LeapTableError::Line(1)),
            (good.replace("3692217600", "3592217600"), LeapTableError::Line(6)),
            (good.replace("	37	", "	x	"), LeapTableError::Line(6)),
        ] {
            assert_eq!(LeapTable::parse(&bad, true), Err(error), "{bad}");
        }
    }
}
