//! Keeps `docs/ntp.conf.md` and ntpring.conf(5) what the tables of words say.

use std::fmt::Write;
use std::path::Path;

use super::vocabulary::{Policy, Vocabulary, Word};
use super::{association, directive, local_clock, options, restrict, statistics};
use crate::manual;

/// Where the written part of the document begins.
const MARK: &str = "checked by `cargo test`. -->\n";

fn policy<T>(word: &Word<T>) -> &'static str {
    match word.policy {
        Policy::Honour(_) if word.inactive.is_some() => "not active yet",
        Policy::Honour(_) => "honoured",
        Policy::Accept { .. } => "accepted",
        Policy::Reject => "refused",
    }
}

/// How a table of words is shown.
trait Form {
    fn section<T>(&self, title: &str, vocabulary: &Vocabulary<T>) -> String;
}

struct Markdown;

impl Form for Markdown {
    fn section<T>(&self, title: &str, vocabulary: &Vocabulary<T>) -> String {
        let mut section = format!("\n### {title}\n\n| word | | |\n|---|---|---|\n");
        for word in vocabulary.words {
            let (policy, meaning) = (policy(word), word.meaning.replace('|', "\\|"));
            writeln!(section, "| `{}` | {policy} | {meaning} |", word.name).expect("a String takes it");
        }
        section
    }
}

struct Manual;

impl Form for Manual {
    fn section<T>(&self, title: &str, vocabulary: &Vocabulary<T>) -> String {
        let mut section = format!(".Sh {}\n.Bl -tag -width Ds\n", title.replace('`', "").to_uppercase());
        for word in vocabulary.words {
            let text = manual::sentences(&word.meaning.replace('`', ""));
            write!(section, ".It Cm {} Pq {}\n{text}", word.name, policy(word)).expect("a String takes it");
        }
        section + ".El\n"
    }
}

fn every_word(form: &impl Form) -> String {
    [
        form.section("Directives", &directive::DIRECTIVES),
        form.section("After the host of `server`, `pool`, `peer`", &association::OPTIONS),
        form.section("After the address of `restrict`", &restrict::FLAGS),
        form.section("After `fudge 127.127.1.u`", &local_clock::FUDGE),
        form.section("After `refclock local`", &local_clock::REFCLOCK),
        form.section("After `enable`, `disable`", &options::SWITCHES),
        form.section("After `tinker`", &options::TINKER),
        form.section("After `tos`", &options::TOS),
        form.section("After `discard`", &options::DISCARD),
        form.section("After `limit`", &options::LIMIT),
        form.section("After `mru`", &options::MRU),
        form.section("After `statistics`, `filegen`", &statistics::SETS),
        form.section("After `filegen SET`", &statistics::FILEGEN),
    ]
    .concat()
}

#[test]
fn the_manual_page_has_every_word() {
    manual::keep("ntpring.conf.5", &every_word(&Manual));
}

#[test]
fn ntp_conf_md_is_what_the_tables_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ntp.conf.md");
    let document = std::fs::read_to_string(&path).expect("the document is there");
    let (text, written) = document.split_once(MARK).expect("the mark is there");
    let every_word = every_word(&Markdown);
    if std::env::var_os("NTPRING_WRITE_DOCS").is_some() {
        std::fs::write(&path, [text, MARK, &every_word].concat()).expect("the document can be written");
    } else {
        let hint = "docs/ntp.conf.md is out of date: NTPRING_WRITE_DOCS=1 cargo test --lib ntp_conf_md";
        assert!(written == every_word, "{hint}");
    }
}
