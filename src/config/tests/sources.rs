//! Associations and the local clock.

use super::*;

#[test]
fn f11_association_options_in_any_order() {
    let text = "server time.example key 7 version 3 maxpoll 9 iburst prefer minpoll 4 true noselect nts";
    let config = clean(text);
    let [association] = config.associations.as_slice() else { panic!("{config:#?}") };
    assert_eq!(association.host, Host::Name("time.example".to_owned()));
    assert_eq!((association.minpoll, association.maxpoll), (4, 9));
    assert_eq!((association.key, association.version), (Some(7), 3));
    assert!(association.iburst && association.prefer && association.truechimer);
    assert!(association.noselect && association.nts);
    let plain = read("pool -6 pool.example").0.associations.remove(0);
    assert_eq!((plain.kind, plain.family), (AssociationKind::Pool, Family::V6));
    assert_eq!((plain.minpoll, plain.maxpoll, plain.version, plain.key), (6, 10, 4, None));
    assert!(!plain.iburst && !plain.prefer && !plain.truechimer && !plain.noselect && !plain.nts);
}

#[test]
fn f11_poll_limits_make_room_for_each_other() {
    let limits = |line: &str| {
        let association = read(line).0.associations.remove(0);
        (association.minpoll, association.maxpoll)
    };
    assert_eq!(limits("server a minpoll 12"), (12, 12));
    assert_eq!(limits("server a maxpoll 4"), (4, 4));
    assert_eq!(limits("server a minpoll 0 maxpoll 17"), (0, 17));
    assert_eq!(finding("server a maxpoll 5 minpoll 7"), "1:8: error: minpoll 7 is above maxpoll 5");
    assert_eq!(
        finding("server a minpoll 18"),
        "1:18: error: \"minpoll\" needs a number from 0 to 17, not \"18\""
    );
}

#[test]
fn f11_peer_is_a_server_and_burst_is_iburst_with_a_warning() {
    let (config, findings) = read("peer 192.0.2.1 burst\npeer 192.0.2.2");
    assert_eq!(config.associations.len(), 2);
    assert!(config.associations.iter().all(|association| association.kind == AssociationKind::Server));
    assert!(config.associations[0].iburst);
    let about = |word: &str| findings.iter().filter(|finding| finding.contains(word)).count();
    assert_eq!((about("\"peer\" is treated"), about("\"burst\" is taken"), findings.len()), (1, 1, 2));
}

#[test]
fn f11_hosts_that_are_none() {
    for (line, column) in [
        ("server", 7),
        ("server -4", 10),
        ("server 192.0.2.300", 8),
        ("server 192.0.2", 8),
        ("server 192.0.2.1:123", 8),
        ("server [192.0.2.1]", 8),
        ("server -6 192.0.2.1", 11),
        ("server -4 2001:db8::1", 11),
        ("server 2001:db8::g", 8),
        ("server a..b", 8),
        ("server -a", 8),
        ("server \"\"", 8),
        ("server münchen.example", 8),
        ("server a autokey", 10),
        ("pool 127.127.1.0", 6),
    ] {
        let (config, findings) = read(line);
        assert_eq!(findings.len(), 1, "{line}: {findings:#?}");
        assert!(findings[0].starts_with(&format!("1:{column}: error: ")), "{line}: {findings:#?}");
        assert_eq!(config, Config::default(), "{line}");
    }
    let scoped = read("server fe80::1%eth0").0.associations.remove(0);
    assert_eq!(scoped.host, Host::Name("fe80::1%eth0".to_owned()));
}

#[test]
fn c22_the_local_clock_is_served_one_stratum_down() {
    let clock = |text: &str| *clean(text).local_clock().expect("a local clock");
    let plain = clock("server 127.127.1.0");
    assert_eq!((plain.served_stratum(), plain.served_refid()), (6, [127, 127, 1, 0]));
    let fudged = clock("server 127.127.1.0\nfudge 127.127.1.0 stratum 10");
    assert_eq!((fudged.served_stratum(), fudged.served_refid()), (11, [127, 127, 1, 0]));
    let unit = clock("fudge 127.127.1.3 stratum 3 refid LCL\nserver 127.127.1.3");
    assert_eq!((unit.served_stratum(), unit.served_refid(), unit.refid), (4, [127, 127, 1, 3], *b"LCL\0"));
    let primary = clock("server 127.127.1.0\nfudge 127.127.1.0 stratum 0");
    assert_eq!((primary.served_stratum(), primary.served_refid()), (1, *b"LOCL"));
    let modern = clock("refclock local unit 2 stratum 7 refid ABCD");
    assert_eq!(modern, LocalClock { unit: 2, stratum: 7, refid: *b"ABCD", time1_seconds: 0.0 });
}

#[test]
fn c22_what_fudge_cannot_do() {
    assert_eq!(
        finding("fudge 127.127.1.0 stratum 3"),
        "1:7: warning: \"fudge 127.127.1.0\" has no effect: there is no \"server 127.127.1.0\""
    );
    let text = finding("server 127.127.1.0\nfudge 127.127.1.0 stratum 15");
    assert!(text.starts_with("2:7: warning: stratum 15 is served as stratum 16"), "{text}");
    assert_eq!(
        finding("fudge 127.127.1.0 stratum 16"),
        "1:27: error: \"stratum\" needs a number from 0 to 15, not \"16\""
    );
    assert_eq!(
        finding("fudge 127.127.1.0 refid LOCAL"),
        "1:25: error: \"refid\" needs 1 to 4 ASCII characters, not \"LOCAL\""
    );
    let text = finding("server 127.127.28.0 prefer");
    assert!(
        text.starts_with("1:8: error: \"127.127.28.0\" is driver 28, shm (shared memory): not supported"),
        "{text}"
    );
    let text = finding("fudge 192.0.2.1 stratum 3");
    assert!(text.starts_with("1:7: error: \"192.0.2.1\" is no reference clock"), "{text}");
}

#[test]
fn c22_of_several_local_clocks_the_lowest_stratum_is_served() {
    let config = clean(
        "server 127.127.1.0\nserver 127.127.1.1\nfudge 127.127.1.1 stratum 3\nserver 127.127.1.2\n\
         fudge 127.127.1.2 stratum 3",
    );
    assert_eq!(config.local_clock().map(|clock| clock.unit), Some(1));
    assert!(finding("server 127.127.1.0\nrefclock local").contains("is there already"));
}
