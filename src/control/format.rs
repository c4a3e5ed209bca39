//! Values as ntpd writes them.

use std::net::Ipv4Addr;

use crate::wire::{NtpShort, NtpTimestamp, ReferenceId};

/// `0xSSSSSSSS.FFFFFFFF`.
pub(super) fn stamp(stamp: NtpTimestamp) -> String {
    let bits = stamp.to_bits();
    format!("0x{:08x}.{:08x}", bits >> 32, bits & 0xFFFF_FFFF)
}

/// Seconds as milliseconds with three decimals.
pub(super) fn milliseconds(seconds: f64) -> String {
    format!("{:.3}", seconds * 1e3)
}

/// Seconds as milliseconds with six decimals.
pub(super) fn milliseconds6(seconds: f64) -> String {
    format!("{:.6}", seconds * 1e3)
}

/// The same, of a root delay or root dispersion.
pub(super) fn seconds16(short: NtpShort) -> String {
    milliseconds(f64::from(short.to_bits()) / 65_536.0)
}

/// Text in quotation marks, of which it must hold none.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "'"))
}

/// 1 or 0.
pub(super) fn boolean(is: bool) -> u8 {
    u8::from(is)
}

/// RFC 5905 §7.3: four characters at stratum 0, 1 and "unsynchronised", an address or the hash of one
/// between.
pub(super) fn refid(id: ReferenceId, stratum: u8) -> String {
    match stratum {
        2..=15 => Ipv4Addr::from(id.octets()).to_string(),
        _ => name(id),
    }
}

/// The characters of a name; what is none becomes a dot, because a stranger may have sent it.
pub(super) fn name(id: ReferenceId) -> String {
    let shown = |&octet: &u8| if octet.is_ascii_alphanumeric() { char::from(octet) } else { '.' };
    id.octets().iter().take_while(|octet| **octet != 0).map(shown).collect()
}
