//! Symmetric keys and the codes made with them (RFC 5905 §7.3, RFC 8573): ntp.keys → [`KeyTable`], and what a
//! packet needs of it, without an allocation.

mod host;
mod key_file;
mod keys;
mod symmetric;

pub use key_file::{Fault, read};
pub use keys::{Key, KeyTable, MAC_MAX, NotAuthentic};
