//! Lines, files, and what is said about them.

use super::*;
use crate::limits;

#[test]
fn f7_what_has_no_effect_is_said_once_with_the_number_of_lines() {
    let text = "restrict default notrap noquery\nrestrict 192.0.2.1 notrap\nrestrict 192.0.2.2 notrap notrap";
    assert_eq!(
        finding(text),
        "1:18: warning: restrict flag \"notrap\" has no effect: there are no traps to refuse (and on 2 more lines)"
    );
    let accepted = "crypto pw x\nsetvar a = \"b c\" default\nlogconfig =all +sysevents\nphone (1 2)";
    let (_, findings) = load_files(&[("", accepted)]);
    assert_eq!((findings.errors(), findings.warnings()), (0, 4));
}

#[test]
fn f7_an_unknown_word_drops_its_line_and_no_other() {
    let (config, findings) =
        read("server 127.127.1.0 ibrust\nfugde 127.127.1.0\nserver 127.127.1.1\nrestrict a ignroe");
    assert_eq!(
        findings,
        [
            "1:20: error: unknown association option \"ibrust\" (did you mean \"iburst\"?)",
            "2:1: error: unknown directive \"fugde\" (did you mean \"fudge\"?)",
            "4:12: error: unknown restrict flag \"ignroe\" (did you mean \"ignore\"?)",
        ]
    );
    assert_eq!(config.local_clocks, [LocalClock::new(1)]);
    assert!(config.restrict.is_empty());
}

#[test]
fn f7_every_error_of_a_line_is_reported_at_once() {
    let (_, findings) = read("fudge 127.127.1.0 stratum 16 refid LOCAL time1 x stratm 4");
    let places: Vec<_> = findings.iter().filter_map(|finding| finding.split_once(": error")).collect();
    assert_eq!(places.iter().map(|(place, _)| *place).collect::<Vec<_>>(), ["1:27", "1:36", "1:48", "1:50"]);
}

#[test]
fn f8_files_are_included_where_the_line_stands() {
    let (config, findings) = read_files(&[
        ("top", "server 127.127.1.0\nincludefile sub\nserver 127.127.1.2\nbad"),
        ("sub", "\n\nserver 127.127.1.1\n bad"),
    ]);
    assert_eq!(config.local_clocks.iter().map(|clock| clock.unit).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(
        findings,
        [
            "top:2:13: warning: \"sub\" is looked for in the working directory; give the path from the root",
            "sub:4:2: error: unknown directive \"bad\"",
            "top:4:1: error: unknown directive \"bad\"",
        ]
    );
}

#[test]
fn f8_a_missing_file_is_no_error() {
    let (config, findings) = read("includefile /missing\nserver 127.127.1.0");
    assert_eq!(
        findings,
        ["1:13: warning: cannot read \"/missing\": entity not found; the configuration goes on without it"]
    );
    assert_eq!(config.local_clocks.len(), 1);
}

#[test]
fn f8_five_deep_and_no_deeper() {
    let names: Vec<_> = (0..=6).map(|depth| format!("/{depth}")).collect();
    let texts: Vec<_> =
        (1..=7).map(|depth| format!("server 127.127.1.{depth}\nincludefile /{depth}")).collect();
    let files: Vec<_> = names.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).collect();
    let (config, findings) = read_files(&files);
    // The first file and five below.
    assert_eq!(config.local_clocks.len(), 1 + limits::INCLUDE_DEPTH);
    assert_eq!(findings, ["/5:2:13: error: \"/6\" is not read: files are included more than 5 deep"]);
}

#[test]
fn f8_a_loop_is_reported_with_its_way() {
    let (_, findings) = read_files(&[
        ("/top", "includefile /a"),
        ("/a", "includefile /b"),
        ("/b", "includefile //a\nincludefile /b\nserver 127.127.1.0"),
    ]);
    assert_eq!(
        findings,
        [
            "/b:1:13: error: files include each other: /a → /b → //a",
            "/b:2:13: error: files include each other: /b → /b",
        ]
    );
}

#[test]
fn f8_a_file_may_be_included_twice_but_not_without_end() {
    let twice = read_files(&[("/top", "includefile /a\nincludefile /a"), ("/a", "interface listen all")]);
    assert_eq!((twice.0.interfaces.len(), twice.1.len()), (2, 0));
    // 100^4 files, if nobody counted.
    let many = |name: &str| format!("includefile {name}\n").repeat(100);
    let texts = [many("/1"), many("/2"), many("/3"), many("/4")];
    let (_, findings) =
        load_files(&[("/0", &texts[0]), ("/1", &texts[1]), ("/2", &texts[2]), ("/3", &texts[3]), ("/4", "")]);
    assert!(findings.errors() > 0);
    assert!(findings.iter().all(|finding| finding.text.contains("more than 1000 files")));
}

#[test]
fn f9_comments_quotes_blanks_and_line_ends() {
    let config = clean(
        "\u{feff}# 주석\r\n  server\t127.127.1.0# attached\r\n\r\n\tinterface listen \"eth0 # 1\" # \"\r\n",
    );
    assert_eq!(config.local_clocks.len(), 1);
    assert_eq!(config.interfaces[0].addresses, InterfaceMatch::Name("eth0 # 1".to_owned()));
    let config = clean("fudge=127.127.1.0 stratum=3\nserver 127.127.1.0");
    assert_eq!(config.local_clocks[0].stratum, 3);
}

#[test]
fn f9_keywords_are_case_sensitive_and_never_quoted() {
    assert_eq!(finding("Server a"), "1:1: error: unknown directive \"Server\" (did you mean \"server\"?)");
    assert_eq!(
        finding("\"server\" a"),
        "1:1: error: unknown directive \"server\" (did you mean \"server\"?)"
    );
    // A quoted word is a host.
    assert_eq!(
        clean("restrict \"default\"").restrict[0].target,
        RestrictTarget::Name { name: "default".to_owned(), family: Family::Any }
    );
}

#[test]
fn f9_a_quote_that_is_not_closed_ends_with_the_line() {
    let (config, findings) = read("interface listen \"eth0 \nserver 127.127.1.0");
    assert_eq!(findings, ["1:18: warning: the quote is not closed: it is taken to end with the line"]);
    assert_eq!(config.interfaces[0].addresses, InterfaceMatch::Name("eth0 ".to_owned()));
    assert_eq!(config.local_clocks.len(), 1);
}

#[test]
fn f9_columns_count_characters() {
    assert_eq!(
        finding("driftfile \"/드리프트\" 잘못"),
        "1:19: error: nothing is expected here, but \"잘못\" is"
    );
}

#[test]
fn what_is_not_active_yet_is_said_once_at_its_first_use() {
    let (_, findings) =
        read("server a\nkeys /k\ntrustedkey 1\ntos minsane 2\nstatsdir /s\nstatistics loopstats\n");
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert!(findings[0].starts_with("5:1: warning: \"statsdir\" is understood but not active yet: "));
    assert!(findings[0].ends_with(" (and on 1 more line)"));
    // What is not active is off.
    clean("disable ntp stats auth");
}

#[test]
fn a_line_with_an_error_changes_nothing() {
    for line in [
        "tinker step 1 panic x",
        "tos maxclock 12 minclock 0",
        "disable ntp monitr",
        "discard average 4 minimum -1",
        "limit burst 3 kod nan",
        "mru maxdepth 4294967296",
        "statistics loopstats loopstat",
        "filegen loopstats type hour",
        "driftfile /a b",
        "dscp 64",
        "server 127.127.1.0 minpoll",
        "interface listen 192.0.2.1/33",
        "interface hear all",
        "interface listen",
        "interface listen a/b",
        "restrict 192.0.2.1 mask",
        "tos",
        "disable",
        "statistics # none",
    ] {
        let (config, findings) = load_files(&[("", line)]);
        assert!(findings.errors() > 0, "{line}");
        assert_eq!(config, Config::default(), "{line}");
        assert_eq!(findings.warnings(), 0, "{line}: a dropped line is not worth a warning");
    }
}

#[test]
fn long_lines_and_files_are_bounded() {
    let comment = format!("#{}\nserver 127.127.1.0", "x".repeat(limits::CONFIG_LINE));
    assert_eq!(clean(&comment).local_clocks.len(), 1);
    let line = format!("server {}\nserver 127.127.1.0", "x".repeat(limits::CONFIG_LINE));
    let (config, findings) = read(&line);
    assert_eq!(findings, ["1:1: error: a line of 65543 bytes, longer than 65536"]);
    assert_eq!(config.local_clocks.len(), 1);
    // A long word is not printed to its end.
    let word = finding(&format!("server {}", "é".repeat(5000)));
    assert!(word.len() < 300, "{word}");
    let mut too_long = |_: &Path| Ok(vec![b'\n'; limits::CONFIG_BYTES + 1]);
    assert!(load(Path::new("/"), &mut too_long).is_err());
    let (_, findings) = load(Path::new("/0"), &mut |path| {
        Ok(if path == Path::new("/0") {
            b"includefile /1".to_vec()
        } else {
            vec![b'\n'; limits::CONFIG_BYTES]
        })
    })
    .expect("the first file is short");
    assert_eq!(findings.errors(), 1);
}

#[test]
fn findings_are_counted_beyond_those_kept() {
    let (_, findings) = load_files(&[("", &"bad\n".repeat(limits::FINDINGS + 7))]);
    assert_eq!(findings.iter().count(), limits::FINDINGS);
    assert_eq!((findings.errors(), findings.warnings(), findings.dropped()), (limits::FINDINGS + 7, 0, 7));
}

#[test]
fn an_unreadable_file_is_a_sentence() {
    let error = load(Path::new("/ntp.conf"), &mut |_| Err(io::ErrorKind::PermissionDenied.into()));
    assert_eq!(error.expect_err("not readable").to_string(), "cannot read /ntp.conf: permission denied");
}
