//! The rules, and the tables they are written in.

use std::fmt;

use super::source::{Source, has_word};

/// Who may import whom, from the ground up: each floor imports only floors above it in this table, so there
/// are no circles. The test code of a floor keeps to the same list.
const FLOORS: [(&str, &[&str]); 14] = [
    ("limits", &[]),
    // Of tests alone: holds the manual pages against the code.
    ("manual", &[]),
    ("wire", &["limits"]),
    ("sys", &["limits"]),
    ("snapshot", &["wire", "limits"]),
    ("auth", &["wire", "limits"]),
    ("config", &["limits", "manual"]),
    ("server", &["auth", "snapshot", "wire", "limits"]),
    ("client", &["auth", "snapshot", "wire", "limits"]),
    ("control", &["auth", "snapshot", "wire", "limits"]),
    ("datapath", &["server", "snapshot", "wire", "sys", "limits"]),
    ("xdp", &["datapath", "server", "snapshot", "wire", "sys", "limits"]),
    (
        "daemon",
        &[
            "xdp", "datapath", "control", "client", "server", "config", "auth", "snapshot", "sys", "wire",
            "limits",
        ],
    ),
    (
        "cli",
        &["daemon", "xdp", "datapath", "control", "client", "config", "snapshot", "wire", "limits", "manual"],
    ),
];

/// Paths below which files may import a floor that the rest of their own floor may not.
const EXTRA_IMPORTS: [(&str, &str); 3] =
    [("src/cli/doctor", "sys"), ("src/cli/ntpq", "auth"), ("src/cli/ntpq", "sys")];

/// Words that have no place in the code below some paths, tests aside.
struct Ban {
    words: &'static [&'static str],
    below: &'static [&'static str],
    except: &'static [&'static str],
    reason: &'static str,
}

const BANS: [Ban; 7] = [
    Ban {
        words: &["SystemTime", "Instant", "UNIX_EPOCH", "clock_gettime"],
        below: &["src/wire", "src/auth", "src/config", "src/server", "src/client", "src/control"],
        except: &[],
        reason: "time is an argument here, so that tests choose it and one reply reads it once",
    },
    Ban {
        words: &["fs", "File", "UdpSocket", "TcpStream", "libc", "Command", "env"],
        below: &["src/wire", "src/auth", "src/server", "src/client", "src/control"],
        except: &[],
        reason: "this floor makes no system call",
    },
    Ban {
        words: &["tracing", "println", "eprintln", "print", "eprint", "dbg"],
        below: &["src/wire", "src/auth", "src/server", "src/datapath"],
        except: &[],
        reason: "nothing is logged per packet; count it",
    },
    Ban {
        words: &["Mutex", "RwLock", "Condvar", "Barrier", "OnceLock", "LazyLock", "dyn", "async"],
        below: &["src/server", "src/datapath"],
        // The cell that names who is to be woken is written once; a worker only looks whether it has been.
        except: &["src/datapath/queries.rs"],
        reason: "a worker takes no lock, shares no mutable state and is dispatched statically",
    },
    Ban {
        words: &[
            "Vec",
            "vec",
            "Box",
            "Rc",
            "String",
            "format",
            "to_string",
            "to_owned",
            "to_vec",
            "collect",
            "HashMap",
            "BTreeMap",
            "VecDeque",
        ],
        below: &["src/server"],
        // Counters and the tables of access and of recent clients are built by the daemon thread, before
        // workers have them; that of rate limits when the first state that needs it is taken.
        except: &[
            "src/server/access",
            "src/server/counters.rs",
            "src/server/rate_limit/table.rs",
            "src/server/monitor.rs",
        ],
        reason: "nothing is allocated while a request is answered",
    },
    Ban {
        words: &[
            "unwrap",
            "expect",
            "panic",
            "unreachable",
            "assert",
            "assert_eq",
            "assert_ne",
            "exit",
            "abort",
        ],
        below: &["src/wire", "src/server", "src/datapath"],
        except: &[],
        reason: "no datagram may end the process",
    },
    Ban {
        words: &["unsafe"],
        below: &["src", "loadgen", "bench", "tests"],
        // The counting allocator of the allocation test implements an unsafe trait.
        except: &["src/sys", "src/xdp/layout.rs", "tests/no_alloc"],
        reason: "unsafe stands under src/sys only",
    },
];

/// Bounds of size: lines of code in a file, lines of a function, columns of a line, lines of tests beside
/// the code.
const FILE: usize = 500;
const FUNCTION: usize = 70;
const COLUMNS: usize = 110;
const TESTS_INSIDE: usize = 150;

/// How far above an unsafe block its SAFETY comment may begin.
const SAFETY_REACH: usize = 8;

/// A rule that is broken somewhere.
#[derive(Debug)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    rule: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line + 1, self.rule)
    }
}

/// All findings in one file.
pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut report = |line, rule| found.push(Finding { path: source.path.clone(), line, rule });
    imports(source, &mut report);
    banned_words(source, &mut report);
    safety_comments(source, &mut report);
    crate_roots(source, &mut report);
    sizes(source, &mut report);
    unfinished(source, &mut report);
    found
}

fn imports(source: &Source, report: &mut impl FnMut(usize, String)) {
    let Some(inside) = source.path.strip_prefix("src/") else { return };
    if matches!(inside, "lib.rs" | "main.rs") {
        return;
    }
    let floor = inside.split(['/', '.']).next().unwrap_or_default();
    let Some((_, allowed)) = FLOORS.iter().find(|(name, _)| *name == floor) else {
        return report(0, format!("{floor} is no floor of the table in tests/tidy/rules.rs"));
    };
    for (line, imported) in crate_paths(source) {
        let is_extra =
            EXTRA_IMPORTS.iter().any(|(below, extra)| source.path.starts_with(below) && imported == *extra);
        if imported != floor && !allowed.contains(&imported.as_str()) && !is_extra {
            report(line, format!("{floor} may not import {imported}"));
        }
    }
}

/// Every first name after the crate's root: of `crate::x`, of each in `crate::{x, y::z}`, of enough
/// `super::` to get there.
fn crate_paths(source: &Source) -> Vec<(usize, String)> {
    let code: Vec<&str> = source.lines.iter().map(|line| line.code.as_str()).collect();
    let code = code.join("\n");
    let line_of = |at: usize| code[..at].matches('\n').count();
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let names = first_names(&code[at + "crate::".len()..]);
        paths.extend(names.into_iter().map(|name| (line_of(at), name)));
    }
    for (at, _) in code.match_indices("super::").filter(|(at, _)| !code[..*at].ends_with("super::")) {
        let rest = code[at..].trim_start_matches("super::");
        let climbed = (code.len() - at - rest.len()) / "super::".len();
        let line = line_of(at);
        // Test code is one module deeper, unless it is a file of its own.
        let deeper = usize::from(source.lines[line].is_test && !source.path.ends_with("tests.rs"));
        if climbed >= module_depth(&source.path) + deeper {
            paths.extend(first_names(rest).into_iter().map(|name| (line, name)));
        }
    }
    paths
}

/// `name` or `{name, name::more, name::{...}}`: the names.
fn first_names(path: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = path.trim_start().strip_prefix('{') else { return vec![name(path.trim_start())] };
    let mut names = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(name(group[start..at].trim_start()));
                start = at + 1;
                if character == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// How many `super::` lead from a file's module to the crate's root.
fn module_depth(path: &str) -> usize {
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    inside.split('/').count()
}

fn banned_words(source: &Source, report: &mut impl FnMut(usize, String)) {
    let is_below = |paths: &[&str]| paths.iter().any(|path| source.path.starts_with(path));
    for ban in BANS.iter().filter(|ban| is_below(ban.below) && !is_below(ban.except)) {
        let tests_too = ban.words == ["unsafe"];
        for (number, line) in source.lines.iter().enumerate().filter(|(_, line)| tests_too || !line.is_test) {
            let code = without_const_asserts(&line.code);
            for word in ban.words.iter().filter(|word| has_word(code, word)) {
                report(number, format!("`{word}`: {}", ban.reason));
            }
        }
    }
}

/// An assertion that the compiler evaluates cannot fail at run time.
fn without_const_asserts(code: &str) -> &str {
    if code.trim_start().starts_with("const _: () = assert!") { "" } else { code }
}

fn safety_comments(source: &Source, report: &mut impl FnMut(usize, String)) {
    for (number, line) in source.lines.iter().enumerate() {
        let above = &source.lines[number.saturating_sub(SAFETY_REACH)..=number];
        let is_explained =
            above.iter().any(|line| line.comment.contains("SAFETY:") || line.comment.contains("# Safety"));
        if has_word(&line.code, "unsafe") && !is_explained {
            report(
                number,
                "unsafe without a SAFETY comment that names the memory's owner and bound".to_owned(),
            );
        }
    }
}

/// loadgen and bench forbid unsafe code in every crate they build.
fn crate_roots(source: &Source, report: &mut impl FnMut(usize, String)) {
    let is_root = match source.path.split('/').collect::<Vec<_>>()[..] {
        ["loadgen" | "bench", "src", file] => matches!(file, "lib.rs" | "main.rs"),
        ["loadgen" | "bench", "src", "bin", _] | ["loadgen" | "bench", "benches", _] => true,
        _ => false,
    };
    if is_root && !source.lines.iter().any(|line| line.code.contains("#![forbid(unsafe_code)]")) {
        report(0, "this crate must say #![forbid(unsafe_code)]".to_owned());
    }
}

fn sizes(source: &Source, report: &mut impl FnMut(usize, String)) {
    let lines = source.code_lines();
    if lines > FILE {
        report(0, format!("{lines} lines of code, at most {FILE} are readable at once"));
    }
    for (first, last) in source.items("fn") {
        let length = last + 1 - first;
        if length > FUNCTION {
            report(first, format!("a function of {length} lines, at most {FUNCTION}"));
        }
    }
    for (first, last) in source.items("mod") {
        let length = last + 1 - first;
        if source.lines[first].is_test && length > TESTS_INSIDE && !source.path.starts_with("tests/") {
            report(
                first,
                format!("{length} lines of tests, more than {TESTS_INSIDE} have a file of their own"),
            );
        }
    }
    for (number, line) in source.lines.iter().enumerate() {
        // A message stays in one piece, so that whoever reads it in a log finds it in the source.
        let columns = line.code.chars().count() + line.comment.chars().count();
        if columns > COLUMNS {
            report(number, format!("{columns} columns, at most {COLUMNS}"));
        }
    }
}

/// What is open is an issue, not a comment; what cannot run says so at run time.
fn unfinished(source: &Source, report: &mut impl FnMut(usize, String)) {
    for (number, line) in source.lines.iter().enumerate() {
        // The words that are looked for: none of them is left here.
        for word in ["TODO", "FIXME", "XXX"] {
            if has_word(&line.comment, word) || has_word(&line.code, word) {
                report(number, format!("{word} is left"));
            }
        }
        // Not ignored here: what this says of a test that is.
        if line.code.contains("#[ignore") {
            report(number, "#[ignore] hides a test; skip it loudly instead".to_owned());
        }
    }
}

/// The table's own consistency: a floor imports only what stands above it.
pub(crate) fn floors_that_import_upwards() -> Vec<String> {
    let names: Vec<&str> = FLOORS.iter().map(|(name, _)| *name).collect();
    let upwards = |(at, (name, allowed)): (usize, &(&str, &[&str]))| {
        let outside = allowed.iter().find(|import| !names[..at].contains(*import))?;
        Some(format!("{name} imports {outside}"))
    };
    FLOORS.iter().enumerate().filter_map(upwards).collect()
}
