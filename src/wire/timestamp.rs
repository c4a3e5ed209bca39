//! NTP time formats.

/// RFC 5905 §6: 64 bits, seconds since 1900 modulo 2^32 and a 32-bit fraction. Zero means "unknown".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NtpTimestamp(u64);

impl NtpTimestamp {
    /// Seconds from 1900-01-01 to 1970-01-01.
    pub const UNIX_EPOCH_SECONDS: u64 = 2_208_988_800;

    /// The stamp from its 64 bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The 64 bits, seconds in the upper half.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// From the kernel's `timespec`: seconds since 1970 and nanoseconds below 1e9. The era is dropped (modulo 2^32 seconds).
    pub const fn from_unix(seconds: i64, nanoseconds: u32) -> Self {
        let seconds = (seconds as u64).wrapping_add(Self::UNIX_EPOCH_SECONDS) as u32;
        let fraction = ((nanoseconds as u64) << 32) / 1_000_000_000;
        Self(((seconds as u64) << 32) | fraction)
    }
}
