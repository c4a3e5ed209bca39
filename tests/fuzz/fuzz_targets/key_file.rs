//! Whatever stands in a key file, it is read to its end; what is told points into it; and every key that
//! comes of it makes codes that it verifies, and no others.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ntpring::auth::{self, MAC_MAX};
use ntpring::wire::HEADER_LEN;

fuzz_target!(|text: &[u8]| {
    let lines: Vec<_> = text.split(|octet| *octet == b'\n').collect();
    let mut skipped = 0;
    let keys = auth::read(text, |id| id != 7, &mut |fault| {
        let line = lines[fault.line as usize - 1];
        assert!((1..=line.len()).contains(&(fault.column as usize)), "{fault:?}");
        assert!(!fault.text.contains(char::is_control), "{fault:?}");
        skipped += usize::from(fault.is_skipped);
    });
    assert!(keys.len() + skipped <= lines.len());
    assert!(keys.get(7).is_none() && keys.get(0).is_none());

    let ids: Vec<u32> = (1..=u16::MAX.into()).filter(|id| keys.get(*id).is_some()).take(4).collect();
    for id in ids {
        let Some(key) = keys.get(id) else { unreachable!("it was there") };
        let mut packet = [0x23; HEADER_LEN + MAC_MAX];
        let Some(length) = key.sign(&mut packet, HEADER_LEN) else { unreachable!("there is room") };
        assert!(length == HEADER_LEN + 20 || length == HEADER_LEN + 24);
        assert!(key.verifies(&packet[..length]));
        packet[length - 1] ^= 1;
        assert!(!key.verifies(&packet[..length]));
    }
});
