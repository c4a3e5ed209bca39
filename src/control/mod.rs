//! The control protocol, mode 6 (RFC 9327), which ntpq speaks: requests and responses as bytes and text. No
//! socket, no clock.

mod budget;
mod format;
mod fragment;
mod mru;
mod nonce;
mod ordered;
mod peer;
mod respond;
mod signature;
mod status;
mod system;
mod text;
mod view;
mod writer;

pub use fragment::{Answer, Assembly, DATA_MAX, FRAGMENTS_MAX, Response, request};
pub use respond::{Outcome, Request, Responder};
pub use signature::{Signature, is_error, is_signed, signed};
pub use status::{ClockStatus, ErrorCode, PeerStatus, SystemStatus};
pub(crate) use text::printable;
pub use text::{Variable, parse};
pub use view::{
    Identity, Interface, KernelClock, Lists, Monitor, MonitoredClient, Restriction, Statistics, View,
};

/// What can be asked (RFC 9327 §2, and the two that ntpd 4.2.7 added).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// The status word, and for association 0 those of all associations.
    ReadStatus = 1,
    /// Variables of the system or of an association.
    ReadVariables = 2,
    /// Sets variables; never served.
    WriteVariables = 3,
    /// Variables of a reference clock.
    ReadClock = 4,
    /// Sets variables of a reference clock; never served.
    WriteClock = 5,
    /// Asks for traps; never served.
    SetTrap = 6,
    /// Configures at run time; never served.
    Configure = 8,
    /// Writes the configuration to a file; never served.
    SaveConfiguration = 9,
    /// The list of clients, most recently used last; needs a nonce.
    ReadMru = 10,
    /// A list in order: interfaces or restrictions; needs a key.
    ReadOrderedList = 11,
    /// A nonce: proof that the client's address is its own.
    RequestNonce = 12,
    /// Takes traps back; never served.
    UnsetTrap = 31,
}

impl Opcode {
    /// From the five bits of the header.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            1 => Self::ReadStatus,
            2 => Self::ReadVariables,
            3 => Self::WriteVariables,
            4 => Self::ReadClock,
            5 => Self::WriteClock,
            6 => Self::SetTrap,
            8 => Self::Configure,
            9 => Self::SaveConfiguration,
            10 => Self::ReadMru,
            11 => Self::ReadOrderedList,
            12 => Self::RequestNonce,
            31 => Self::UnsetTrap,
            _ => return None,
        })
    }
}
