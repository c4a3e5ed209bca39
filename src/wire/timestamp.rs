//! NTP time formats (RFC 5905 §6).

use super::Precision;

/// 64 bits: seconds since 1900 modulo 2^32 (one era), and a fraction in units of 2^-32 s, about 0.23 ns.
///
/// There is no order on stamps, because eras wrap: compare with [`NtpTimestamp::signed_since`]. Zero means
/// "unknown" and is never subtracted; [`NtpTimestamp::is_unknown`] tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NtpTimestamp(u64);

impl NtpTimestamp {
    /// RFC 5905 §6: the all-zero stamp, "unknown or unsynchronized time".
    pub const UNKNOWN: Self = Self(0);

    /// Seconds from 1900-01-01 to 1970-01-01.
    pub const UNIX_EPOCH_SECONDS: u64 = 2_208_988_800;

    /// A pivot for [`NtpTimestamp::to_unix`] when nothing better is known than that this program exists:
    /// 2026-01-01T00:00:00Z, so stamps are read as 1957-12-13 to 2094-01-19.
    pub const PIVOT: i64 = 1_767_225_600;

    /// The stamp from its 64 bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The 64 bits, seconds in the upper half.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// From the kernel's `timespec`: seconds since 1970 and nanoseconds below 1e9. The era is dropped (modulo
    /// 2^32 seconds) and the fraction rounded down, so it never carries into the seconds.
    pub const fn from_unix(seconds: i64, nanoseconds: u32) -> Self {
        let seconds = (seconds as u64).wrapping_add(Self::UNIX_EPOCH_SECONDS) as u32;
        let fraction = ((nanoseconds as u64) << 32) / 1_000_000_000;
        Self(((seconds as u64) << 32) | fraction)
    }

    /// Seconds since 1970 and nanoseconds. Of the instants that share this stamp, one per era of 136 years,
    /// the one from `pivot` - 2^31 s up to, but not including, `pivot` + 2^31 s; `pivot` is in seconds since
    /// 1970: the present time as far as it is known, or [`NtpTimestamp::PIVOT`].
    pub const fn to_unix(self, pivot: i64) -> (i64, u32) {
        let pivot_seconds = (pivot as u64).wrapping_add(Self::UNIX_EPOCH_SECONDS) as u32;
        let ahead = ((self.0 >> 32) as u32).wrapping_sub(pivot_seconds) as i32;
        // Rounded up, because from_unix rounds down: whole nanoseconds come back exactly.
        let nanoseconds = ((self.0 & 0xFFFF_FFFF) * 1_000_000_000).div_ceil(1 << 32);
        match nanoseconds {
            1_000_000_000 => (pivot.saturating_add(ahead as i64).saturating_add(1), 0),
            below => (pivot.saturating_add(ahead as i64), below as u32),
        }
    }

    /// Whether this is the stamp that means "no time known".
    pub const fn is_unknown(self) -> bool {
        self.0 == 0
    }

    /// This instant as a stamp that says something: the one instant of an era whose bits are all zero moves
    /// by 2^-32 s.
    pub const fn known(self) -> Self {
        if self.0 == 0 { Self(1) } else { self }
    }

    /// How much later this is than `earlier`, in units of 2^-32 s, negative if it is before it. Right across
    /// eras for stamps less than 68 years apart (RFC 5905 §6: differences are taken in twos-complement
    /// arithmetic, modulo 2^64).
    pub const fn signed_since(self, earlier: Self) -> i64 {
        self.0.wrapping_sub(earlier.0) as i64
    }

    /// This stamp moved by `units` of 2^-32 s.
    pub const fn offset_by(self, units: i64) -> Self {
        Self(self.0.wrapping_add_signed(units))
    }

    /// RFC 5905 §6: the bits below what the clock can tell apart become "an unbiased random bit string", so
    /// that neither rounding nor a guessable stamp leaks. The bits are taken from the low end of `random`.
    pub const fn fuzzed(self, precision: Precision, random: u64) -> Self {
        let mask = precision.insignificant_bits();
        Self((self.0 & !mask) | (random & mask))
    }
}

/// 32 bits: seconds and a fraction in units of 2^-16 s (about 15 µs), unsigned. Root delay and root
/// dispersion have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct NtpShort(u32);

impl NtpShort {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// The longest time that can be told, just below 65 536 s.
    pub const MAX: Self = Self(u32::MAX);

    /// The value from its 32 bits.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The 32 bits, seconds in the upper half.
    pub const fn to_bits(self) -> u32 {
        self.0
    }

    /// From nanoseconds, rounded up, because an error bound may only be overstated; saturating.
    pub const fn from_nanoseconds(nanoseconds: u64) -> Self {
        let units = ((nanoseconds as u128) << 16).div_ceil(1_000_000_000);
        if units > u32::MAX as u128 { Self::MAX } else { Self(units as u32) }
    }

    /// In nanoseconds, rounded down.
    pub const fn to_nanoseconds(self) -> u64 {
        ((self.0 as u64) * 1_000_000_000) >> 16
    }

    /// The sum, at most [`NtpShort::MAX`].
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

#[cfg(test)]
mod tests;
