//! The one binary by its other names: `ntpd` with ntpd's options, `ntpq` with ntpq's.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::clients::strace;
use crate::support::daemon::Daemon;
use crate::support::namespace::{Finished, Namespace, command};
use crate::support::scene::SCRATCH;
use crate::support::upstream::Upstream;

/// Every call that changes a clock; none is made in earnest here, and strace answers them.
const NOT_MADE: &str = "inject=clock_adjtime,adjtimex,clock_settime,settimeofday:retval=0";

/// A symbolic link to the binary under test, in a directory of the test's own.
fn link(test: &str, name: &str) -> PathBuf {
    let directory = Path::new(SCRATCH).join(test);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("a scratch directory");
    let link = directory.join(name);
    symlink(env!("CARGO_BIN_EXE_ntpring"), &link).expect("a symbolic link");
    link
}

fn ntpd(test: &str, arguments: &str) -> Command {
    let mut ntpd = command(link(test, "ntpd"));
    ntpd.args(arguments.split_whitespace());
    ntpd
}

#[test]
fn each_name_tells_its_version_and_help_and_refuses_what_it_does_not_know() {
    for (name, arguments, code, words) in [
        ("ntpd", "--version", 0, "ntpd 0."),
        ("ntpd", "-V", 0, "ntpd 0."),
        ("ntpd", "-!", 0, "Usage: ntpd [OPTIONS] [SERVER]..."),
        ("ntpd", "--help", 0, "--panicgate"),
        ("ntpd", "--nosuch", 2, "--nosuch"),
        ("ntpd", "-4 -6", 2, "cannot be used with"),
        ("ntpd", "-t 70000", 2, "70000"),
        ("ntpq", "--version", 0, "ntpq 0."),
        ("ntpq", "--help", 0, "Usage: ntpq [OPTIONS]"),
        ("ntpring", "ntpd --version", 0, " 0."),
        ("ntpring", "ntpq --version", 0, " 0."),
    ] {
        let mut program = Command::new(link("names", name));
        let output = program.args(arguments.split_whitespace()).output().expect("it starts");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(code), "{name} {arguments}: {text}");
        assert!(text.contains(words), "{name} {arguments}: {text}");
    }
}

#[test]
fn ntpds_files_and_family_are_in_force_and_other_options_are_told_once() {
    let Some(namespace) = Namespace::new() else { return };
    let file = |name: &str| Path::new(SCRATCH).join("flags").join(name);
    // The directory is there once the link is.
    let arguments = format!(
        "-gn -4 -dd -L -b -D 3 -i /tmp -m -M -N -P 3 -r 0.1 -U 60 -v a=b --dvar c -w 5 -a -A -G \
         -c /dev/null -p {} -l {} -f {} -s {}",
        file("pid").display(),
        file("log").display(),
        file("drift").display(),
        file("").display(),
    );
    let command = ntpd("flags", &arguments);
    fs::write(file("drift"), "-12.5\n").expect("a drift file");
    let mut with_server = command;
    with_server.arg("127.0.0.1");
    let daemon = Daemon::start_command(&namespace, with_server);
    let ready = daemon.ready_line();
    assert!(ready.contains("udp 0.0.0.0:123;"), "{ready}");
    assert!(ready.contains("clock: not adjusted, 1 source"), "{ready}");
    assert_eq!(fs::read_to_string(file("pid")).expect("a pid file").trim(), daemon.pid().to_string());
    let log = fs::read_to_string(file("log")).expect("a log file");
    assert!(log.contains("drift: -12.500 ppm"), "{log}");
    let told = daemon.text();
    for option in [
        "-a", "-A", "-b", "-d", "-D", "-G", "-i", "-L", "-m", "-M", "-N", "-P", "-r", "-U", "-v", "--dvar",
        "-w",
    ] {
        let line = format!("ntpd: {option} has no effect: ");
        assert_eq!(told.matches(&line).count(), 1, "{option}:\n{told}");
    }
}

#[test]
fn ntpds_i_serves_one_address_and_the_loopback_ones() {
    let Some(namespace) = Namespace::new() else { return };
    for address in ["192.0.2.1", "192.0.2.2"] {
        namespace.address("lo", &format!("{address}/32"));
    }
    let daemon = Daemon::start_command(&namespace, ntpd("interface", "-c /dev/null -I 192.0.2.1"));
    let ready = daemon.ready_line();
    assert!(ready.contains("udp 127.0.0.1:123 192.0.2.1:123 [::1]:123;"), "{ready}");
}

#[test]
fn x_slews_as_ntpd_and_leaves_the_clock_alone_as_serve() {
    let (Some(namespace), Some(strace)) = (Namespace::new(), strace()) else { return };
    let link = link("x", "ntpd");
    let ready = |words: &[&str]| {
        let mut traced = command(&strace);
        traced.args(["-D", "-f", "-o", "/dev/null", "-e", NOT_MADE]).args(words);
        Daemon::start_command(&namespace, traced).ready_line()
    };
    let conf = Path::new(SCRATCH).join("x").join("ntp.conf");
    fs::write(&conf, "server 127.0.0.1\n").expect("a configuration");
    let (link, conf) = (link.to_str().expect("UTF-8"), conf.to_str().expect("UTF-8"));
    let serve = [env!("CARGO_BIN_EXE_ntpring"), "serve", "-c", conf];
    assert!(ready(&serve).ends_with("clock: disciplined, 1 source"));
    assert!(ready(&[&serve[..], &["-x"]].concat()).ends_with("clock: not adjusted, 1 source"));
    assert!(ready(&[link, "-c", conf]).ends_with("clock: disciplined, 1 source"));
    assert!(ready(&[link, "-c", conf, "-x"]).ends_with("clock: slew-only, 1 source"));
}

/// What `ntpd -q` makes of a server whose clock is so far ahead, and the changes of the clock it asked for.
fn quit(test: &str, ahead: f64, options: &str) -> Option<(Finished, String)> {
    let (namespace, strace) = (Namespace::new()?, strace()?);
    let _upstream = Upstream::new(namespace.socket("127.0.0.1:123"), ahead);
    let link = link(test, "ntpd");
    let trace = link.with_file_name("trace");
    let mut traced = command("timeout");
    traced
        .args(["40"])
        .arg(strace)
        .args(["-f", "-e", NOT_MADE, "-e", "trace=clock_adjtime", "-o"])
        .arg(&trace);
    traced.arg(link).args(["-q", "-c", "/dev/null"]).args(options.split_whitespace()).arg("127.0.0.1");
    let finished = namespace.run(traced);
    Some((finished, fs::read_to_string(trace).expect("a trace")))
}

#[test]
fn q_steps_a_clock_that_is_far_off_and_exits_0() {
    let Some((finished, calls)) = quit("far", 5.0, "") else { return };
    assert_eq!(finished.code, Some(0), "{}", finished.text);
    assert!(finished.text.contains("the clock is stepped by +5.0"), "{}", finished.text);
    assert!(finished.text.ends_with("the clock is set\n"), "{}", finished.text);
    assert!(!finished.text.contains("ready:"), "{}", finished.text);
    assert_eq!(calls.matches("ADJ_SETOFFSET").count(), 1, "{calls}");
    assert!(calls.lines().any(|call| call.contains("ADJ_SETOFFSET") && call.contains("tv_sec=")), "{calls}");
}

#[test]
fn q_slews_a_clock_that_is_a_little_off_and_leaves_no_slew_behind() {
    let Some((finished, calls)) = quit("near", 0.05, "") else { return };
    assert!(finished.text.contains("the clock is off by +0.05"), "{}", finished.text);
    assert_eq!(finished.code, Some(0), "{}", finished.text);
    assert!(!calls.contains("ADJ_SETOFFSET"), "{calls}");
    let rates: Vec<&str> = calls.lines().filter(|call| call.contains("ADJ_TICK")).collect();
    assert!(rates.len() >= 3, "taken over, slewed, given back: {calls}");
    assert!(rates[1..rates.len() - 1].iter().any(|call| !call.contains("tick=10000")), "{calls}");
    assert!(rates[rates.len() - 1].contains("tick=10000"), "{calls}");
}

#[test]
fn q_refuses_a_clock_that_is_too_far_off_unless_g_lets_it() {
    let Some((finished, calls)) = quit("panic", 2000.0, "") else { return };
    assert_eq!(finished.code, Some(1), "{}", finished.text);
    assert!(finished.text.contains("start with -g"), "{}", finished.text);
    assert!(!calls.contains("ADJ_SETOFFSET"), "{calls}");
    let Some((finished, calls)) = quit("gate", 2000.0, "-g") else { return };
    assert_eq!(finished.code, Some(0), "{}", finished.text);
    assert!(calls.contains("ADJ_SETOFFSET"), "{calls}");
}

#[test]
fn q_says_why_the_clock_is_not_set_and_exits_otherwise() {
    let Some(namespace) = Namespace::new() else { return };
    for (arguments, code, words) in [
        ("-q -c /dev/null 127.0.0.1", 1, "the clock is not set: this process may not: run it as root"),
        ("-q -c /dev/null", 2, "there is no server, pool or peer line"),
        ("-q -c /no/such/ntp.conf", 2, "cannot read /no/such/ntp.conf"),
    ] {
        let Finished { code: got, text } = namespace.run(ntpd("refused", arguments));
        assert_eq!(got, Some(code), "{arguments}: {text}");
        assert!(text.contains(words), "{arguments}: {text}");
    }
    let conf = Path::new(SCRATCH).join("refused").join("ntp.conf");
    fs::write(&conf, "server 127.0.0.1\ndisable ntp\n").expect("a configuration");
    let Finished { code, text } = namespace.run({
        let mut ntpd = command(Path::new(SCRATCH).join("refused").join("ntpd"));
        ntpd.args(["-q", "-c"]).arg(conf);
        ntpd
    });
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("\"disable ntp\" forbids"), "{text}");
}

#[test]
fn q_gives_up_on_a_server_that_does_not_answer() {
    let (Some(namespace), Some(strace)) = (Namespace::new(), strace()) else { return };
    let mut traced = command(strace);
    traced.args(["-f", "-o", "/dev/null", "-e", NOT_MADE]).arg(link("silent", "ntpd"));
    // Nobody has this address, and there is no route to it.
    traced.args(["-q", "-c", "/dev/null", "192.0.2.1"]);
    let mut daemon = Daemon::spawn(&namespace, traced);
    let end = daemon.end(Duration::from_secs(45)).expect("it ends by itself");
    assert_eq!(end.code(), Some(1), "{}", daemon.text());
    assert!(daemon.text().contains("no source that can be followed within 30 s"), "{}", daemon.text());
}
