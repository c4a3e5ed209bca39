use super::*;

/// The table, and what is wrong: `LINE:COLUMN: TEXT`, `!` before lines that are skipped.
fn read_all(text: &[u8]) -> (KeyTable, Vec<String>) {
    let mut faults = Vec::new();
    let keys = read(text, |_| true, &mut |fault| {
        let mark = if fault.is_skipped { "!" } else { "" };
        faults.push(format!("{mark}{}:{}: {}", fault.line, fault.column, fault.text));
    });
    (keys, faults)
}

/// What key 1 of a line makes of "abc", as hexadecimal digits.
fn code(line: &str) -> String {
    let (keys, faults) = read_all(line.as_bytes());
    assert_eq!(faults, [] as [&str; 0], "{line}");
    let mut packet = *b"abc_____________________________";
    let key = keys.get(1).unwrap_or_else(|| panic!("no key in {line}"));
    let length = key.sign(&mut packet, 3).expect("there is room");
    packet[3 + 4..length].iter().map(|octet| format!("{octet:02x}")).collect()
}

#[test]
fn every_spelling_of_a_type_is_the_same_one() {
    for (spellings, text) in [
        ("M m MD5 md5 Md5", "secret"),
        ("SHA1 SHA-1 SHA sha1 sha", "secret"),
        ("SHA256 SHA-256 sha256", "secret"),
        (
            "AES AES128 AES-128 AES128CMAC AES-128-CMAC aes-128-cmac aes128cmac",
            "HEX:2b7e151628aed2a6abf7158809cf4f3c",
        ),
        ("AES192 AES-192 AES192CMAC AES-192-CMAC", "HEX:000102030405060708090a0b0c0d0e0f1011121314151617"),
        (
            "AES256 AES-256 aes-256-cmac",
            "HEX:000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f",
        ),
    ] {
        let codes: Vec<_> = spellings.split(' ').map(|kind| code(&format!("1 {kind} {text}"))).collect();
        assert!(codes.windows(2).all(|pair| pair[0] == pair[1]), "{spellings}: {codes:?}");
    }
    // md5("secretabc") and sha1("secretabc").
    assert_eq!(code("1 M secret"), "c42b93a1ac3b382e88071510296a96ce");
    assert_eq!(code("1 SHA secret"), "338127540dccbe48589a0ff30875548fc24c74c8");
}

#[test]
fn up_to_20_characters_are_text_and_more_are_hexadecimal() {
    // Twenty digits are text, as in ntpd.
    let twenty = "3132333435363738393a";
    assert_eq!(code(&format!("1 MD5 {twenty}")), code(&format!("1 MD5 ASCII:{twenty}")));
    assert_ne!(code(&format!("1 MD5 {twenty}")), code(&format!("1 MD5 HEX:{twenty}")));
    assert_eq!(code("1 MD5 HEX:736563726574"), code("1 MD5 secret"));
    let long = "6162636465666768696a6b";
    assert_eq!(code(&format!("1 MD5 {long}")), code("1 MD5 abcdefghijk"));
    assert_eq!(code(&format!("1 MD5 {}", long.to_uppercase())), code("1 MD5 abcdefghijk"));
    assert_eq!(
        code("1 MD5 ASCII:a-text-of-25-characters.."),
        code("1 MD5 HEX:612d746578742d6f662d32352d636861726163746572732e2e")
    );
}

#[test]
fn lines_have_comments_blanks_and_any_order() {
    let text = b"# keys\n\n  7\tSHA1   seven # the last\r\n1 M one#half a word\n \t \n65535 MD5 \xE9\n";
    let (keys, faults) = read_all(text);
    assert_eq!(faults, [] as [&str; 0]);
    assert_eq!(keys.len(), 3);
    assert!([1, 7, 65535].iter().all(|id| keys.get(*id).is_some()));
    assert!([0, 2, 65536 + 1, u32::MAX].iter().all(|id| keys.get(*id).is_none()));
    assert_eq!(code("1 M one#half"), code("1 M one"));
}

#[test]
fn bad_lines_are_skipped_and_told() {
    let text = b"1 MD5 one\n2 DES two\n3 MD5\nx\n0 MD5 zero\n65536 MD5 more\n-1 MD5 less\n1.5 MD5 half\n\
        8 SHA1 abcdefghijklmnopqrstu\n9 SHA1 0123456789abcdef01234\n10 MD5 HEX:\n11 MD5 HEX:0\n\
        12 MD5 ten 192.0.2.1 more\n13 MD5 ten host\n14 SHA1 \
        000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20\n15 MD5 last\n";
    let (keys, faults) = read_all(text);
    assert_eq!(
        faults,
        [
            "!2:3: key type \"DES\" is not known; known are MD5, SHA1, SHA224, SHA256, SHA384, SHA512, \
             AES128CMAC, AES192CMAC, AES256CMAC",
            "!3:3: expected ID TYPE KEY",
            "!4:1: expected ID TYPE KEY",
            "!5:1: \"0\" is no key id from 1 to 65535",
            "!6:1: \"65536\" is no key id from 1 to 65535",
            "!7:1: \"-1\" is no key id from 1 to 65535",
            "!8:1: \"1.5\" is no key id from 1 to 65535",
            "!9:8: a key of more than 20 characters must be an even number of hexadecimal digits",
            "!10:8: a key of more than 20 characters must be an even number of hexadecimal digits",
            "!11:8: the key is empty",
            "!12:8: \"HEX:\" must be an even number of hexadecimal digits",
            "!13:22: nothing is expected here",
            "!14:12: \"host\" is no list of addresses",
            "!15:9: the key has 33 octets, more than 32",
        ]
    );
    assert_eq!(keys.len(), 2);
    assert!(keys.get(1).is_some() && keys.get(15).is_some());
    // No message has a key in it.
    assert!(!format!("{keys:?} {faults:?}").contains("abcdefgh"));
}

#[test]
fn what_is_odd_is_told_and_taken() {
    let (keys, faults) =
        read_all(b"1 MD5 one\n2 AES short\n1 MD5 other\n3 AES128CMAC 000102030405060708090a0b0c0d0e0f10\n");
    assert_eq!(
        faults,
        [
            "2:7: \"AES\" takes a key of 16 octets: this one of 5 is filled with zeros",
            "3:1: key 1 replaces the one of line 1",
            "4:14: \"AES128CMAC\" takes a key of 16 octets: this one of 17 is cut",
        ]
    );
    assert_eq!(keys.len(), 3);
    let mut packet = *b"abc_____________________________";
    let length = keys.get(1).and_then(|key| key.sign(&mut packet, 3)).expect("there is room");
    let shown: String = packet[7..length].iter().map(|octet| format!("{octet:02x}")).collect();
    assert_eq!(shown, code("1 MD5 other"));
}

#[test]
fn only_trusted_keys_are_kept() {
    let keys = read(b"1 MD5 one\n2 MD5 two\n", |id| id == 2, &mut |_| ());
    assert!(keys.get(1).is_none() && keys.get(2).is_some());
    assert!(KeyTable::default().is_empty() && keys.len() == 1);
}

#[test]
fn only_the_same_key_over_the_same_octets_verifies() {
    let (keys, _) = read_all(b"1 MD5 one\n2 SHA1 two\n3 AES 0123456789abcdef\n");
    for (id, length) in [(1, 68), (2, 72), (3, 68)] {
        let key = keys.get(id).expect("a key");
        let mut packet = [0x24; 72];
        assert_eq!(key.sign(&mut packet, 48), Some(length));
        assert!(key.verifies(&packet[..length]));
        assert!((0..length).all(|cut| !key.verifies(&packet[..cut])));
        for bit in 0..8 * length {
            // Other bits of the first octet are the version, which decides what may follow the header.
            let mut other = packet;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.verifies(&other[..length]), "key {id}, bit {bit}");
        }
        assert_eq!(key.sign(&mut packet[..length - 1], 48), None, "no room");
        assert_eq!(key.sign(&mut packet, 73), None);
    }
}
