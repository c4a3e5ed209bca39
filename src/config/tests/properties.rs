//! What holds for every file.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Loads bytes that include nothing else.
fn load_bytes(bytes: &[u8]) -> (Config, Findings) {
    let mut read = |path: &Path| match path.to_str() {
        Some("/ntp.conf") => Ok(bytes.to_vec()),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    load(Path::new("/ntp.conf"), &mut read).expect("the file is there and short")
}

/// Findings point into the text, in reading order, and are one line each.
fn check_findings(bytes: &[u8], findings: &Findings) {
    let lines: Vec<_> = bytes.split(|&byte| byte == b'\n').collect();
    let mut last = (1, 1);
    for finding in findings {
        let place = (finding.position.line, finding.position.column);
        assert!(last <= place, "{finding} after {last:?}");
        last = place;
        let line = lines.get(place.0 as usize - 1).expect("the line is there");
        let characters = String::from_utf8_lossy(line).chars().count();
        assert!((1..=characters + 1).contains(&(place.1 as usize)), "{finding} in {line:?}");
        assert!(!finding.to_string().contains(char::is_control), "{finding:?}");
    }
    assert_eq!(findings.errors() + findings.warnings(), findings.iter().count() + findings.dropped());
}

/// Everything that a caller may ask.
fn ask(config: &Config) {
    let anybody = [IpAddr::from([192, 0, 2, 1]), IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 1])];
    let entries = config.restrictions(|_, _| anybody.to_vec());
    assert!(entries.is_sorted_by_key(|entry| (entry.prefix, entry.ntpport)));
    for address in anybody {
        assert!(entries.iter().any(|entry| !entry.ntpport && entry.prefix.contains(address)));
        config.interface_action(address, "eth0");
        config.source_restriction(address);
    }
    if let Some(clock) = config.local_clock() {
        assert!((1..=16).contains(&clock.served_stratum()));
        assert!(clock.served_stratum() == 1 || clock.served_refid() == [127, 127, 1, clock.unit]);
    }
    config.monitor();
}

/// A word that means something somewhere.
fn word() -> impl Strategy<Value = String> {
    let known = "server pool peer refclock fudge restrict discard limit interface nic keys trustedkey \
                 controlkey crypto includefile driftfile leapfile statistics filegen statsdir \
                 logconfig tinker tos enable disable mru dscp broadcast setvar default source -4 -6 \
                 mask ignore noserve noquery nomodify kod limited notrust nomrulist version ntpport \
                 notrap ippeerlimit listen drop all ipv4 ipv6 wildcard eth0 eth* 127.127.1.0 \
                 127.127.1.255 127.127.28.0 192.0.2.0 192.0.2.0/24 192.0.2.0/33 255.255.255.0 \
                 255.0.255.0 ::1 2001:db8::/32 ffff:: [::1] [::1 0.0.0.0 0.0.0.0/0 ::/0 fe80::1%eth0 \
                 time.example.org a..b iburst burst prefer minpoll maxpoll key nts stratum refid LOCL \
                 LOCAL time1 flag1 unit local shm (1 ... 5) 1...3 (9...1) 0 1 3 15 16 255 65535 65536 \
                 -1 .5 1e9 nan inf step panic stepout maxclock minsane orphan ntp monitor auth stats \
                 average minimum maxdepth loopstats file type day link \"quoted \"quoted\" \"\" = # é \
                 \u{0} \u{85} /ntp.conf /etc/x ibrust SERVER";
    proptest::sample::select(known.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
}

fn line() -> impl Strategy<Value = String> {
    let end = proptest::sample::select(vec!["\n", "\r\n", " \n", "# x\n"]);
    (vec(word(), 0..9), end).prop_map(|(words, end)| words.join(" ") + end)
}

/// The configuration files that people have.
fn corpus() -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/ntp.conf");
    let files =
        std::fs::read_dir(directory).expect("the corpus is there").map(|file| file.expect("a file").path());
    let mut files: Vec<_> =
        files.filter(|file| file.extension().is_some_and(|name| name == "conf")).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).expect("a file")).collect()
}

/// Addresses and networks near each other, so that they nest and collide.
fn prefix() -> impl Strategy<Value = Prefix> {
    let v4 = (0_u32..8, 28_u8..=32)
        .prop_map(|(low, length)| (IpAddr::from((0xc000_0200 | low).to_be_bytes()), length));
    let v6 = (0_u128..8, 124_u8..=128).prop_map(|(low, length)| (IpAddr::from(low.to_be_bytes()), length));
    let all = prop_oneof![Just(Prefix::ALL_V4), Just(Prefix::ALL_V6)];
    let near =
        prop_oneof![v4, v6].prop_map(|(address, length)| Prefix::new(address, length).expect("a prefix"));
    prop_oneof![1 => all, 8 => near]
}

const FLAGS: [(&str, RestrictFlags); 9] = [
    ("ignore", RestrictFlags::IGNORE),
    ("noserve", RestrictFlags::NOSERVE),
    ("noquery", RestrictFlags::NOQUERY),
    ("nomodify", RestrictFlags::NOMODIFY),
    ("kod", RestrictFlags::KOD),
    ("limited", RestrictFlags::LIMITED),
    ("notrust", RestrictFlags::NOTRUST),
    ("nomrulist", RestrictFlags::NOMRULIST),
    ("version", RestrictFlags::VERSION),
];

/// A `restrict` line: whom it is about, whether from port 123 only, its flags.
type Rule = (Prefix, bool, Vec<(&'static str, RestrictFlags)>);

fn rule() -> impl Strategy<Value = Rule> {
    (prefix(), any::<bool>(), proptest::sample::subsequence(FLAGS.to_vec(), 0..=3))
}

fn write((prefix, ntpport, flags): &Rule) -> String {
    let words = flags.iter().map(|(word, _)| *word).chain(ntpport.then_some("ntpport"));
    format!("restrict {}/{} {}\n", prefix.address(), prefix.length(), words.collect::<Vec<_>>().join(" "))
}

fn union(flags: &[(&str, RestrictFlags)]) -> RestrictFlags {
    flags.iter().fold(RestrictFlags::NONE, |all, (_, flag)| all | *flag)
}

/// The flags of the most specific of the rules for a request, if there is any, straight from the definition.
fn model(rules: &[Rule], address: IpAddr, port: u16) -> Option<(Prefix, RestrictFlags)> {
    let applies = |rule: &&Rule| rule.0.contains(address) && (!rule.1 || port == 123);
    let best = rules.iter().filter(applies).map(|rule| (rule.0.length(), rule.1)).max()?;
    let same = rules.iter().filter(applies).filter(|rule| (rule.0.length(), rule.1) == best);
    let (prefix, ..) = same.clone().next()?;
    Some((*prefix, same.fold(RestrictFlags::NONE, |all, rule| all | union(&rule.2))))
}

proptest! {
    #[test]
    fn any_bytes_are_read(bytes in vec(any::<u8>(), 0..2000)) {
        let (config, findings) = load_bytes(&bytes);
        check_findings(&bytes, &findings);
        ask(&config);
    }

    #[test]
    fn any_words_are_read(lines in vec(line(), 0..40)) {
        let text = lines.concat();
        let (config, findings) = load_bytes(text.as_bytes());
        check_findings(text.as_bytes(), &findings);
        ask(&config);
    }

    #[test]
    fn damaged_files_are_read(
        file in proptest::sample::select(corpus()),
        damage in vec((any::<proptest::sample::Index>(), any::<u8>(), 0_usize..30), 1..20),
    ) {
        let mut bytes = file;
        for (at, byte, cut) in damage {
            let at = at.index(bytes.len() + 1);
            bytes.splice(at..(at + cut).min(bytes.len()), [byte]);
        }
        let (config, findings) = load_bytes(&bytes);
        check_findings(&bytes, &findings);
        ask(&config);
    }

    #[test]
    fn a_bad_line_leaves_the_others_alone(lines in vec(line(), 0..20), at in 0_usize..20) {
        let text = lines.concat();
        let (before, after) = lines.split_at(at.min(lines.len()));
        let with_bad_line = [&before.concat(), "restrict default nonsense\n", &after.concat()].concat();
        let (config, findings) = load_bytes(text.as_bytes());
        let (other, other_findings) = load_bytes(with_bad_line.as_bytes());
        prop_assert_eq!(findings.errors() + 1, other_findings.errors());
        prop_assert_eq!(findings.warnings(), other_findings.warnings());
        prop_assert_eq!(config.restrictions(|_, _| Vec::new()), other.restrictions(|_, _| Vec::new()));
        prop_assert_eq!(config.local_clocks, other.local_clocks);
        prop_assert_eq!(config.interfaces, other.interfaces);
    }

    #[test]
    fn restrict_lines_say_what_was_written(rules in vec(rule(), 0..20)) {
        let text: String = rules.iter().map(write).collect();
        let (config, findings) = load_bytes(text.as_bytes());
        prop_assert_eq!(findings.errors(), 0);
        prop_assert_eq!(config.restrict.len(), rules.len());
        for (line, (prefix, ntpport, flags)) in config.restrict.iter().zip(&rules) {
            prop_assert_eq!(&line.target, &RestrictTarget::Prefix(*prefix));
            prop_assert_eq!((line.ntpport, line.flags), (*ntpport, union(flags)));
        }
    }

    #[test]
    fn the_access_list_is_the_definition_in_any_order(
        rules in vec(rule(), 0..20),
        low in 0_u32..16,
        v6 in any::<bool>(),
        port in prop_oneof![Just(123_u16), any::<u16>()],
    ) {
        let text: String = rules.iter().map(write).collect();
        let reversed: String = rules.iter().rev().map(write).collect();
        let entries = load_bytes(text.as_bytes()).0.restrictions(|_, _| Vec::new());
        prop_assert_eq!(&entries, &load_bytes(reversed.as_bytes()).0.restrictions(|_, _| Vec::new()));
        let address = if v6 { IpAddr::from(u128::from(low).to_be_bytes()) } else {
            IpAddr::from((0xc000_0200 | low).to_be_bytes())
        };
        let found = entries
            .iter()
            .filter(|entry| entry.prefix.contains(address) && (!entry.ntpport || port == 123))
            .max_by_key(|entry| (entry.prefix.length(), entry.ntpport))
            .expect("every address has an entry");
        let noquery = RestrictFlags::NOQUERY;
        let expected = match model(&rules, address, port) {
            // ::1 is this host.
            None if address.is_loopback() => RestrictFlags::NONE,
            None => noquery,
            Some((prefix, flags)) if prefix.length() == 0 && address.is_loopback() => {
                flags.without(RestrictFlags::LIMITED | RestrictFlags::KOD)
            }
            Some((prefix, flags)) if prefix.length() == 0 => flags | noquery,
            Some((_, flags)) => flags,
        };
        prop_assert_eq!(found.flags, expected);
    }

    #[test]
    fn fudged_clocks_say_what_was_written(
        unit in any::<u8>(),
        stratum in 0_u8..=15,
        refid in "[!-~&&[^\"#=]]{1,4}",
        time1 in -3600.0..=3600.0,
        fudge_first in any::<bool>(),
    ) {
        let server = format!("server 127.127.1.{unit}\n");
        let fudge = format!("fudge 127.127.1.{unit} time1 {time1} refid {refid} stratum {stratum}\n");
        let text = if fudge_first { fudge + &server } else { server + &fudge };
        let (config, findings) = load_bytes(text.as_bytes());
        prop_assert_eq!(findings.errors(), 0);
        let clock = config.local_clock().expect("a local clock");
        prop_assert_eq!((clock.unit, clock.stratum, clock.time1_seconds), (unit, stratum, time1));
        prop_assert_eq!(clock.refid.as_slice().trim_ascii_end(), clock.refid.as_slice());
        prop_assert!(clock.refid.starts_with(refid.as_bytes()));
        prop_assert_eq!(clock.served_stratum(), stratum + 1);
    }
}

/// Sizes at which anything quadratic would take hours. Unoptimized, a few seconds are expected.
#[test]
fn large_files_are_read_in_time() {
    let start = std::time::Instant::now();
    let lines = 100_000_u32;
    let networks: String = (0..lines)
        .map(|n| format!("restrict {}/24 notrap kod\n", IpAddr::from((n << 8).to_be_bytes())))
        .collect();
    let (config, findings) = load_bytes(networks.as_bytes());
    assert_eq!(config.restrict.len(), lines as usize);
    // The builtin defaults of both families, and this host's two addresses; 0.0.0.0/24 to 1.134.159.0/24 are
    // none of them.
    assert_eq!(config.restrictions(|_, _| Vec::new()).len(), lines as usize + 4);
    assert_eq!(findings.warnings(), 2);
    let again = "restrict default noquery\nrestrict default nomodify kod\n".repeat(lines as usize / 2);
    assert_eq!(load_bytes(again.as_bytes()).1.warnings(), 2);
    for text in [
        "server ibrust\"\n".repeat(100_000),
        "\" ".repeat(5_000_000),
        "(\n".repeat(100_000),
        "a".repeat(10_000_000),
    ] {
        let (_, findings) = load_bytes(text.as_bytes());
        assert!(!findings.is_empty());
    }
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}
