//! `ntpring check` as an operator meets it: the ntp.conf files that people have, the exit codes, the
//! sentences.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ntpring::config::{self, Config, Family, InterfaceAction, LocalClock, RestrictFlags};

/// The files under tests/data.
fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// Loads a file of tests/data, and none that it includes: what is on this machine is no business of the test.
fn load(name: &str) -> (Config, Vec<String>) {
    let mut read = |path: &Path| {
        if path == Path::new(name) { fs::read(data(name)) } else { Err(io::ErrorKind::NotFound.into()) }
    };
    let (config, findings) = config::load(Path::new(name), &mut read).expect("the file is there");
    (config, findings.iter().map(ToString::to_string).collect())
}

/// The flags that a request from `address` meets.
fn flags(config: &Config, address: &str) -> RestrictFlags {
    let address = address.parse().expect("an address");
    let entries = config.restrictions(|_, _| Vec::new());
    let matching = entries.iter().filter(|entry| !entry.ntpport && entry.prefix.contains(address));
    matching.max_by_key(|entry| entry.prefix.length()).expect("every address has an entry").flags
}

/// Each file of the corpus has a file of the findings that it must give.
#[test]
fn the_corpus_gives_the_findings_beside_it() {
    let mut files = 0;
    for directory in ["ntp.conf", "seed"] {
        for entry in fs::read_dir(data(directory)).expect("the corpus is there") {
            let name = entry.expect("a directory entry").file_name().into_string().expect("an ASCII name");
            let Some(stem) = name.strip_suffix(".conf") else { continue };
            let expected = fs::read_to_string(data(directory).join(format!("{stem}.findings")))
                .unwrap_or_else(|error| panic!("the findings of {name}: {error}"));
            let (_, findings) = load(&format!("{directory}/{name}"));
            let expected: Vec<_> = expected.lines().collect();
            assert_eq!(findings, expected, "{name}");
            files += 1;
        }
    }
    assert_eq!(files, 15, "a file was added or lost");
}

#[test]
fn the_server_file_serves_stratum_4_and_answers_no_remote_control_messages() {
    let (config, _) = load("seed/server.ntp.conf");
    let clock = config.local_clock().expect("a local clock");
    assert_eq!(*clock, LocalClock { unit: 0, stratum: 3, refid: *b"LOCL", time1_seconds: 0.0 });
    assert_eq!((clock.served_stratum(), clock.served_refid()), (4, [127, 127, 1, 0]));
    let default = RestrictFlags::KOD | RestrictFlags::NOMODIFY | RestrictFlags::NOQUERY;
    assert_eq!(flags(&config, "192.168.0.2"), default);
    assert_eq!(flags(&config, "fd00::2"), default);
    assert_eq!(flags(&config, "127.0.0.1"), RestrictFlags::NONE);
    assert_eq!(flags(&config, "::1"), RestrictFlags::NONE);
}

#[test]
fn the_client_file_is_an_iburst_association_without_monitoring() {
    let (config, _) = load("seed/client.ntp.conf");
    assert_eq!(config.associations.len(), 1);
    assert!(config.associations[0].iburst);
    assert!(config.local_clock().is_none());
    assert!(!config.monitor());
}

#[test]
fn packaged_files_limit_everybody_but_this_host() {
    for name in ["debian-ntp", "debian-ntpsec", "freebsd", "netbsd", "pool-server", "router"] {
        let (config, findings) = load(&format!("ntp.conf/{name}.conf"));
        for everybody in ["192.0.3.1", "3fff::1"] {
            let limited = RestrictFlags::LIMITED | RestrictFlags::KOD | RestrictFlags::NOQUERY;
            assert!(flags(&config, everybody).contains(limited), "{name}: {everybody}");
        }
        assert_eq!(flags(&config, "127.0.0.1"), RestrictFlags::NONE, "{name}");
        assert_eq!(flags(&config, "::1"), RestrictFlags::NONE, "{name}");
        assert_eq!(findings.iter().any(|finding| finding.contains(": error: ")), name == "router", "{name}");
        assert!(!config.associations.is_empty() && config.local_clock().is_none(), "{name}");
    }
}

#[test]
fn the_router_file_listens_where_it_says() {
    let (config, _) = load("ntp.conf/router.conf");
    let action = |address: &str, name| config.interface_action(address.parse().expect("an address"), name);
    assert_eq!(action("192.168.1.1", "br0"), InterfaceAction::Listen);
    assert_eq!(action("0.0.0.0", ""), InterfaceAction::Ignore);
    assert_eq!(action("203.0.113.9", "wan"), InterfaceAction::Drop);
    assert_eq!(
        config.source_restriction([192, 0, 2, 1].into()),
        Some(RestrictFlags::NOMODIFY | RestrictFlags::NOQUERY)
    );
}

#[test]
fn the_lan_file_serves_in_spite_of_its_mistakes() {
    let (config, _) = load("ntp.conf/lan-server.conf");
    assert_eq!(config.local_clock().map(LocalClock::served_stratum), Some(11));
    assert_eq!(flags(&config, "172.16.9.9"), RestrictFlags::NOMODIFY);
    assert_eq!(flags(&config, "192.168.15.1"), RestrictFlags::NOMODIFY);
    assert!(flags(&config, "10.17.0.1").contains(RestrictFlags::IGNORE));
    let mut names = Vec::new();
    config.restrictions(|name, family| {
        names.push((name.to_owned(), family));
        Vec::new()
    });
    assert_eq!(names, [("ntp.cloud.example".to_owned(), Family::Any)]);
}

fn check(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ntpring")).arg("check").args(arguments).output().expect("ntpring runs")
}

/// Writes a configuration that only the test named has.
fn write(test: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}.conf"));
    fs::write(&path, text).expect("the directory can be written");
    path
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn findings_go_to_standard_output_and_a_summary_to_standard_error() {
    let path = write("findings", "server 127.127.1.0 ibrust\nrestrict default notrap noquery\nbaad\n");
    let path = path.to_str().expect("a plain name");
    let output = check(&["-c", path]);
    let expected = [
        format!("{path}:1:20: error: unknown association option \"ibrust\" (did you mean \"iburst\"?)\n"),
        format!(
            "{path}:2:18: warning: restrict flag \"notrap\" has no effect: there are no traps to refuse\n"
        ),
        format!("{path}:3:1: error: unknown directive \"baad\"\n"),
    ];
    assert_eq!(text(&output.stdout), expected.concat());
    assert_eq!(text(&output.stderr), "2 errors, 1 warning\n");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn warnings_are_fatal_only_with_strict() {
    let path = write("warnings", "restrict default notrap noquery\n");
    let path = path.to_str().expect("a plain name");
    assert_eq!(check(&["-c", path]).status.code(), Some(0));
    assert_eq!(check(&["--strict", "-c", path]).status.code(), Some(2));
}

#[test]
fn a_good_file_is_ok() {
    let path =
        write("good", "server 127.127.1.0\nfudge 127.127.1.0 stratum 3\nrestrict default noquery nomodify\n");
    let output = check(&["--strict", "-c", path.to_str().expect("a plain name")]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("", "ok\n"));
}

#[test]
fn f10_a_missing_keys_file_is_a_warning_at_its_line() {
    let path = write("keys", "keys /nonexistent/keys\nrestrict default notrap noquery\n");
    let output = check(&["-c", path.to_str().expect("a plain name")]);
    assert_eq!(output.status.code(), Some(0));
    let lines: Vec<_> = text(&output.stdout).lines().collect();
    let keys =
        lines.iter().position(|line| line.contains(":1:6: warning: cannot read \"/nonexistent/keys\": "));
    let notrap = lines.iter().position(|line| line.contains(":2:18: warning: "));
    assert!(keys.is_some() && keys < notrap, "{lines:#?}");
}

/// Writes a key file with these rights, and a configuration that names it.
fn with_keys(test: &str, mode: u32, keys: &str, rest: &str) -> (String, String) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}.keys"));
    fs::write(&path, keys).expect("the directory can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("the file is ours");
    let path = path.to_str().expect("a plain name").to_owned();
    let conf = write(test, &format!("keys {path}\n{rest}restrict default noquery\n"));
    (conf.to_str().expect("a plain name").to_owned(), path)
}

#[test]
fn f10_bad_lines_of_the_key_file_are_told_by_file_line_and_column() {
    let keys = "1 MD5 one\n2 DES two\n\n3 AES short # weak\n1 SHA1 again\n";
    let server = "trustedkey (1 ... 3)\nserver 192.0.2.1 key 4\n";
    let (conf, keys) = with_keys("key-lines", 0o644, keys, server);
    let output = check(&["-c", &conf]);
    let known = "known are MD5, SHA1, SHA224, SHA256, SHA384, SHA512, AES128CMAC, AES192CMAC, AES256CMAC";
    let expected = [
        format!("{conf}:1:6: warning: \"{keys}\" can be read or changed by others: chmod 640 \"{keys}\""),
        format!("{keys}:2:3: error: key type \"DES\" is not known; {known}"),
        format!("{keys}:4:7: warning: \"AES\" takes a key of 16 octets: this one of 5 is filled with zeros"),
        format!("{keys}:5:1: warning: key 1 replaces the one of line 1"),
        format!("{conf}:3:8: warning: key 4 is not in \"{keys}\", or no \"trustedkey\""),
    ];
    let lines: Vec<_> =
        text(&output.stdout).lines().filter(|line| !line.contains("not active yet")).collect();
    assert_eq!(lines, expected);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn f10_a_good_key_file_is_ok() {
    for mode in [0o600, 0o640, 0o400] {
        let (conf, _) = with_keys("key-good", mode, "1 M one\n2 SHA1 two\n", "trustedkey 1\n");
        let output = check(&["--strict", "-c", &conf]);
        assert_eq!((text(&output.stdout), output.status.code()), ("", Some(0)), "{mode:o}");
    }
}

#[test]
fn f10_keys_without_trustedkey_are_warned_of() {
    let (conf, keys) = with_keys("key-untrusted", 0o600, "1 M one\n", "");
    let expected = format!(
        "{conf}:1:6: warning: no key of \"{keys}\" is in use: \"trustedkey\" must name those that are\n"
    );
    assert_eq!(text(&check(&["-c", &conf]).stdout), expected);
}

#[test]
fn f8_included_files_are_read_from_the_file_system() {
    let included = write("included", "\nservr a\n");
    let included = included.to_str().expect("a plain name");
    let path = write("including", &format!("includefile {included}\n"));
    let output = check(&["-c", path.to_str().expect("a plain name")]);
    let expected = format!("{included}:2:1: error: unknown directive \"servr\" (did you mean \"server\"?)\n");
    assert_eq!(text(&output.stdout), expected);
}

#[test]
fn an_unreadable_file_is_a_sentence() {
    for (path, why) in [
        ("/nonexistent/ntp.conf", "No such file or directory"),
        ("/", "Is a directory"),
        // A file without end is not read to its end.
        ("/dev/zero", "longer than 16777216 bytes"),
    ] {
        let output = check(&["-c", path]);
        assert_eq!(output.status.code(), Some(2), "{path}");
        let sentence = text(&output.stderr);
        assert!(sentence.starts_with(&format!("cannot read {path}: {why}")), "{sentence}");
        assert_eq!(sentence.lines().count(), 1, "{sentence}");
        assert_eq!(text(&output.stdout), "", "{path}");
    }
}
