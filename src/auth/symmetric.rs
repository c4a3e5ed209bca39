//! Hash functions and block ciphers as message authentication codes. Each is kept as it is once it has taken
//! its key, so that a packet costs no key schedule.

use aes::{Aes128, Aes192, Aes256};
use cmac::{Cmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;

/// Octets of the longest code: what longer hashes are cut to.
pub(super) const CODE_MAX: usize = 20;

/// An algorithm that has taken its key.
#[derive(Clone)]
pub(super) enum Keyed {
    Md5(Md5),
    Sha1(Sha1),
    Sha224(Sha224),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
    Aes128(Cmac<Aes128>),
    Aes192(Cmac<Aes192>),
    Aes256(Cmac<Aes256>),
}

/// What a key file calls an algorithm, and what it makes of a key.
pub(super) struct Kind {
    /// In capitals, without hyphens; the first is the one to show.
    names: &'static [&'static str],
    /// Octets of a cipher's key; a hash takes a key of any length.
    pub(super) key_length: Option<usize>,
    keyed: fn(&[u8]) -> Keyed,
}

const KINDS: [Kind; 9] = [
    Kind { names: &["MD5", "M"], key_length: None, keyed: |key| Keyed::Md5(hash(key)) },
    Kind { names: &["SHA1", "SHA"], key_length: None, keyed: |key| Keyed::Sha1(hash(key)) },
    Kind { names: &["SHA224"], key_length: None, keyed: |key| Keyed::Sha224(hash(key)) },
    Kind { names: &["SHA256"], key_length: None, keyed: |key| Keyed::Sha256(hash(key)) },
    Kind { names: &["SHA384"], key_length: None, keyed: |key| Keyed::Sha384(hash(key)) },
    Kind { names: &["SHA512"], key_length: None, keyed: |key| Keyed::Sha512(hash(key)) },
    Kind {
        names: &["AES128CMAC", "AES128", "AES", "CMAC"],
        key_length: Some(16),
        keyed: |key| Keyed::Aes128(Cmac::new(&fitted::<16>(key).into())),
    },
    Kind {
        names: &["AES192CMAC", "AES192"],
        key_length: Some(24),
        keyed: |key| Keyed::Aes192(Cmac::new(&fitted::<24>(key).into())),
    },
    Kind {
        names: &["AES256CMAC", "AES256"],
        key_length: Some(32),
        keyed: |key| Keyed::Aes256(Cmac::new(&fitted::<32>(key).into())),
    },
];

/// A hash that has begun with the key.
fn hash<H: Digest>(key: &[u8]) -> H {
    H::new_with_prefix(key)
}

/// ntpd fills a short key with zeros and cuts a long one.
fn fitted<const LENGTH: usize>(key: &[u8]) -> [u8; LENGTH] {
    let mut fitted = [0; LENGTH];
    fitted.iter_mut().zip(key).for_each(|(fitted, key)| *fitted = *key);
    fitted
}

impl Kind {
    /// From any spelling: ntpd's, ntpsec's, chrony's, in capitals or not, with hyphens or not.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        static ALL: [Kind; KINDS.len()] = KINDS;
        let name = name.replace(['-', '_'], "").to_ascii_uppercase();
        ALL.iter().find(|kind| kind.names.contains(&name.as_str()))
    }

    /// The spellings to show, separated by commas.
    pub(super) fn shown() -> String {
        KINDS.map(|kind| kind.names[0]).join(", ")
    }

    /// Takes the key.
    pub(super) fn keyed(&self, key: &[u8]) -> Keyed {
        (self.keyed)(key)
    }
}

/// What an algorithm makes of its key and a message: 16 or 20 octets.
pub(super) struct Code {
    octets: [u8; CODE_MAX],
    length: usize,
}

impl Code {
    /// The first octets of a hash, as many as have room.
    fn cut(octets: &[u8]) -> Self {
        Self { octets: fitted(octets), length: octets.len().min(CODE_MAX) }
    }

    /// The octets.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }

    /// Whether `other` is the same, in a time that does not tell how much of it is.
    pub(super) fn is(&self, other: &[u8]) -> bool {
        self.as_bytes().ct_eq(other).into()
    }
}

impl Keyed {
    /// RFC 5905 §7.3: the hash of the key and then the message; RFC 8573: the CMAC of the message. Never
    /// inlined: a plain request would pay for the room that ciphers need on the stack.
    #[inline(never)]
    pub(super) fn code(&self, message: &[u8]) -> Code {
        fn hashed<H: Digest + Clone>(begun: &H, message: &[u8]) -> Code {
            Code::cut(&begun.clone().chain_update(message).finalize())
        }
        fn ciphered<M: Mac + Clone>(begun: &M, message: &[u8]) -> Code {
            Code::cut(&begun.clone().chain_update(message).finalize().into_bytes())
        }
        match self {
            Self::Md5(begun) => hashed(begun, message),
            Self::Sha1(begun) => hashed(begun, message),
            Self::Sha224(begun) => hashed(begun, message),
            Self::Sha256(begun) => hashed(begun, message),
            Self::Sha384(begun) => hashed(begun, message),
            Self::Sha512(begun) => hashed(begun, message),
            Self::Aes128(begun) => ciphered(begun, message),
            Self::Aes192(begun) => ciphered(begun, message),
            Self::Aes256(begun) => ciphered(begun, message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(kind: &str, key: &str, message: &str) -> String {
        let octets = |digits: &str| -> Vec<u8> {
            let digits = digits.replace(' ', "");
            let octet = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
            (0..digits.len()).step_by(2).map(octet).collect()
        };
        let keyed = Kind::find(kind).expect(kind).keyed(&octets(key));
        let code = keyed.code(&octets(message));
        assert!(keyed.code(&octets(message)).is(code.as_bytes()), "the key is not used up");
        code.as_bytes().iter().map(|octet| format!("{octet:02x}")).collect()
    }

    #[test]
    fn codes_are_those_of_the_standards() {
        const BLOCK: &str = "6bc1bee22e409f96e93d7e117393172a";
        // RFC 4493 §4, examples 1 and 2; NIST SP 800-38B, D.2 and D.3.
        let key = "2b7e151628aed2a6abf7158809cf4f3c";
        assert_eq!(code("AES128CMAC", key, ""), "bb1d6929e95937287fa37d129b756746");
        assert_eq!(code("AES128CMAC", key, BLOCK), "070a16b46b4d4144f79bdd9dd04a287c");
        let key = "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b";
        assert_eq!(code("AES192CMAC", key, ""), "d17ddf46adaacde531cac483de7a9367");
        assert_eq!(code("AES192CMAC", key, BLOCK), "9e99a7bf31e710900662f65e617c5184");
        let key = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4";
        assert_eq!(code("AES256CMAC", key, ""), "028962f61b7bf89efc6b551f4667d983");
        assert_eq!(code("AES256CMAC", key, BLOCK), "28a7023f452e8f82bd4bf28d8c37c35c");
        // The hashes of "abc" (RFC 1321, FIPS 180), cut to 20 octets, the key being "a".
        for (kind, hash) in [
            ("MD5", "900150983cd24fb0d6963f7d28e17f72"),
            ("SHA1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            ("SHA224", "23097d223405d8228642a477bda255b32aadbce4"),
            ("SHA256", "ba7816bf8f01cfea414140de5dae2223b00361a3"),
            ("SHA384", "cb00753f45a35e8bb5a03d699ac65007272c32ab"),
            ("SHA512", "ddaf35a193617abacc417349ae20413112e6fa4e"),
        ] {
            assert_eq!(code(kind, "61", "6263"), hash, "{kind}");
        }
    }

    #[test]
    fn e10_a_code_is_compared_as_a_whole() {
        let code = Kind::find("SHA1").expect("it is known").keyed(b"key").code(b"message");
        let right = code.as_bytes().to_vec();
        assert!(code.is(&right));
        assert!(
            (0..right.len()).all(|length| !code.is(&right[..length]))
                && !code.is(&[right.clone(), vec![0]].concat())
        );
        for bit in 0..8 * right.len() {
            let mut wrong = right.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(!code.is(&wrong));
        }
    }
}
