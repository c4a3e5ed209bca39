//! Symmetric keys and the codes made with them (RFC 5905 §7.3, RFC 8573).

use std::path::{Path, PathBuf};
use std::{fmt, fs};

use aes::Aes128;
use cmac::{Cmac, KeyInit, Mac as _};
use md5::Md5;
use ntpring::wire::{HEADER_LEN, Mac, Packet};
use sha1::{Digest, Sha1};

use crate::failure::Failure;

/// Octets of a key identifier.
const ID_LEN: usize = 4;
/// Octets of the longest code with its key identifier.
pub(crate) const MAC_MAX: usize = ID_LEN + 20;
/// ntp.keys(5): a longer key is written in hexadecimal digits.
const TEXT_MAX: usize = 20;
/// Octets of an AES-128 key.
const AES_KEY: usize = 16;

/// One line of a key file.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key {
    id: u32,
    algorithm: Algorithm,
    secret: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Md5,
    Sha1,
    Aes128Cmac,
}

/// FILE:ID as the command line has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyName {
    path: PathBuf,
    id: u32,
}

impl KeyName {
    /// Reads what the command line names.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (path, id) =
            text.rsplit_once(':').filter(|(path, _)| !path.is_empty()).ok_or("expected FILE:ID")?;
        let id =
            id.parse().ok().filter(|&id| id > 0).ok_or("expected FILE:ID, with a number from 1 as ID")?;
        Ok(Self { path: path.into(), id })
    }

    /// The key, from a file as ntpd, ntpsec and chrony have it: `ID TYPE KEY`.
    pub(crate) fn load(&self) -> Result<Key, Failure> {
        let text = fs::read_to_string(&self.path)
            .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", self.path.display())))?;
        find(&text, self.id).map_err(|reason| {
            Failure::Usage(format!("key {} of {}: {reason}", self.id, Path::display(&self.path)))
        })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {:?})", self.id, self.algorithm)
    }
}

impl Key {
    /// Appends identifier and code to the `length` octets of `packet`; returns the new length.
    pub(crate) fn sign(&self, packet: &mut [u8], length: usize) -> usize {
        let mut digest = [0; MAC_MAX - ID_LEN];
        let made = self.digest(&packet[..length], &mut digest);
        packet[length..length + ID_LEN].copy_from_slice(&self.id.to_be_bytes());
        packet[length + ID_LEN..length + ID_LEN + made].copy_from_slice(&digest[..made]);
        length + ID_LEN + made
    }

    /// Whether a reply ends with this key's code of all that stands before it.
    pub(crate) fn verifies(&self, reply: &[u8]) -> bool {
        let trailer = Packet::new_checked(reply).ok().and_then(|packet| {
            let trailer = packet.trailer().ok()?;
            let Some(Mac::Digest { key_id, digest }) = trailer.mac else { return None };
            let signed = HEADER_LEN + trailer.extensions.as_bytes().len();
            let mut expected = [0; MAC_MAX - ID_LEN];
            let made = self.digest(reply.get(..signed)?, &mut expected);
            Some(key_id == self.id && *digest == expected[..made])
        });
        trailer == Some(true)
    }

    /// RFC 5905 §7.3: the hash of the key and then the packet; RFC 8573: the CMAC of the packet.
    fn digest(&self, packet: &[u8], digest: &mut [u8; MAC_MAX - ID_LEN]) -> usize {
        let put = |digest: &mut [u8; MAC_MAX - ID_LEN], made: &[u8]| {
            digest[..made.len()].copy_from_slice(made);
            made.len()
        };
        match self.algorithm {
            Algorithm::Md5 => {
                put(digest, &Md5::new().chain_update(&self.secret).chain_update(packet).finalize())
            }
            Algorithm::Sha1 => {
                put(digest, &Sha1::new().chain_update(&self.secret).chain_update(packet).finalize())
            }
            Algorithm::Aes128Cmac => {
                // ntpd fills a short key with zeros and cuts a long one.
                let mut key = [0; AES_KEY];
                let used = self.secret.len().min(AES_KEY);
                key[..used].copy_from_slice(&self.secret[..used]);
                let mut mac = Cmac::<Aes128>::new(&key.into());
                mac.update(packet);
                put(digest, &mac.finalize().into_bytes())
            }
        }
    }
}

fn find(text: &str, id: u32) -> Result<Key, String> {
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        if words.next().and_then(|word| word.parse().ok()) != Some(id) {
            continue;
        }
        let (kind, key) = words.next().zip(words.next()).ok_or("expected ID TYPE KEY")?;
        let algorithm = match kind.to_ascii_uppercase().as_str() {
            "M" | "MD5" => Algorithm::Md5,
            "SHA" | "SHA1" => Algorithm::Sha1,
            "AES" | "AES128" | "AES-128" | "AES128CMAC" | "AES-128-CMAC" => Algorithm::Aes128Cmac,
            _ => return Err(format!("type {kind} is not known (MD5, SHA1 and AES128CMAC are)")),
        };
        return Ok(Key { id, algorithm, secret: secret(key)? });
    }
    Err("there is no such key".to_owned())
}

/// Up to 20 characters as they are, more as hexadecimal digits; chrony's prefixes say which.
fn secret(key: &str) -> Result<Vec<u8>, String> {
    if let Some(text) = key.strip_prefix("ASCII:") {
        return Ok(text.as_bytes().to_vec());
    }
    let digits = key.strip_prefix("HEX:").or_else(|| (key.len() > TEXT_MAX).then_some(key));
    let Some(digits) = digits else { return Ok(key.as_bytes().to_vec()) };
    let octets: Option<Vec<u8>> = digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok().filter(|_| pair.len() == 2))
        .collect();
    octets.ok_or_else(|| format!("a key of more than {TEXT_MAX} characters must be hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# keys\n1 M secret # the first\n2 SHA1 0102030405060708090a0b0c0d0e0f1011121314\n\
        3 AES128CMAC 2b7e151628aed2a6abf7158809cf4f3c\n4 DES x\n5 MD5\n6 SHA1 abcdefghijklmnopqrstu\n\
        7 SHA1 HEX:0A0b\n";

    #[test]
    fn lines_are_read_as_ntpd_reads_them() {
        let key = |id| find(FILE, id).unwrap();
        assert_eq!(key(1), Key { id: 1, algorithm: Algorithm::Md5, secret: b"secret".to_vec() });
        assert_eq!(key(2).secret, (1..=20).collect::<Vec<u8>>());
        assert_eq!((key(3).algorithm, key(3).secret.len()), (Algorithm::Aes128Cmac, 16));
        assert_eq!(key(7).secret, [10, 11]);
        for (id, said) in [(4, "DES"), (5, "ID TYPE KEY"), (6, "hexadecimal"), (9, "no such key")] {
            let error = find(FILE, id).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn digests_are_those_of_the_standards() {
        let digest = |id, packet: &[u8]| {
            let mut digest = [0; 20];
            let made = find(FILE, id).unwrap().digest(packet, &mut digest);
            digest[..made].iter().map(|octet| format!("{octet:02x}")).collect::<String>()
        };
        // md5("secretabc"); RFC 4493 §4, examples 1 and 2.
        assert_eq!(digest(1, b"abc"), "c42b93a1ac3b382e88071510296a96ce");
        assert_eq!(digest(3, b""), "bb1d6929e95937287fa37d129b756746");
        let block = 0x6bc1_bee2_2e40_9f96_e93d_7e11_7393_172a_u128.to_be_bytes();
        assert_eq!(digest(3, &block), "070a16b46b4d4144f79bdd9dd04a287c");
    }

    #[test]
    fn only_the_same_key_over_the_same_octets_verifies() {
        for (id, length) in [(1, 68), (2, 72), (3, 68)] {
            let key = find(FILE, id).unwrap();
            let mut packet = [0x24; HEADER_LEN + MAC_MAX];
            assert_eq!(key.sign(&mut packet, HEADER_LEN), length);
            assert!(key.verifies(&packet[..length]));
            assert!(!key.verifies(&packet[..HEADER_LEN]) && !key.verifies(&packet[..HEADER_LEN + 4]));
            for at in [1, HEADER_LEN + 3, length - 1] {
                let mut other = packet;
                other[at] ^= 1;
                assert!(!key.verifies(&other[..length]), "key {id}, octet {at}");
            }
        }
    }

    #[test]
    fn a_key_is_named_by_file_and_number() {
        let name = KeyName::parse("/etc/ntp:x/keys:7").unwrap();
        assert_eq!((name.path.to_str(), name.id), (Some("/etc/ntp:x/keys"), 7));
        for text in ["keys", ":1", "keys:0", "keys:x", "keys:"] {
            assert!(KeyName::parse(text).is_err(), "{text}");
        }
        assert!(matches!(KeyName::parse("/none/such:1").unwrap().load(), Err(Failure::Usage(_))));
    }
}
