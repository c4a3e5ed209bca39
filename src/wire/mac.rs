//! What follows the header: extension fields, a message authentication code, both or nothing.

use super::{ExtensionFields, Malformed, extension::ExtensionField};

/// RFC 7822: "the length of the last extension field MUST be at least 28 octets" where no MAC follows, so
/// that it cannot be taken for one.
const SHORTEST_LAST: usize = 28;
/// A key identifier and a digest of 128 bits (MD5, AES-CMAC) or of 160 bits (SHA-1, or a longer digest cut to
/// it).
const MAC_LENGTHS: [usize; 2] = [20, 24];

/// A symmetric-key message authentication code (RFC 5905 §7.3, RFC 8573).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mac<'a> {
    /// Four zero octets: "a packet that failed authentication was received" (RFC 5905 §9.2).
    CryptoNak,
    /// Which key was used, and 16 or 20 octets made with it.
    Digest {
        /// The key identifier.
        key_id: u32,
        /// The digest.
        digest: &'a [u8],
    },
}

/// Everything after the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer<'a> {
    /// The extension fields; none before version 4.
    pub extensions: ExtensionFields<'a>,
    /// The MAC, if there is one.
    pub mac: Option<Mac<'a>>,
}

impl<'a> Trailer<'a> {
    /// From the packet's version and all octets after its header.
    ///
    /// # Errors
    /// [`Malformed::Extension`] if they are neither well-formed extension fields nor a MAC.
    pub fn parse(version: u8, bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = bytes;
        let mut last = None;
        loop {
            // RFC 7822: if 20 or 24 octets remain, they are a MAC, even if they look like an extension field.
            if let Some(mac) = Mac::parse(rest) {
                let extensions = bytes.len() - rest.len();
                return Ok(Self {
                    extensions: ExtensionFields(bytes.get(..extensions).unwrap_or_default()),
                    mac: Some(mac),
                });
            }
            if rest.is_empty() && last.is_none_or(|length| length >= SHORTEST_LAST) {
                return Ok(Self { extensions: ExtensionFields(bytes), mac: None });
            }
            // Before version 4 a MAC is all that may follow.
            if version < 4 {
                return Err(Malformed::Extension);
            }
            let (_, after) = ExtensionField::split_first(rest).ok_or(Malformed::Extension)?;
            last = Some(rest.len() - after.len());
            rest = after;
        }
    }
}

impl<'a> Mac<'a> {
    /// The MAC that `bytes` are, if they can be one.
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (key_id, digest) = bytes.split_first_chunk()?;
        let key_id = u32::from_be_bytes(*key_id);
        if MAC_LENGTHS.contains(&bytes.len()) {
            return Some(Self::Digest { key_id, digest });
        }
        (digest.is_empty() && key_id == 0).then_some(Self::CryptoNak)
    }
}

#[cfg(test)]
mod tests;
