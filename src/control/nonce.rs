//! Proof that a client's address is its own, without remembering anybody.

use std::net::{IpAddr, SocketAddr};

use md5::{Digest, Md5};

use crate::wire::NtpTimestamp;

/// How long a nonce is good, in seconds: ntpd's NONCE_TIMEOUT.
const LIFE_S: i64 = 16;

/// Makes nonces and knows its own again.
#[derive(Debug)]
pub(super) struct Nonces {
    secret: [u8; 16],
}

impl Nonces {
    pub(super) fn new(secret: [u8; 16]) -> Self {
        Self { secret }
    }

    /// 24 hexadecimal digits: when it was made, and a hash of that, of the client and of a secret.
    pub(super) fn make(&self, client: SocketAddr, now: NtpTimestamp) -> String {
        let bits = now.to_bits();
        format!("{bits:016x}{:08x}", self.hash(client, bits))
    }

    /// Whether this client was given this nonce, and not long ago.
    pub(super) fn is_good(&self, nonce: &str, client: SocketAddr, now: NtpTimestamp) -> bool {
        let Some((when, hash)) = nonce.split_at_checked(16) else { return false };
        let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
        let (Some(when), Some(hash)) = (number(when), number(hash)) else { return false };
        let age = now.signed_since(NtpTimestamp::from_bits(when));
        nonce.len() == 24 && (0..LIFE_S << 32).contains(&age) && hash == u64::from(self.hash(client, when))
    }

    fn hash(&self, client: SocketAddr, when: u64) -> u32 {
        let mut hash = Md5::new();
        hash.update(self.secret);
        hash.update(when.to_be_bytes());
        match client.ip() {
            IpAddr::V4(v4) => hash.update(v4.octets()),
            IpAddr::V6(v6) => hash.update(v6.octets()),
        }
        hash.update(client.port().to_be_bytes());
        hash.update(self.secret);
        let [a, b, c, d, ..] = <[u8; 16]>::from(hash.finalize());
        u32::from_be_bytes([a, b, c, d])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_for_its_client_and_for_16_seconds() {
        let nonces = Nonces::new([7; 16]);
        let client: SocketAddr = "192.0.2.1:5000".parse().unwrap();
        let now = NtpTimestamp::from_unix(1_800_000_000, 1);
        let nonce = nonces.make(client, now);
        assert_eq!(nonce.len(), 24);
        assert!(
            nonces.is_good(&nonce, client, now) && nonces.is_good(&nonce, client, now.offset_by(15 << 32))
        );
        assert!(!nonces.is_good(&nonce, client, now.offset_by(16 << 32)), "too old");
        assert!(!nonces.is_good(&nonce, client, now.offset_by(-1)), "from the future");
        for other in ["192.0.2.1:5001", "192.0.2.2:5000", "[2001:db8::1]:5000"] {
            assert!(!nonces.is_good(&nonce, other.parse().unwrap(), now), "{other}");
        }
        assert!(!Nonces::new([8; 16]).is_good(&nonce, client, now), "of another server");
        for wrong in [
            "",
            "x",
            &nonce[..23],
            &format!("{nonce}0"),
            "0123456789abcdef01234567",
            "+123456789abcdef01234567",
        ] {
            assert!(!nonces.is_good(wrong, client, now), "{wrong}");
        }
        assert!(!nonces.is_good("ééééééééééééé", client, now));
    }
}
