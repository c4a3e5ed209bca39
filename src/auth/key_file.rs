//! ntp.keys: `ID TYPE KEY [HOSTS]`, one key a line, as ntpd, ntpsec and chrony have it.

use std::collections::BTreeMap;

use super::host::Network;
use super::keys::{Key, KeyTable};
use super::symmetric::Kind;

/// A longer key is written in hexadecimal digits.
const TEXT_MAX: usize = 20;
/// Octets of the longest key: what ntpd has room for.
const KEY_MAX: usize = 32;

/// Something to tell about a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, the first is 1.
    pub line: u32,
    /// The octet in it, the first is 1.
    pub column: u32,
    /// Whether the line is skipped.
    pub is_skipped: bool,
    /// What is wrong.
    pub text: String,
}

/// Reads the keys that are trusted; every line is checked, and `report` hears what is wrong with it.
pub fn read(text: &[u8], is_trusted: impl Fn(u16) -> bool, report: &mut dyn FnMut(Fault)) -> KeyTable {
    let mut keys = BTreeMap::new();
    let mut lines_of = BTreeMap::new();
    for (line, bytes) in (1..).zip(text.split(|octet| *octet == b'\n')) {
        let words = words(bytes);
        let mut warn = |column, text| report(Fault { line, column, is_skipped: false, text });
        match key(&words, &mut warn) {
            Ok(None) => {}
            Ok(Some(key)) => {
                if let Some(earlier) = lines_of.insert(key.id(), line) {
                    warn(words[0].0, format!("key {} replaces the one of line {earlier}", key.id()));
                }
                if is_trusted(key.id()) {
                    keys.insert(key.id(), key);
                }
            }
            Err((column, text)) => report(Fault { line, column, is_skipped: true, text }),
        }
    }
    KeyTable::new(keys.into_values())
}

/// A word and its column.
type Word<'t> = (u32, &'t [u8]);

/// The first words of a line, up to a `#`; one more than a line may have.
fn words(line: &[u8]) -> Vec<Word<'_>> {
    const WORDS: usize = 5;
    let code = line.split(|octet| *octet == b'#').next().unwrap_or_default();
    let pieces = code.split(u8::is_ascii_whitespace).scan(1_usize, |next, word| {
        let column = *next;
        *next += word.len() + 1;
        Some((u32::try_from(column).unwrap_or(u32::MAX), word))
    });
    pieces.filter(|(_, word)| !word.is_empty()).take(WORDS).collect()
}

/// The key of a line, if there is one on it.
fn key(words: &[Word<'_>], warn: &mut impl FnMut(u32, String)) -> Result<Option<Key>, (u32, String)> {
    let (id, kind, secret, hosts) = match *words {
        [] => return Ok(None),
        [(column, _)] | [_, (column, _)] => return Err((column, "expected ID TYPE KEY".to_owned())),
        [id, kind, secret] => (id, kind, secret, None),
        [id, kind, secret, hosts] => (id, kind, secret, Some(hosts)),
        [_, _, _, _, (column, _), ..] => return Err((column, "nothing is expected here".to_owned())),
    };
    let id = match text(id.1).and_then(|id| id.parse().ok()) {
        Some(id @ 1..) => id,
        _ => return Err((id.0, format!("{} is no key id from 1 to 65535", show(id.1)))),
    };
    let name = show(kind.1);
    let kind = text(kind.1)
        .and_then(Kind::find)
        .ok_or_else(|| (kind.0, format!("key type {name} is not known; known are {}", Kind::shown())))?;
    let octets = octets(secret.1).map_err(|text| (secret.0, text))?;
    if let Some(length) = kind.key_length.filter(|length| *length != octets.len()) {
        let made = if octets.len() < length { "is filled with zeros" } else { "is cut" };
        let given = octets.len();
        warn(secret.0, format!("{name} takes a key of {length} octets: this one of {given} {made}"));
    }
    let hosts = hosts.map(|(column, hosts)| {
        networks(hosts).ok_or_else(|| (column, format!("{} is no list of addresses", show(hosts))))
    });
    Ok(Some(Key { id, keyed: kind.keyed(&octets), hosts: hosts.transpose()? }))
}

fn text(word: &[u8]) -> Option<&str> {
    std::str::from_utf8(word).ok()
}

/// A word for a message; never the one in the place of the key.
fn show(word: &[u8]) -> String {
    const LONGEST: usize = 40;
    let shown: String = String::from_utf8_lossy(word).chars().take(LONGEST).collect();
    format!("{shown:?}")
}

/// A key of up to 20 characters is these characters, a longer one is hexadecimal digits. chrony's prefixes
/// say which it is.
fn octets(word: &[u8]) -> Result<Vec<u8>, String> {
    let (octets, what) = match (word.strip_prefix(b"ASCII:"), word.strip_prefix(b"HEX:")) {
        (Some(text), _) => (Some(text.to_vec()), ""),
        (_, Some(digits)) => (from_hex(digits), "\"HEX:\""),
        _ if word.len() > TEXT_MAX => (from_hex(word), "a key of more than 20 characters"),
        _ => (Some(word.to_vec()), ""),
    };
    match octets.as_deref() {
        None => Err(format!("{what} must be an even number of hexadecimal digits")),
        Some([]) => Err("the key is empty".to_owned()),
        Some(octets) if octets.len() > KEY_MAX => {
            Err(format!("the key has {} octets, more than {KEY_MAX}", octets.len()))
        }
        Some(octets) => Ok(octets.to_vec()),
    }
}

fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |octet: &u8| char::from(*octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        })
        .collect()
}

/// Addresses and networks, separated by commas.
fn networks(word: &[u8]) -> Option<Box<[Network]>> {
    text(word)?.split(',').map(Network::parse).collect()
}

#[cfg(test)]
mod tests;
