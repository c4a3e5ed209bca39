//! Whatever stands in ntp.conf, it is read to its end, and every finding can be shown.
//!
//! An input is the main file and, after each zero octet, what the next included file holds. Beyond them no
//! file exists.

#![no_main]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use ntpring::config;

fuzz_target!(|input: &[u8]| {
    let mut files = input.split(|octet| *octet == 0);
    let mut read = |_: &Path| files.next().map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::NotFound.into());
    let Ok((config, findings)) = config::load(Path::new("/ntp.conf"), &mut read) else {
        unreachable!("there is always a first file, and inputs are short");
    };

    let shown = findings.iter().filter(|finding| !finding.to_string().is_empty()).count();
    assert!(shown + findings.dropped() >= findings.errors() + findings.warnings());
    assert!(findings.is_empty() == (findings.errors() + findings.warnings() == 0));

    let addresses: [IpAddr; 3] =
        [Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(192, 0, 2, 1).into(), Ipv6Addr::LOCALHOST.into()];
    let restrictions = config.restrictions(|_, _| addresses.to_vec());
    for address in addresses {
        let covered = restrictions.iter().any(|restriction| restriction.prefix.contains(address));
        assert!(covered, "every address has an entry: {address}");
        config.source_restriction(address);
        config.interface_action(address, "eth0");
    }
    config.local_clock();
    config.monitor();
});
