//! Bytes to fields and back: RFC 5905 packets, RFC 7822 extension fields, RFC 9327 control headers.
//!
//! This floor knows no clock, I/O, allocation or policy, and no accessor can panic on any bytes: a packet is
//! looked at only through a view whose one constructor has checked its length.

mod control;
mod extension;
mod fields;
mod mac;
mod packet;
mod timestamp;

pub use control::ControlHeader;
pub use extension::{ExtensionField, ExtensionFields};
pub use fields::{LeapIndicator, Mode, Precision, ReferenceId};
pub use mac::{Mac, Trailer};
pub use packet::{HEADER_LEN, Packet, field};
pub use timestamp::{NtpShort, NtpTimestamp};

/// Why bytes are not an NTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// What follows the header is neither well-formed extension fields nor a MAC (RFC 7822).
    Extension,
    /// The length is no multiple of four octets.
    Misaligned,
    /// Fewer octets than the header has.
    Short,
}
