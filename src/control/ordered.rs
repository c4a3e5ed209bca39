//! READ_ORDLIST: the addresses that are served, and whom `restrict` is about.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::fragment::{DATA_MAX, FRAGMENTS_MAX};
use super::view::{Interface, Lists, Restriction};
use super::writer::List;

/// Octets of data that a response can have.
const ROOM: usize = FRAGMENTS_MAX * DATA_MAX;
/// Octets of one entry, at most.
const ENTRY: usize = 512;

/// The list that a request's data asks for; `None` if nobody knows it. ntpq asks for `ifstats` by name, or by
/// none at all.
pub(super) fn read(data: &[u8], lists: &Lists) -> Option<Vec<u8>> {
    match data {
        b"" | b"ifstats" => Some(written(&lists.interfaces, push_interface)),
        b"addr_restrictions" => Some(written(&lists.restrictions, push_restriction)),
        _ => None,
    }
}

/// The first entries, as many as there is room for.
fn written<T>(entries: &[T], push: impl Fn(&mut List, usize, &T)) -> Vec<u8> {
    let mut list = List::default();
    for (number, entry) in entries.iter().enumerate() {
        if list.len() + ENTRY > ROOM {
            break;
        }
        push(&mut list, number, entry);
    }
    list.finish()
}

/// There are no broadcasts and no multicasts, so neither an address for them nor a count.
fn push_interface(list: &mut List, number: usize, interface: &Interface) {
    list.push(format_args!("addr.{number}"), interface.address);
    list.push(format_args!("bcast.{number}"), "");
    list.push(format_args!("en.{number}"), 1);
    list.push(format_args!("name.{number}"), super::format::quoted(&interface.name));
    list.push(format_args!("flags.{number}"), format_args!("0x{:x}", interface.flags));
    list.push(format_args!("tl.{number}"), 0);
    list.push(format_args!("mc.{number}"), 0);
    list.push(format_args!("rx.{number}"), interface.received);
    list.push(format_args!("tx.{number}"), interface.sent);
    list.push(format_args!("txerr.{number}"), interface.send_failed);
    list.push(format_args!("pc.{number}"), interface.peers);
    list.push(format_args!("up.{number}"), interface.uptime);
}

fn push_restriction(list: &mut List, number: usize, restriction: &Restriction) {
    let length = u32::from(restriction.length);
    let mask: IpAddr = match restriction.address {
        IpAddr::V4(_) => Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - length.min(32)).unwrap_or(0)).into(),
        IpAddr::V6(_) => {
            Ipv6Addr::from_bits(u128::MAX.checked_shl(128 - length.min(128)).unwrap_or(0)).into()
        }
    };
    list.push(format_args!("addr.{number}"), restriction.address);
    list.push(format_args!("mask.{number}"), mask);
    list.push(format_args!("hits.{number}"), restriction.hits);
    list.push(format_args!("flags.{number}"), &restriction.flags);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restriction(number: u32) -> Restriction {
        Restriction {
            address: Ipv4Addr::from_bits(number << 8).into(),
            length: 24,
            hits: u64::MAX,
            flags: "ntpport serve trust nopeer noepeer limited noquery nomodify notrap kod nomrulist"
                .to_owned(),
        }
    }

    #[test]
    fn a_list_has_no_more_than_fits_a_response() {
        let restrictions = (0..100_000).map(restriction).collect();
        let text = read(b"addr_restrictions", &Lists { restrictions, ..Lists::default() }).expect("a list");
        assert!((ROOM - ENTRY..=ROOM).contains(&text.len()), "{}", text.len());
        let text = String::from_utf8(text).expect("text");
        assert!(text.starts_with("addr.0=0.0.0.0, mask.0=255.255.255.0, hits.0=18446744073709551615,\r\n"));
        assert!(text.ends_with("nomrulist\r\n"));
        assert_eq!(read(b"ifstats ", &Lists::default()), None);
        assert_eq!(read(b"", &Lists::default()), Some(Vec::new()));
    }
}
