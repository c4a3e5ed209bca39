//! Keys in use, and what is done with them: making and checking the code at the end of a packet.

use std::fmt;
use std::net::IpAddr;

use super::host::Network;
use super::symmetric::{CODE_MAX, Keyed};
use crate::wire::{Mac, Packet};

/// Octets of a key identifier.
const ID_LEN: usize = 4;

/// Octets of the longest code with its key identifier.
pub const MAC_MAX: usize = ID_LEN + CODE_MAX;

/// One key, ready for use.
#[derive(Clone)]
pub struct Key {
    pub(super) id: u16,
    pub(super) keyed: Keyed,
    /// Who may use it, if not everybody may.
    pub(super) hosts: Option<Box<[Network]>>,
}

impl fmt::Debug for Key {
    /// The key itself is nobody's business.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Key({})", self.id)
    }
}

impl Key {
    /// Its identifier, 1 to 65535.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// Octets of its codes.
    pub fn code_length(&self) -> usize {
        self.keyed.code(&[]).as_bytes().len()
    }

    /// Appends identifier and code to the first `length` octets of `packet`; the new length, or none if there
    /// is no room for them.
    pub fn sign(&self, packet: &mut [u8], length: usize) -> Option<usize> {
        let (message, rest) = packet.split_at_mut_checked(length)?;
        let code = self.keyed.code(message);
        let (id, rest) = rest.split_first_chunk_mut::<ID_LEN>()?;
        let place = rest.get_mut(..code.as_bytes().len())?;
        place.copy_from_slice(code.as_bytes());
        *id = u32::from(self.id).to_be_bytes();
        Some(length + ID_LEN + code.as_bytes().len())
    }

    /// Whether a packet ends with this key's identifier and code of all that stands before them.
    pub fn verifies(&self, packet: &[u8]) -> bool {
        let Ok(view) = Packet::new_checked(packet) else { return false };
        match view.trailer().map(|trailer| trailer.mac) {
            Ok(Some(Mac::Digest { key_id, digest })) => {
                key_id == u32::from(self.id) && self.is_code_of(packet, digest)
            }
            _ => false,
        }
    }

    /// Whether what stands behind the first `length` octets of `message` is this key's identifier and its
    /// code of them.
    pub fn is_code_at(&self, message: &[u8], length: usize) -> bool {
        let end = message.get(length..).and_then(<[u8]>::split_first_chunk::<ID_LEN>);
        end.is_some_and(|(id, code)| {
            *id == u32::from(self.id).to_be_bytes() && self.is_code_of(message, code)
        })
    }

    /// Whether `digest`, with which `packet` ends, is this key's code of what stands before the identifier.
    fn is_code_of(&self, packet: &[u8], digest: &[u8]) -> bool {
        let signed = packet.len().checked_sub(ID_LEN + digest.len());
        let message = signed.and_then(|signed| packet.get(..signed));
        message.is_some_and(|message| self.keyed.code(message).is(digest))
    }

    /// Whether packets from `address` may be made with this key.
    fn is_for(&self, address: IpAddr) -> bool {
        self.hosts.as_ref().is_none_or(|hosts| hosts.iter().any(|network| network.contains(address)))
    }
}

/// The keys that are trusted.
#[derive(Clone, Debug, Default)]
pub struct KeyTable {
    /// Ascending by id.
    keys: Box<[Key]>,
}

/// Why a packet with a MAC proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAuthentic {
    /// Its key is not here, or not for its sender.
    UnknownKey,
    /// Another key, or another packet, had another code.
    BadMac,
}

impl KeyTable {
    /// From keys with ascending ids.
    pub(super) fn new(keys: impl Iterator<Item = Key>) -> Self {
        Self { keys: keys.collect() }
    }

    /// The key of this id.
    pub fn get(&self, id: u32) -> Option<&Key> {
        let id = u16::try_from(id).ok()?;
        let at = self.keys.binary_search_by_key(&id, Key::id).ok()?;
        self.keys.get(at)
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key that `packet` from `source` was made with, which ends with `digest` by key `id`.
    ///
    /// # Errors
    /// [`NotAuthentic`].
    pub fn authenticate(
        &self,
        source: IpAddr,
        packet: &[u8],
        id: u32,
        digest: &[u8],
    ) -> Result<&Key, NotAuthentic> {
        let key = self.get(id).filter(|key| key.is_for(source)).ok_or(NotAuthentic::UnknownKey)?;
        if key.is_code_of(packet, digest) { Ok(key) } else { Err(NotAuthentic::BadMac) }
    }
}
