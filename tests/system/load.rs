//! ntpload against real servers in another namespace: what it says was answered, the server's own counters
//! say too, of a run and of a whole sweep, over IPv4 and IPv6.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use std::{env, process};

use serde_json::Value;

use crate::support::clients::{client, find, lasting_client};
use crate::support::daemon::Daemon;
use crate::support::namespace::{Finished, Namespace, command, may_set_the_clock};
use crate::support::scene::{SCRATCH, SEED, SERVER, Scene};
use crate::support::skip::skip;

/// The load generator, which cargo builds beside the daemon with the rest of the workspace; or None with a
/// skip.
pub(crate) fn ntpload(arguments: &str) -> Option<Command> {
    let path = Path::new(env!("CARGO_BIN_EXE_ntpring")).with_file_name("ntpload");
    if !path.is_file() {
        skip("ntpload", "it is not built: cargo build --workspace, or cargo test --workspace");
        return None;
    }
    let mut ntpload = command(path);
    ntpload.args(arguments.split_whitespace());
    Some(ntpload)
}

/// The result of ntpload with these arguments, started in `namespace`, and how it ended.
pub(crate) fn result(namespace: &Namespace, name: &str, arguments: &str) -> Option<(Value, Finished)> {
    let file = format!("{SCRATCH}/load-{name}-{}.json", process::id());
    let finished = namespace.run(ntpload(&format!("{arguments} --json {file}"))?);
    let text = fs::read_to_string(&file).unwrap_or_default();
    let result = serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("ntpload {arguments}: {error}, exit code {:?}: {}", finished.code, finished.text)
    });
    fs::remove_file(&file).expect("it was read");
    Some((result, finished))
}

/// One number under `counts`.
pub(crate) fn count(result: &Value, name: &str) -> u64 {
    result["counts"][name].as_u64().unwrap_or_else(|| panic!("no count {name} in {result:#}"))
}

/// Loads the scene's server at each of its addresses. `served` asks it how many requests it has answered.
fn both_count_the_same(scene: &Scene, name: &str, served: impl Fn() -> u64) {
    let load = |name: &str, arguments: &str| {
        let before = served();
        let (result, finished) = result(&scene.client, name, arguments).expect("ntpload is there");
        let (answered, served) = (count(&result, "answered"), served() - before);
        assert!(
            answered >= 1_000 && answered.abs_diff(served) * 1_000 <= served,
            "{arguments}: {answered} answered by ntpload's count, {served} by the server's\n{}",
            finished.text
        );
        result
    };
    for target in SERVER {
        let run = format!("run {target} --rate 2k --duration 2s --allow-lag");
        load(name, &run);
        let sweep = format!("sweep {target} --from 500 --to 3k --duration 500ms");
        let sweep = load(name, &sweep);
        let trials = sweep["trials"].as_array().expect("trials");
        let of_trials: u64 = trials.iter().map(|trial| count(trial, "answered")).sum();
        assert_eq!(count(&sweep, "answered"), of_trials, "the total is of all {} trials", trials.len());
    }
}

/// Asks a server that has just been started until it answers with something that fits.
fn patiently<T>(daemon: &Daemon, ask: impl Fn() -> Result<T, String>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(said) => assert!(Instant::now() < deadline, "{said}\n{}", daemon.text()),
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// The number on the line of `text` that begins with `label`.
fn number_of(text: &str, label: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    line.trim_start_matches([' ', ':']).split_whitespace().next()?.parse().ok()
}

#[test]
fn a_run_and_a_sweep_agree_with_ntprings_counters() {
    let Some(scene) = Scene::new() else { return };
    if ntpload("").is_none() {
        return;
    }
    let daemon = Daemon::start(&scene.server, &format!("serve -c {SEED}"));
    both_count_the_same(&scene, "ntpring", || daemon.counters().get("answered"));
}

/// One key of each type, in the form that chronyd and ntpload both read.
const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ntpload.keys");

/// chronyd as a server, with the directory of its command socket, which is gone when it is.
pub(crate) struct Chronyd {
    daemon: Daemon,
    directory: PathBuf,
}

impl Chronyd {
    /// None with a skip where there is none.
    pub(crate) fn start(namespace: &Namespace, name: &str) -> Option<Self> {
        let mut chronyd = lasting_client("chrony", "chronyd")?;
        find("chrony", "chronyc")?;
        // Not below the target directory: the path of a socket is short.
        let directory = env::temp_dir().join(format!("ntpring-{name}-{}", process::id()));
        // chronyd wants it to be its own alone.
        DirBuilder::new().mode(0o700).create(&directory).expect("a new directory");
        let (at, conf) = (directory.display(), directory.join("chrony.conf"));
        let settings = format!(
            "local stratum 5\nallow all\ncmdport 0\nbindcmdaddress {at}/chronyd.sock\npidfile {at}/chronyd.pid\nkeyfile {KEYS}\n"
        );
        fs::write(&conf, settings).expect("a scratch file");
        // -x: it never adjusts the clock.
        chronyd.args(["-x", "-d", "-U", "-u", "root", "-f"]).arg(&conf);
        let chronyd = Self { daemon: Daemon::spawn(namespace, chronyd), directory };
        patiently(&chronyd.daemon, || chronyd.ask(namespace));
        assert!(!may_set_the_clock(&chronyd.daemon.status()), "it must not be able to set the clock");
        Some(chronyd)
    }

    /// How many requests it has answered.
    fn served(&self, namespace: &Namespace) -> u64 {
        self.ask(namespace).unwrap_or_else(|said| panic!("{said}\n{}", self.daemon.text()))
    }

    fn ask(&self, namespace: &Namespace) -> Result<u64, String> {
        let mut chronyc = client("chrony", "chronyc").expect("it was found before");
        chronyc.arg("-h").arg(self.directory.join("chronyd.sock")).arg("serverstats");
        let text = namespace.run(chronyc).text;
        let received = number_of(&text, "NTP packets received").ok_or_else(|| text.clone())?;
        Ok(received - number_of(&text, "NTP packets dropped").ok_or(text)?)
    }
}

impl Drop for Chronyd {
    fn drop(&mut self) {
        // What is left behind is in the directory for temporary files.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn a_run_and_a_sweep_agree_with_chronyds_counters() {
    let Some(scene) = Scene::new() else { return };
    if ntpload("").is_none() {
        return;
    }
    let Some(chronyd) = Chronyd::start(&scene.server, "load") else { return };
    both_count_the_same(&scene, "chronyd", || chronyd.served(&scene.server));
}

/// chronyd answers nobody whose code is wrong, and ntpload takes no answer whose code is.
#[test]
fn chronyd_and_ntpload_sign_alike_with_every_type_of_key() {
    let Some(scene) = Scene::new() else { return };
    if ntpload("").is_none() {
        return;
    }
    let Some(_chronyd) = Chronyd::start(&scene.server, "keys") else { return };
    for key in ["1", "2", "3"] {
        let run =
            format!("run {} --rate 500 --duration 1s --allow-lag --mix mac --key {KEYS}:{key}", SERVER[0]);
        let (json, finished) = result(&scene.client, "keys", &run).expect("it was found above");
        assert_eq!((count(&json, "answered"), finished.code), (500, Some(0)), "{}", finished.text);
    }
}

#[test]
fn a_run_and_a_sweep_agree_with_ntpds_counters() {
    let Some(scene) = Scene::new() else { return };
    let (Some(_), Some(_)) = (ntpload(""), find("ntpsec", "ntpq")) else { return };
    let Some(mut ntpd) = lasting_client("ntpsec", "ntpd") else { return };
    let conf = format!("{SCRATCH}/load-ntpd-{}.conf", process::id());
    // Without `limited` it has no rate limit.
    let settings = "refclock local stratum 5\nrestrict default nomodify noquery\nunrestrict default limited kod\n\
                    restrict 127.0.0.1\ndisable ntp\n";
    fs::write(&conf, settings).expect("a scratch file");
    ntpd.args(["-n", "-c", &conf, "-p", &format!("{conf}.pid")]);
    let ntpd = Daemon::spawn(&scene.server, ntpd);
    let served = || {
        let mut ntpq = client("ntpsec", "ntpq").expect("it was found before");
        ntpq.args(["-c", "sysstats", "127.0.0.1"]);
        let text = scene.server.run(ntpq).text;
        // Only time requests have the current version: ntpq itself asks with version 2.
        number_of(&text, "current version").ok_or(text)
    };
    patiently(&ntpd, served);
    assert!(!may_set_the_clock(&ntpd.status()), "ntpd must not be able to set the clock");
    both_count_the_same(&scene, "ntpd", || served().unwrap_or_else(|said| panic!("{said}\n{}", ntpd.text())));
    for file in [conf.clone(), format!("{conf}.pid")] {
        // Not everything that ntpd may write is always there.
        let _ = fs::remove_file(file);
    }
}
