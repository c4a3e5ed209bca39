//! Extension fields (RFC 7822).

/// Octets of a field's type and length.
const ENVELOPE: usize = 4;
/// RFC 7822: "the minimum field length containing required fields is four words (16 octets)".
const SHORTEST: usize = 16;

/// One extension field, padding included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtensionField<'a> {
    /// The field type.
    pub kind: u16,
    /// What follows type and length, up to three octets of padding included.
    pub value: &'a [u8],
}

impl<'a> ExtensionField<'a> {
    /// The field that `bytes` begin with, and what follows it; none unless its length is 16 or more, a
    /// multiple of four, and within `bytes`.
    pub(super) fn split_first(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let [kind_high, kind_low, length_high, length_low, ..] = *bytes else { return None };
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        if length < SHORTEST || !length.is_multiple_of(4) {
            return None;
        }
        let (field, rest) = bytes.split_at_checked(length)?;
        let value = field.get(ENVELOPE..)?;
        Some((Self { kind: u16::from_be_bytes([kind_high, kind_low]), value }, rest))
    }
}

/// The extension fields of one packet, walked once already: iterating them cannot fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtensionFields<'a>(pub(super) &'a [u8]);

impl<'a> ExtensionFields<'a> {
    /// All fields as they stand in the packet.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Iterator for ExtensionFields<'a> {
    type Item = ExtensionField<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (field, rest) = ExtensionField::split_first(self.0)?;
        self.0 = rest;
        Some(field)
    }
}
