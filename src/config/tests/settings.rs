//! Everything else.

use super::*;

#[test]
fn f10_keys() {
    let (config, findings) = read(
        "keys /etc/ntp/keys\ntrustedkey 1 (5...7) (10 ... 12) 20...21 (65535)\ntrustedkey 3\ncontrolkey 5\nrequestkey 6",
    );
    let trusted: Vec<u16> = (0..=u16::MAX).filter(|&key| config.trusted_keys.contains(key)).collect();
    assert_eq!(trusted, [1, 3, 5, 6, 7, 10, 11, 12, 20, 21, 65535]);
    assert_eq!(config.control_key.map(|key| key.value), Some(5));
    let keys = config.keys_file.expect("a keys file");
    assert_eq!(keys.value, Path::new("/etc/ntp/keys"));
    assert_eq!((keys.position.line, keys.position.column), (1, 6));
    // Whether the file is there is not asked here.
    assert_eq!(findings.iter().filter(|finding| finding.contains("cannot read")).count(), 0);
    for (line, column) in [
        ("trustedkey 0", 12),
        ("trustedkey 1 (9 ... 3)", 15),
        ("trustedkey (1", 12),
        ("trustedkey 65536", 12),
        ("trustedkey 1 ...", 14),
        ("trustedkey 1 .. 3", 14),
        ("trustedkey", 11),
        ("controlkey 0", 12),
    ] {
        let (config, findings) = read(line);
        assert!(findings[0].starts_with(&format!("1:{column}: error: ")), "{line}: {findings:#?}");
        assert_eq!(config, Config::default(), "{line}");
    }
}

#[test]
fn f12_the_last_interface_line_decides() {
    let config = clean(
        "interface ignore all\ninterface listen eth0\nnic drop 192.0.2.0/24\n\
         interface listen 192.0.2.7",
    );
    let action = |address: &str, name| config.interface_action(address.parse().expect("an address"), name);
    assert_eq!(action("198.51.100.1", "eth0"), InterfaceAction::Listen);
    assert_eq!(action("198.51.100.1", "eth1"), InterfaceAction::Ignore);
    assert_eq!(action("192.0.2.1", "eth0"), InterfaceAction::Drop);
    assert_eq!(action("192.0.2.7", "eth1"), InterfaceAction::Listen);
    // `all` is not about these.
    assert_eq!(action("127.0.0.1", "lo"), InterfaceAction::Listen);
    assert_eq!(action("0.0.0.0", ""), InterfaceAction::Drop);
}

#[test]
fn f12_without_interface_lines_everything_is_listened_on() {
    for address in ["0.0.0.0", "::", "127.0.0.1", "192.0.2.1", "2001:db8::1"] {
        let address = address.parse().expect("an address");
        assert_eq!(clean("").interface_action(address, "eth0"), InterfaceAction::Listen);
    }
}

#[test]
fn numbers_switches_and_files() {
    let (config, findings) = load_files(&[(
        "",
        "tinker step .4 panic 0 stepout 15e1 maxslew 500\n\
         tos minsane 2 minclock 4 maxclock 11 maxdist 16 mindist .01\ntos orphan 7 orphanwait 0\n\
         disable ntp auth\nenable auth\ndiscard average 5 minimum 1\nlimit burst 5\n\
         mru maxdepth 9\nmru maxmem 77\ndscp 46\nleapsmearinterval 86400\ndriftfile /d\n\
         leapfile \"/l f\" ignorehash\nlogfile /log\npidfile /p\nstatsdir /s/\n\
         statistics loopstats sysstats\nfilegen loopstats file loop type month nolink\n\
         filegen sysstats disable",
    )]);
    assert_eq!(findings.errors(), 0, "{findings:#?}");
    let tinker =
        Tinker { step_seconds: 0.4, panic_seconds: 0.0, stepout_seconds: 150.0, max_slew_ppm: 500.0 };
    assert_eq!(config.tinker, tinker);
    assert_eq!(
        config.tos,
        Tos {
            minsane: 2,
            minclock: 4,
            maxclock: 11,
            maxdist_seconds: 16.0,
            mindist_seconds: 0.01,
            orphan_stratum: 7,
            orphanwait_seconds: 0,
        }
    );
    assert_eq!(config.switches, Switches { ntp: false, ..Switches::default() });
    assert_eq!(config.discard, Some(Discard { average_log2_seconds: 5, minimum_seconds: 1 }));
    assert_eq!(config.limit, Some(Limit { burst_packets: 5.0, ..Limit::default() }));
    assert_eq!(config.mru, Mru::Kilobytes(77));
    assert_eq!((config.dscp, config.leap_smear_seconds), (Some(46), Some(86_400)));
    let path = |file: &Option<Located<PathBuf>>| file.as_ref().map(|file| file.value.display().to_string());
    assert_eq!(path(&config.drift_file).as_deref(), Some("/d"));
    assert_eq!(path(&config.log_file).as_deref(), Some("/log"));
    assert_eq!(path(&config.pid_file).as_deref(), Some("/p"));
    assert_eq!(path(&config.statistics.directory).as_deref(), Some("/s/"));
    let leap_file = config.leap_file.expect("a leap file");
    assert_eq!((leap_file.path.value, leap_file.check_hash), (PathBuf::from("/l f"), false));
    assert_eq!(
        config.statistics.loopstats,
        Filegen {
            enabled: true,
            file: Some(PathBuf::from("loop")),
            period: FilegenPeriod::Month,
            nolink: true,
        }
    );
    assert!(!config.statistics.sysstats.enabled && !config.statistics.peerstats.enabled);
}
