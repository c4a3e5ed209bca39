//! The comparison as a program: it measures what answers, says what is wrong with what does not, and leaves
//! nothing behind, whichever way it ends. Figures are never looked at.

#![forbid(unsafe_code)]

#[path = "../../tests/support/skip.rs"]
mod skip;

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use serde_json::Value;

use self::skip::skip;

/// What the program says where it cannot work, none of which is its fault.
const NEEDS: [&str; 4] = ["root is needed", "two cores are needed", "compare: ethtool:", "no threaded NAPI"];

/// Each comparison wants the machine to itself: what receives for one runs before everything else of another.
static MACHINE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    // A test that has failed has ended its comparison.
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory with programs that only the comparison of one test sees.
struct Fakes(PathBuf);

impl Fakes {
    fn new(test: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("compare-{test}"));
        fs::create_dir_all(&path).expect("a directory below target");
        Self(path)
    }

    fn add(&self, program: &str, script: &str) {
        let path = self.0.join(program);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("an executable script");
    }

    /// The comparison with these words as arguments.
    fn compare(&self, words: &str) -> Command {
        let mut compare = Command::new(env!("CARGO_BIN_EXE_compare"));
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths([self.0.clone()].into_iter().chain(env::split_paths(&path)));
        compare.args(words.split_whitespace()).env("PATH", path.expect("no colon in a path"));
        // What is killed cannot remove its files.
        compare.env("TMPDIR", &self.0);
        // Tests of the whole workspace have built both already.
        if ["ntpring", "ntpload"].iter().all(|name| programs().join(name).is_file()) {
            compare.arg("--programs").arg(programs());
        }
        compare
    }
}

fn programs() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_compare")).with_file_name("")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// What it says and its exit code; or None with a skip where it cannot work.
fn run(mut compare: Command) -> Option<(String, Option<i32>)> {
    let output = compare.stdin(Stdio::null()).output().expect("the program starts");
    let said = text(&output);
    if let Some(line) = said.lines().find(|line| NEEDS.iter().any(|need| line.contains(need))) {
        skip("netns", line);
        return None;
    }
    Some((said, output.status.code()))
}

#[test]
fn a_smoke_run_measures_every_row_it_is_asked_for() {
    let _machine = alone();
    let fakes = Fakes::new("smoke");
    let clients = env::var_os("NTPRING_CLIENTS").map(PathBuf::from).unwrap_or_default();
    let chronyd = clients.join("usr/sbin/chronyd");
    let with_chronyd = chronyd.is_file();
    if with_chronyd {
        let libraries = ["usr/lib", "lib"].map(|lib| clients.join(lib).join("x86_64-linux-gnu"));
        let libraries = env::join_paths(libraries).expect("no colon in a path");
        let (libraries, chronyd) = (libraries.display().to_string(), chronyd.display());
        fakes.add("chronyd", &format!("LD_LIBRARY_PATH={libraries} exec {chronyd} \"$@\""));
    }
    let peer = if with_chronyd { "chronyd," } else { "" };
    let rows = format!(
        "{peer}ntpring-io_uring,ntpring-mmsg,ntpring-xdp,ntpring-xdp-limited,ntpring-xdp-10k,echo-mmsg,echo-xdp,plain-thread"
    );
    let file = fakes.0.join("result.json");
    let compare = fakes.compare(&format!("--smoke --only {rows} --json {}", file.display()));
    let Some((said, code)) = run(compare) else { return };
    assert_eq!(code, Some(0), "{said}");
    let result = fs::read_to_string(&file).expect("a result");
    let result: Value = serde_json::from_str(&result).expect("JSON");
    let measured = result["rows"].as_array().expect("rows");
    let names: Vec<_> = measured.iter().filter_map(|row| row["server"].as_str()).collect();
    assert_eq!(names.join(","), rows);
    for row in measured {
        for field in ["saturated_rps", "core_utilisation", "cpu_ns_per_request"] {
            let figure = row[field].as_f64();
            assert!(figure.is_some_and(|figure| figure > 0.0), "{field} of {row}\n{said}");
        }
        let is_echo = row["server"].as_str().is_some_and(|name| name.starts_with("echo"));
        assert!(row["error"].is_null(), "{row}");
        assert_eq!(row["offset_us"]["low"]["p50"].is_null(), is_echo, "only an echo has no time: {row}");
        assert!(row["latency_us"]["high"]["p99"].as_f64().is_some(), "{row}");
        assert!(said.contains(&format!("| {} |", row["server"].as_str().unwrap_or("?"))), "{said}");
    }
    assert_eq!(said.contains("chronyd was not measured"), !with_chronyd, "{said}");
}

#[test]
fn a_peer_that_dies_never_answers_or_is_not_there_is_a_line() {
    let _machine = alone();
    let fakes = Fakes::new("peers");
    let ntpring = programs().join("ntpring");
    let is_built = ntpring.is_file();
    let conf = fakes.0.join("ntp.conf");
    fs::write(&conf, "server 127.127.1.0\n").expect("a configuration");
    let serves = format!("exec timeout 1 {} serve -x -c {}", ntpring.display(), conf.display());
    let cases = [
        ("echo 'no such key' >&2; exit 7", "chronyd: died: exit status: 7 (no such key)"),
        ("exec sleep 60", "chronyd: never answered within 5 s"),
        (&serves, "chronyd: died: exit status: 124"),
    ];
    for (script, line) in cases.into_iter().filter(|(script, _)| is_built || !script.contains("timeout")) {
        fakes.add("chronyd", script);
        let Some((said, code)) = run(fakes.compare("--smoke --rounds 9 --only chronyd")) else { return };
        assert!(said.contains(line), "{line}\n{said}");
        assert!(code == Some(1) || line.contains("124"), "{said}");
    }
    let Some((said, code)) = run(fakes.compare("--smoke --only ntpd-rs")) else { return };
    assert!(said.contains("ntpd-rs: ntp-daemon is not installed"), "{said}");
    assert!(said.contains("nothing could be measured"), "{said}");
    assert_eq!(code, Some(1), "{said}");
}

#[test]
fn whichever_way_it_ends_nothing_is_left() {
    let _machine = alone();
    for (signal, code) in [("INT", Some(130)), ("TERM", Some(130)), ("KILL", None)] {
        let fakes = Fakes::new(signal);
        let mut compare = fakes.compare("--smoke --rounds 1000 --only ntpring-io_uring");
        let mark = format!("compare-{}-{signal}", std::process::id());
        compare.env("NTPRING_TEST_MARK", &mark).stdin(Stdio::null());
        let mut child = compare.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let Some(links) = wait_for_a_round(&mut child) else { return };
        // Between two rounds there is no server for a moment.
        let start = Instant::now();
        while marked(&mark).len() < 2 {
            assert!(start.elapsed() < Duration::from_secs(5), "no server and no generator");
            thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(receive_threads(&links).len(), 2, "one receive thread per end");
        let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
        assert!(sent.is_ok_and(|sent| sent.success()));
        let start = Instant::now();
        assert_eq!(child.wait().expect("it ends").code(), code, "{signal}");
        assert!(start.elapsed() < Duration::from_secs(10), "{signal}: {:?}", start.elapsed());
        // The kernel takes links apart in its own time.
        let is_gone = || marked(&mark).is_empty() && receive_threads(&links).is_empty();
        while !is_gone() && start.elapsed() < Duration::from_secs(20) {
            thread::sleep(Duration::from_millis(20));
        }
        assert!(is_gone(), "{signal}: {:?} and {:?} are left", marked(&mark), receive_threads(&links));
    }
}

#[test]
fn without_root_it_says_so() {
    let mut unshare = Command::new("unshare");
    if !unshare.args(["--user", "true"]).status().is_ok_and(|status| status.success()) {
        return skip("users", "cannot make a user namespace, in which to be nobody");
    }
    let mut compare = Command::new("unshare");
    let output = compare.arg("--user").arg(env!("CARGO_BIN_EXE_compare")).arg("--smoke").output();
    let output = output.expect("unshare starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).starts_with("compare: root is needed"), "{}", text(&output));
}

/// The names of a running comparison's links, once it has measured something; None with a skip.
fn wait_for_a_round(child: &mut Child) -> Option<[String; 2]> {
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let mut said = Vec::new();
    while let Some(Ok(line)) = lines.next() {
        if line.starts_with("round 1: ntpring-io_uring: ") && line.contains("/s of ") {
            thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
            let tag = child.id() & 0xFFFF;
            return Some(["s", "g"].map(|end| format!("napi/{end}{tag:x}-")));
        }
        said.push(line);
    }
    let said = said.join("\n");
    assert!(NEEDS.iter().any(|need| said.contains(need)), "{said}");
    skip("netns", &said);
    None
}

/// Processes that were started with this mark in their environment, and what they have started.
fn marked(mark: &str) -> Vec<u32> {
    let wanted = format!("NTPRING_TEST_MARK={mark}");
    processes().filter(|process| read(*process, "environ").contains(&wanted)).collect()
}

fn receive_threads(links: &[String; 2]) -> Vec<u32> {
    let is_ours = |name: &str| links.iter().any(|link| name.starts_with(link));
    processes().filter(|process| is_ours(&read(*process, "comm"))).collect()
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A file of a process that may have gone; zombies have empty ones.
fn read(process: u32, file: &str) -> String {
    let bytes = fs::read(format!("/proc/{process}/{file}")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
