//! Who may ask what.

use super::*;

fn no_names(_: &str, _: Family) -> Vec<IpAddr> {
    Vec::new()
}

/// What a request from `address` meets: the most specific entry.
fn flags(config: &Config, address: &str, port: u16) -> RestrictFlags {
    let address: IpAddr = address.parse().expect("an address");
    let entries = config.restrictions(no_names);
    let matching =
        entries.iter().filter(|entry| entry.prefix.contains(address) && (!entry.ntpport || port == 123));
    let best = matching.max_by_key(|entry| (entry.prefix.length(), entry.ntpport));
    best.expect("every address has an entry").flags
}

const NOQUERY: RestrictFlags = RestrictFlags::NOQUERY;
const IGNORE: RestrictFlags = RestrictFlags::IGNORE;
const NOMODIFY: RestrictFlags = RestrictFlags::NOMODIFY;
const NONE: RestrictFlags = RestrictFlags::NONE;

#[test]
fn f1_default_is_both_families_or_the_one_asked_for() {
    let both = clean("restrict default ignore");
    assert_eq!(flags(&both, "192.0.2.1", 5), IGNORE | NOQUERY);
    assert_eq!(flags(&both, "2001:db8::1", 5), IGNORE | NOQUERY);
    let v4 = clean("restrict -4 default ignore");
    assert_eq!(flags(&v4, "192.0.2.1", 5), IGNORE | NOQUERY);
    assert_eq!(flags(&v4, "2001:db8::1", 5), NOQUERY);
    let v6 = clean("restrict -6 default ignore");
    assert_eq!(flags(&v6, "192.0.2.1", 5), NOQUERY);
    assert_eq!(flags(&v6, "2001:db8::1", 5), IGNORE | NOQUERY);
}

#[test]
fn f2_the_most_specific_entry_wins_entirely_in_any_order() {
    let lines = [
        "restrict default noserve noquery",
        "restrict 192.0.2.0/24 nomodify",
        "restrict 192.0.2.128 mask 255.255.255.128 ignore",
        "restrict 192.0.2.200",
    ];
    let mut reversed = lines;
    reversed.reverse();
    for lines in [lines, reversed] {
        let config = clean(&lines.join("\n"));
        assert_eq!(flags(&config, "198.51.100.1", 5), RestrictFlags::NOSERVE | NOQUERY);
        assert_eq!(flags(&config, "192.0.2.1", 5), NOMODIFY);
        assert_eq!(flags(&config, "192.0.2.129", 5), IGNORE);
        assert_eq!(flags(&config, "192.0.2.200", 5), NONE);
    }
}

#[test]
fn f2_ntpport_is_more_specific_than_the_same_addresses_without() {
    let config = clean(
        "restrict 192.0.2.1 ntpport ignore\nrestrict 192.0.2.1 nomodify\nrestrict 192.0.2.2 ntpport ignore",
    );
    assert_eq!(flags(&config, "192.0.2.1", 123), IGNORE);
    assert_eq!(flags(&config, "192.0.2.1", 124), NOMODIFY);
    assert_eq!(flags(&config, "192.0.2.2", 123), IGNORE);
    assert_eq!(flags(&config, "192.0.2.2", 124), NOQUERY);
}

#[test]
fn f3_equal_entries_add_their_flags() {
    let config =
        clean("restrict default nomodify noquery\nrestrict 0.0.0.0 mask 0.0.0.0 nomodify noquery noserve");
    assert_eq!(flags(&config, "192.0.2.1", 5), NOMODIFY | NOQUERY | RestrictFlags::NOSERVE);
    assert_eq!(flags(&config, "2001:db8::1", 5), NOMODIFY | NOQUERY);
    // Who hoped to take a flag back is told.
    assert_eq!(
        finding("restrict default nomodify noquery\n\nrestrict 0.0.0.0 mask 0.0.0.0 nomodify"),
        "3:10: warning: the same addresses as in :1: flags add up, and none of \"noquery\" is taken back"
    );
}

#[test]
fn f4_masks_lengths_hosts_and_names() {
    let prefix = |line: &str| clean(line).restrict.remove(0).target;
    let expected = |address: &str, length| {
        RestrictTarget::Prefix(Prefix::new(address.parse().expect("an address"), length).expect("a length"))
    };
    assert_eq!(prefix("restrict 172.16.0.0 mask 255.255.0.0"), expected("172.16.0.0", 16));
    assert_eq!(prefix("restrict 172.16.0.0/16"), expected("172.16.0.0", 16));
    assert_eq!(prefix("restrict 172.16.0.1"), expected("172.16.0.1", 32));
    assert_eq!(
        prefix("restrict nomodify.example nomodify"),
        RestrictTarget::Name { name: "nomodify.example".to_owned(), family: Family::Any }
    );
    assert_eq!(prefix("restrict 2001:db8:: mask ffff:ffff::"), expected("2001:db8::", 32));
    assert_eq!(prefix("restrict [2001:db8::1]"), expected("2001:db8::1", 128));
    assert_eq!(prefix("restrict [2001:db8::]/32"), expected("2001:db8::", 32));
    assert_eq!(prefix("restrict -6 ::1"), expected("::1", 128));
    assert_eq!(prefix("restrict 0.0.0.0/0 noquery"), expected("0.0.0.0", 0));
}

#[test]
fn f4_a_mask_with_holes_is_refused_loudly() {
    let text = finding("restrict 192.0.2.0 mask 255.0.255.0 ignore");
    assert!(text.starts_with("1:25: error: the mask \"255.0.255.0\" is not contiguous; "), "{text}");
    assert!(clean("").restrict.is_empty());
}

#[test]
fn f4_bits_outside_the_mask_are_cut_off_with_a_warning() {
    let (config, findings) = read("restrict 192.168.10.77 mask 255.255.240.0 ignore");
    assert_eq!(
        findings,
        ["1:10: warning: \"192.168.10.77\" has bits outside its mask: it means 192.168.0.0/20"]
    );
    assert_eq!(flags(&config, "192.168.15.1", 5), IGNORE);
}

#[test]
fn f4_a_mask_and_a_length_contradict_each_other() {
    assert_eq!(
        finding("restrict 192.0.2.0/24 mask 255.255.255.0"),
        "1:28: error: \"192.0.2.0/24\" has a length already"
    );
}

#[test]
fn f4_a_name_is_all_its_addresses_of_the_family() {
    let config = clean("restrict time.example ignore\nrestrict -6 six.example ignore");
    let addresses =
        || ["192.0.2.1", "2001:db8::1"].map(|address| address.parse().expect("an address")).to_vec();
    let mut asked = Vec::new();
    let entries = config.restrictions(|name, family| {
        asked.push((name.to_owned(), family));
        addresses()
    });
    assert_eq!(asked, [("time.example".to_owned(), Family::Any), ("six.example".to_owned(), Family::V6)]);
    let hosts: Vec<_> =
        entries.iter().filter(|entry| entry.flags == IGNORE).map(|entry| entry.prefix).collect();
    assert_eq!(hosts, addresses().into_iter().map(Prefix::host).collect::<Vec<_>>());
}

#[test]
fn f5_source_is_a_template_for_servers() {
    let config =
        clean("restrict source nomodify\nrestrict -6 source noquery\nrestrict default noquery ignore");
    assert_eq!(config.source_restriction([192, 0, 2, 1].into()), Some(NOMODIFY));
    assert_eq!(
        config.source_restriction("2001:db8::1".parse().expect("an address")),
        Some(NOMODIFY | NOQUERY)
    );
    assert_eq!(clean("restrict -4 source").source_restriction([192, 0, 2, 1].into()), Some(NONE));
    assert_eq!(clean("").source_restriction([192, 0, 2, 1].into()), None);
    // It makes no entry of its own.
    assert_eq!(flags(&config, "192.0.2.1", 5), IGNORE | NOQUERY);
}

#[test]
fn f6_disable_monitor_but_limited_keeps_it() {
    assert!(clean("restrict default noquery").monitor());
    assert!(!clean("disable monitor\nrestrict default noquery").monitor());
    let (config, findings) = read("disable monitor\nrestrict default noquery\nrestrict 192.0.2.1 limited");
    assert!(config.monitor());
    assert!(!config.switches.monitor);
    assert!(findings[0].starts_with("1:9: warning: \"disable monitor\" has no effect"), "{findings:#?}");
    // Nobody is limited without being named.
    assert!(!clean("disable monitor\nrestrict -4 default noquery").monitor());
    // Taken back.
    assert!(active_findings("disable monitor\nenable monitor\nrestrict default limited noquery").is_empty());
}

#[test]
fn k4_kod_without_limited_is_warned_of_once() {
    assert_eq!(
        finding("restrict default kod noquery\nrestrict 192.0.2.1 nomodify kod"),
        "1:18: warning: \"kod\" has no effect without \"limited\" for the same addresses (and on 1 more line)"
    );
    // Lines for the same addresses are one entry.
    assert!(active_findings("restrict default kod noquery\nrestrict default noquery kod limited").is_empty());
    let one_family = active_findings("restrict default kod noquery\nrestrict -4 default noquery kod limited");
    assert_eq!(one_family.len(), 1, "{one_family:#?}");
}

#[test]
fn nobody_but_this_host_asks_by_default() {
    let config = clean("");
    assert_eq!(flags(&config, "192.0.2.1", 5), NOQUERY);
    assert_eq!(flags(&config, "2001:db8::1", 5), NOQUERY);
    assert_eq!(flags(&config, "127.0.0.1", 5), NONE);
    assert_eq!(flags(&config, "::1", 5), NONE);
    // A default line says whether clients are limited, but never lets everybody ask.
    let (open, findings) = read("restrict default nomodify");
    assert_eq!(flags(&open, "192.0.2.1", 5), NOMODIFY | NOQUERY);
    assert_eq!(flags(&open, "127.0.0.1", 123), NOMODIFY);
    assert!(findings[0].starts_with("1:10: warning: control messages"), "{findings:#?}");
    assert_eq!(findings.len(), 1, "{findings:#?}");
    // Who is named may.
    assert_eq!(flags(&clean("restrict 192.0.2.0/24 nomodify"), "192.0.2.1", 5), NOMODIFY);
}

#[test]
fn k12_this_host_is_limited_only_by_lines_that_mean_it() {
    let limited = RestrictFlags::LIMITED | RestrictFlags::KOD;
    let everybody = clean("restrict default kod limited nomodify noquery");
    for this_host in ["127.0.0.1", "::1"] {
        assert_eq!(flags(&everybody, this_host, 5), NOMODIFY | NOQUERY);
        assert_eq!(flags(&everybody, this_host, 123), NOMODIFY | NOQUERY);
    }
    assert!(flags(&everybody, "127.0.0.2", 5).contains(limited));
    assert!(flags(&everybody, "::2", 5).contains(limited));
    let meant = clean("restrict 127.0.0.0/8 limited kod\nrestrict ::1 limited kod");
    assert!(flags(&meant, "127.0.0.1", 5).contains(limited) && flags(&meant, "::1", 5).contains(limited));
    let from_port_123 = clean("restrict default noquery\nrestrict default ntpport limited kod noquery");
    assert_eq!(flags(&from_port_123, "127.0.0.1", 123), NOQUERY);
    assert_eq!(flags(&from_port_123, "127.0.0.2", 123), NOQUERY | limited);
}

#[test]
fn this_host_gets_what_the_file_says() {
    assert_eq!(flags(&clean("restrict default ignore"), "127.0.0.1", 5), IGNORE);
    assert_eq!(flags(&clean("restrict default ignore\nrestrict 127.0.0.1"), "127.0.0.1", 5), NONE);
    assert_eq!(flags(&clean("restrict 127.0.0.0/8 noserve"), "127.0.0.1", 5), RestrictFlags::NOSERVE);
    let ntpport = clean("restrict default noquery ntpport ignore");
    assert_eq!(
        (flags(&ntpport, "127.0.0.1", 123), flags(&ntpport, "127.0.0.1", 5)),
        (IGNORE | NOQUERY, NONE)
    );
}
