//! The 48-octet header as a view over the buffer it arrived in (RFC 5905 figure 8).

use super::fields::{first_octet, version};
use super::{LeapIndicator, Malformed, Mode, NtpShort, NtpTimestamp, Precision, ReferenceId, Trailer};

/// Octets of the header.
pub const HEADER_LEN: usize = 48;

/// Where each field stands.
pub mod field {
    use std::ops::Range;

    /// Leap indicator, version and mode.
    pub const FIRST: usize = 0;
    /// Stratum.
    pub const STRATUM: usize = 1;
    /// Poll exponent.
    pub const POLL: usize = 2;
    /// Precision exponent.
    pub const PRECISION: usize = 3;
    /// Root delay.
    pub const ROOT_DELAY: Range<usize> = 4..8;
    /// Root dispersion.
    pub const ROOT_DISPERSION: Range<usize> = 8..12;
    /// Reference identifier.
    pub const REFERENCE_ID: Range<usize> = 12..16;
    /// Reference timestamp.
    pub const REFERENCE: Range<usize> = 16..24;
    /// Origin timestamp.
    pub const ORIGIN: Range<usize> = 24..32;
    /// Receive timestamp.
    pub const RECEIVE: Range<usize> = 32..40;
    /// Transmit timestamp.
    pub const TRANSMIT: Range<usize> = 40..48;
}

/// A view of at least [`HEADER_LEN`] octets: every accessor reads inside the header and cannot panic.
///
/// The buffer must keep its length, which slices, arrays and vectors borrowed for the view's life do.
#[derive(Debug)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// The only way from bytes to a packet.
    ///
    /// # Errors
    /// [`Malformed::Short`] or [`Malformed::Misaligned`]; RFC 7822: everything after the header is a multiple
    /// of four octets.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        match buffer.as_ref().len() {
            ..HEADER_LEN => Err(Malformed::Short),
            length if !length.is_multiple_of(4) => Err(Malformed::Misaligned),
            _ => Ok(Self { buffer }),
        }
    }

    /// Leap indicator.
    pub fn leap(&self) -> LeapIndicator {
        LeapIndicator::from_first_octet(self.octet(field::FIRST))
    }

    /// Version, 0 to 7.
    pub fn version(&self) -> u8 {
        version(self.octet(field::FIRST))
    }

    /// Mode.
    pub fn mode(&self) -> Mode {
        Mode::from_first_octet(self.octet(field::FIRST))
    }

    /// Stratum; 0 is "unspecified or invalid".
    pub fn stratum(&self) -> u8 {
        self.octet(field::STRATUM)
    }

    /// Poll interval, log2 seconds.
    pub fn poll(&self) -> i8 {
        self.octet(field::POLL).cast_signed()
    }

    /// Precision, log2 seconds, as it stands there.
    pub fn precision(&self) -> i8 {
        self.octet(field::PRECISION).cast_signed()
    }

    /// Round trip to the primary reference.
    pub fn root_delay(&self) -> NtpShort {
        NtpShort::from_bits(u32::from_be_bytes(self.octets::<4>(field::ROOT_DELAY.start)))
    }

    /// Error bound to the primary reference.
    pub fn root_dispersion(&self) -> NtpShort {
        NtpShort::from_bits(u32::from_be_bytes(self.octets::<4>(field::ROOT_DISPERSION.start)))
    }

    /// Reference identifier, or a kiss code if the stratum is 0.
    pub fn reference_id(&self) -> ReferenceId {
        ReferenceId::from_octets(self.octets(field::REFERENCE_ID.start))
    }

    /// When the sender's clock was last set.
    pub fn reference_time(&self) -> NtpTimestamp {
        self.timestamp(field::REFERENCE.start)
    }

    /// In a reply: the request's transmit stamp.
    pub fn origin(&self) -> NtpTimestamp {
        self.timestamp(field::ORIGIN.start)
    }

    /// In a reply: when the request arrived.
    pub fn receive(&self) -> NtpTimestamp {
        self.timestamp(field::RECEIVE.start)
    }

    /// When the packet left, or a random number if the sender keeps its time to itself.
    pub fn transmit(&self) -> NtpTimestamp {
        self.timestamp(field::TRANSMIT.start)
    }

    /// What follows the header.
    ///
    /// # Errors
    /// [`Malformed::Extension`], by the rules of [`Trailer::parse`].
    pub fn trailer(&self) -> Result<Trailer<'_>, Malformed> {
        Trailer::parse(self.version(), self.buffer.as_ref().get(HEADER_LEN..).unwrap_or_default())
    }

    fn octet(&self, at: usize) -> u8 {
        self.octets::<1>(at)[0]
    }

    fn timestamp(&self, at: usize) -> NtpTimestamp {
        NtpTimestamp::from_bits(u64::from_be_bytes(self.octets(at)))
    }

    fn octets<const N: usize>(&self, at: usize) -> [u8; N] {
        // The length was checked by new_checked; zeros stand in for a buffer that shrank since, so that
        // nothing can panic.
        self.buffer.as_ref().get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Leap indicator, version and mode, which share an octet.
    pub fn set_first(&mut self, leap: LeapIndicator, version: u8, mode: Mode) {
        self.set_octets(field::FIRST, [first_octet(leap, version, mode)]);
    }

    /// Stratum.
    pub fn set_stratum(&mut self, stratum: u8) {
        self.set_octets(field::STRATUM, [stratum]);
    }

    /// Poll interval, log2 seconds.
    pub fn set_poll(&mut self, poll: i8) {
        self.set_octets(field::POLL, poll.to_be_bytes());
    }

    /// Precision.
    pub fn set_precision(&mut self, precision: Precision) {
        self.set_octets(field::PRECISION, precision.log2().to_be_bytes());
    }

    /// Round trip to the primary reference.
    pub fn set_root_delay(&mut self, delay: NtpShort) {
        self.set_octets(field::ROOT_DELAY.start, delay.to_bits().to_be_bytes());
    }

    /// Error bound to the primary reference.
    pub fn set_root_dispersion(&mut self, dispersion: NtpShort) {
        self.set_octets(field::ROOT_DISPERSION.start, dispersion.to_bits().to_be_bytes());
    }

    /// Reference identifier.
    pub fn set_reference_id(&mut self, id: ReferenceId) {
        self.set_octets(field::REFERENCE_ID.start, id.octets());
    }

    /// When the clock was last set.
    pub fn set_reference_time(&mut self, stamp: NtpTimestamp) {
        self.set_octets(field::REFERENCE.start, stamp.to_bits().to_be_bytes());
    }

    /// The request's transmit stamp.
    pub fn set_origin(&mut self, stamp: NtpTimestamp) {
        self.set_octets(field::ORIGIN.start, stamp.to_bits().to_be_bytes());
    }

    /// When the request arrived.
    pub fn set_receive(&mut self, stamp: NtpTimestamp) {
        self.set_octets(field::RECEIVE.start, stamp.to_bits().to_be_bytes());
    }

    /// When the packet leaves.
    pub fn set_transmit(&mut self, stamp: NtpTimestamp) {
        self.set_octets(field::TRANSMIT.start, stamp.to_bits().to_be_bytes());
    }

    fn set_octets<const N: usize>(&mut self, at: usize, octets: [u8; N]) {
        if let Some(place) = self.buffer.as_mut().get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
            *place = octets;
        }
    }
}

#[cfg(test)]
mod tests;
