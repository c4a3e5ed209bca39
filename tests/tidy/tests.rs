//! The rules catch what they are for: each bad snippet is found where it stands, each good one is let
//! through.

use super::rules::{check, floors_that_import_upwards};
use super::source::Source;

/// The findings in a snippet, as printed.
fn findings(path: &str, text: &str) -> Vec<String> {
    check(&Source::new(path, text)).iter().map(ToString::to_string).collect()
}

/// The snippet has exactly one finding, in this line, and it says this.
fn is_found(path: &str, text: &str, line: usize, rule: &str) {
    let found = findings(path, text);
    assert_eq!(found.len(), 1, "{path}: {text}\n{found:?}");
    assert!(found[0].starts_with(&format!("{path}:{line}: ")), "{found:?}");
    assert!(found[0].contains(rule), "{rule}: {found:?}");
}

fn is_clean(path: &str, text: &str) {
    assert_eq!(findings(path, text), [""; 0], "{path}: {text}");
}

#[test]
fn the_table_of_floors_has_no_circle() {
    assert_eq!(floors_that_import_upwards(), [""; 0]);
}

#[test]
fn imports_of_forbidden_floors_are_found_however_they_are_written() {
    is_found("src/server/mod.rs", "use std::fmt;\nuse crate::sys::clock;", 2, "server may not import sys");
    is_found(
        "src/server/a.rs",
        "fn f() {\n    crate::config::parse();\n}",
        2,
        "server may not import config",
    );
    is_found(
        "src/wire/a.rs",
        "use crate::{\n    limits,\n    server::{a, b},\n};",
        1,
        "wire may not import server",
    );
    is_found("src/server/a.rs", "use super::super::client::b;", 1, "server may not import client");
    is_found("src/snapshot.rs", "use super::daemon;", 1, "snapshot may not import daemon");
    is_found("src/server/a.rs", "#[cfg(test)]\nmod tests {\n    use crate::sys;\n}", 3, "may not import sys");
    is_found("src/cli/serve.rs", "use crate::sys;", 1, "cli may not import sys");
    is_found("src/attic/a.rs", "", 1, "attic is no floor");
}

#[test]
fn allowed_imports_pass() {
    is_clean("src/server/a.rs", "use crate::wire::{Mode, sys};\nuse super::client;\nuse super::super::wire;");
    is_clean("src/server/a.rs", "#[cfg(test)]\nmod tests {\n    use super::super::daemon;\n}");
    is_clean("src/server/a.rs", "// use crate::sys;\nconst TEXT: &str = \"crate::sys\";");
    is_clean("src/cli/doctor.rs", "use crate::sys;");
    is_clean("loadgen/src/sender.rs", "use ntpring::sys;");
}

#[test]
fn unsafe_stands_under_sys_only_and_is_explained() {
    is_found("src/datapath/a.rs", "// SAFETY: none.\nunsafe { f() };", 2, "unsafe stands under src/sys only");
    is_found(
        "tests/support/a.rs",
        "// SAFETY: none.\nunsafe { f() };",
        2,
        "unsafe stands under src/sys only",
    );
    is_found("src/sys/a.rs", "fn f() {\n    unsafe { g() }\n}", 2, "SAFETY");
    is_clean(
        "src/sys/a.rs",
        "// SAFETY: `buffer` outlives the call, which writes at most its length.\nunsafe { g() };",
    );
    is_clean("src/datapath/a.rs", "#![forbid(unsafe_code)] // not unsafe\nconst T: &str = \"unsafe\";");
}

#[test]
fn loadgen_and_bench_forbid_unsafe_code_in_every_crate() {
    is_found("loadgen/src/main.rs", "fn main() {}", 1, "#![forbid(unsafe_code)]");
    is_found("bench/benches/parse.rs", "fn main() {}", 1, "#![forbid(unsafe_code)]");
    is_clean("bench/benches/parse.rs", "#![forbid(unsafe_code)]\nfn main() {}");
    is_clean("loadgen/src/sender.rs", "");
}

#[test]
fn the_hot_room_has_no_clock_log_lock_allocation_or_panic() {
    let hot = "src/server/respond.rs";
    is_found(hot, "let now = SystemTime::now();", 1, "time is an argument");
    is_found(hot, "fn f() {\n    tracing::info!(\"a request\");\n}", 2, "count it");
    is_found(hot, "use std::sync::Mutex;", 1, "takes no lock");
    is_found(hot, "let names = list.iter().collect::<[_; 3]>();", 1, "nothing is allocated");
    is_found(hot, "let first = list.first().unwrap();", 1, "no datagram may end the process");
    is_found(hot, "let text = std::fs::read(path)?;", 1, "no system call");
    is_found("src/datapath/uring.rs", "let path: &dyn Datapath = path;", 1, "dispatched statically");
    is_clean(hot, "#[cfg(test)]\nmod tests {\n    fn f() {\n        g().unwrap();\n    }\n}");
    is_clean(hot, "const _: () = assert!(A < B);\nlet a = b.unwrap_or(0); // never unwrap");
    is_clean("src/server/tests.rs", "let a = b.unwrap();");
    is_clean("src/server/access/range_table.rs", "cells: Vec<Cell>,");
    // What follows a test module is not a test.
    is_found(hot, "#[cfg(test)]\nmod tests {}\nfn f() {\n    g().unwrap();\n}", 4, "no datagram");
    is_found(hot, "#[cfg(test)]\nmod tests;\nfn f() {\n    g().unwrap();\n}", 4, "no datagram");
}

#[test]
fn sizes_are_bounded() {
    let long_file = "const A: u8 = 1;\n".repeat(501);
    is_found("src/wire/a.rs", &long_file, 1, "501 lines of code");
    is_clean("src/wire/a.rs", &format!("{}// a comment\n\n", "const A: u8 = 1;\n".repeat(500)));
    let function =
        |lines: usize| format!("const A: u8 = 1;\nfn f() {{\n{}}}\n", "    g();\n".repeat(lines - 2));
    is_found("src/wire/a.rs", &function(71), 2, "a function of 71 lines");
    is_clean("src/wire/a.rs", &function(70));
    let tests =
        |lines: usize| format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    use a;\n".repeat(lines - 2));
    is_found("src/wire/a.rs", &tests(151), 2, "151 lines of tests");
    is_clean("src/wire/a.rs", &tests(150));
    is_found("src/wire/a.rs", &format!("// {}", "x".repeat(108)), 1, "111 columns");
    is_clean("src/wire/a.rs", &format!("// {}", "ü".repeat(107)));
    is_clean("src/wire/a.rs", &format!("warn!(\"{}\");", "x".repeat(200)));
}

#[test]
fn nothing_unfinished_is_left() {
    is_found("src/wire/a.rs", "// TODO: later", 1, "TODO");
    is_found("tests/a.rs", "#[ignore = \"slow\"]", 1, "skip it loudly");
    is_clean("src/wire/a.rs", "const TODOS: &str = \"TODO\";");
}

#[test]
fn strings_characters_and_comments_are_not_code() {
    let hot = "src/server/respond.rs";
    is_clean(hot, "let a = r#\"unwrap \" panic\"#; let b = \"\\\" unwrap\"; /* panic /* panic */ unwrap */");
    is_clean(hot, "let a = \"a string\n    over lines with unwrap\n\";");
    is_clean(hot, "let quote = '\"'; let escape = '\\''; // unwrap");
    // After each of them, code is code again; a lifetime is no character.
    is_found(hot, "let quote = '\"'; a.unwrap();", 1, "no datagram");
    is_found(hot, "let a = r#\"\"#; a.unwrap();", 1, "no datagram");
    is_found(hot, "fn f<'a>(a: &'a A) { a.unwrap(); }", 1, "no datagram");
    is_found(hot, "let a = \"\\\\\"; a.unwrap();", 1, "no datagram");
    is_found(hot, "let a = for_str\"\"; a.unwrap();", 1, "no datagram");
}
