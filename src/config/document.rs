//! Keeps `docs/ntp.conf.md` what the tables of words say.

use std::fmt::Write;
use std::path::Path;

use super::vocabulary::{Policy, Vocabulary};
use super::{association, directive, local_clock, options, restrict, statistics};

/// Where the written part of the document begins.
const MARK: &str = "checked by `cargo test`. -->\n";

fn section<T>(title: &str, vocabulary: &Vocabulary<T>) -> String {
    let mut section = format!("\n### {title}\n\n| word | | |\n|---|---|---|\n");
    for word in vocabulary.words {
        let policy = match word.policy {
            Policy::Honour(_) if word.inactive.is_some() => "not active yet",
            Policy::Honour(_) => "honoured",
            Policy::Accept { .. } => "accepted",
            Policy::Reject => "refused",
        };
        let meaning = word.meaning.replace('|', "\\|");
        writeln!(section, "| `{}` | {policy} | {meaning} |", word.name).expect("a String takes it");
    }
    section
}

fn every_word() -> String {
    [
        section("Directives", &directive::DIRECTIVES),
        section("After the host of `server`, `pool`, `peer`", &association::OPTIONS),
        section("After the address of `restrict`", &restrict::FLAGS),
        section("After `fudge 127.127.1.u`", &local_clock::FUDGE),
        section("After `refclock local`", &local_clock::REFCLOCK),
        section("After `enable`, `disable`", &options::SWITCHES),
        section("After `tinker`", &options::TINKER),
        section("After `tos`", &options::TOS),
        section("After `discard`", &options::DISCARD),
        section("After `limit`", &options::LIMIT),
        section("After `mru`", &options::MRU),
        section("After `statistics`, `filegen`", &statistics::SETS),
        section("After `filegen SET`", &statistics::FILEGEN),
    ]
    .concat()
}

#[test]
fn ntp_conf_md_is_what_the_tables_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ntp.conf.md");
    let document = std::fs::read_to_string(&path).expect("the document is there");
    let (text, written) = document.split_once(MARK).expect("the mark is there");
    let every_word = every_word();
    if std::env::var_os("NTPRING_WRITE_DOCS").is_some() {
        std::fs::write(&path, [text, MARK, &every_word].concat()).expect("the document can be written");
    } else {
        let hint = "docs/ntp.conf.md is out of date: NTPRING_WRITE_DOCS=1 cargo test --lib ntp_conf_md";
        assert!(written == every_word, "{hint}");
    }
}
