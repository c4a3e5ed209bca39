use proptest::prelude::*;

use super::*;

/// An extension field of `length` octets, its value all ones.
fn field(kind: u16, length: u16) -> Vec<u8> {
    let mut bytes = vec![1; length.into()];
    bytes[..2].copy_from_slice(&kind.to_be_bytes());
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    bytes
}

fn mac(length: usize) -> Vec<u8> {
    let mut bytes = vec![0xDD; length];
    bytes[..4].copy_from_slice(&7_u32.to_be_bytes());
    bytes
}

#[test]
fn nothing_follows() {
    for version in 1..=4 {
        let trailer = Trailer::parse(version, &[]).unwrap();
        assert_eq!((trailer.extensions.count(), trailer.mac), (0, None));
    }
}

#[test]
fn fields_then_mac() {
    for digest in [16, 20] {
        let bytes = [field(0xF323, 16), field(0x0104, 36), mac(4 + digest)].concat();
        let trailer = Trailer::parse(4, &bytes).unwrap();
        let kinds: Vec<_> = trailer.extensions.map(|field| (field.kind, field.value.len())).collect();
        assert_eq!(kinds, [(0xF323, 12), (0x0104, 32)]);
        assert_eq!(trailer.extensions.as_bytes(), &bytes[..52]);
        assert_eq!(trailer.mac, Some(Mac::Digest { key_id: 7, digest: &bytes[56..] }));
    }
}

#[test]
fn twenty_or_twenty_four_octets_are_a_mac_even_if_they_look_like_a_field() {
    for length in [20, 24] {
        let bytes = field(0xF323, length);
        assert!(
            matches!(Trailer::parse(4, &bytes), Ok(Trailer { mac: Some(Mac::Digest { key_id, .. }), .. })
                if key_id >> 16 == 0xF323)
        );
    }
}

#[test]
fn four_zero_octets_are_a_crypto_nak() {
    let bytes = [field(0xF323, 28), vec![0; 4]].concat();
    assert_eq!(Trailer::parse(4, &bytes).unwrap().mac, Some(Mac::CryptoNak));
    assert_eq!(Trailer::parse(3, &[0; 4]).unwrap().mac, Some(Mac::CryptoNak));
    assert_eq!(Trailer::parse(4, &[0, 0, 0, 1]), Err(Malformed::Extension));
}

#[test]
fn before_version_4_there_is_only_a_mac() {
    for version in 1..=3 {
        assert!(matches!(
            Trailer::parse(version, &mac(20)).unwrap().mac,
            Some(Mac::Digest { key_id: 7, .. })
        ));
        assert!(matches!(Trailer::parse(version, &field(1, 24)).unwrap().mac, Some(Mac::Digest { .. })));
        for length in [28, 32, 40] {
            assert_eq!(Trailer::parse(version, &field(0xF323, length)), Err(Malformed::Extension));
        }
    }
}

#[test]
fn lengths_that_a_field_must_not_have() {
    let with_length = |length: u16, size: usize| {
        let mut bytes = vec![0; size];
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        bytes
    };
    for (length, size) in [(0, 32), (4, 32), (12, 32), (15, 32), (30, 32), (36, 32), (65_532, 32), (32, 40)] {
        assert_eq!(
            Trailer::parse(4, &with_length(length, size)),
            Err(Malformed::Extension),
            "{length} in {size}"
        );
    }
    assert_eq!(
        Trailer::parse(4, &field(0xF323, 16)),
        Err(Malformed::Extension),
        "a last field has 28 octets or more"
    );
    assert!(Trailer::parse(4, &field(0xF323, 28)).is_ok());
    assert!(Trailer::parse(4, &[field(0xF323, 16), field(0xF323, 28)].concat()).is_ok());
    assert_eq!(
        Trailer::parse(4, &[field(0xF323, 28), field(0xF323, 16)].concat()),
        Err(Malformed::Extension)
    );
}

proptest! {
    #[test]
    fn well_formed_fields_come_back(
        lengths in prop::collection::vec(4_u16..40, 0..8),
        last in 7_u16..40,
        digest in prop::option::of(prop::sample::select(vec![16_usize, 20])),
    ) {
        // Lengths in words. What is left over at any field must not look like a MAC, or it is one.
        let lengths: Vec<u16> = lengths.into_iter().chain([last]).map(|words| words * 4).collect();
        let mut bytes: Vec<u8> = lengths.iter().flat_map(|length| field(0x2000, *length)).collect();
        if let Some(digest) = digest {
            bytes.extend(mac(4 + digest));
        }
        let trailer = Trailer::parse(4, &bytes).unwrap();
        let found: Vec<_> = trailer.extensions.map(|field| field.value.len() as u16 + 4).collect();
        prop_assert_eq!(found, lengths);
        prop_assert_eq!(trailer.mac.is_some(), digest.is_some());
    }
}
