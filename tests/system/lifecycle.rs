//! Start, signals and end: exit codes and sentences that scripts and people rely on.

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;

use crate::support::clients::lasting_client;
use crate::support::daemon::{Daemon, ntpring};
use crate::support::namespace::{Finished, Namespace, command};
use crate::support::ntp::ask;
use crate::support::scene::{SCRATCH, SEED, Scene};

const SECOND: Duration = Duration::from_secs(1);

/// Runs ntpring, which must refuse to start: with `code`, within a second, in one sentence that has all of
/// `words`.
fn refuses(namespace: &Namespace, arguments: &str, code: i32, words: &[&str]) {
    let start = Instant::now();
    let mut refused = command("timeout");
    refused.arg("5").arg(env!("CARGO_BIN_EXE_ntpring")).args(arguments.split_whitespace());
    let finished = namespace.run(refused);
    assert!(start.elapsed() < SECOND, "ntpring {arguments} took {:?}", start.elapsed());
    assert_eq!(finished.code, Some(code), "ntpring {arguments}: {}", finished.text);
    let says_all = |line: &str| words.iter().all(|word| line.contains(word));
    assert!(finished.text.lines().any(says_all), "ntpring {arguments}: {words:?} in\n{}", finished.text);
}

#[test]
fn the_readiness_line_names_sockets_tier_workers_and_stratum() {
    let Some(namespace) = Namespace::new() else { return };
    let daemon = Daemon::start(&namespace, &format!("serve -c {SEED} --workers 1"));
    let line = daemon.ready_line();
    for word in ["0.0.0.0:123", "[::]:123", "1 worker", "stratum 4"] {
        assert!(line.contains(word), "{word} in {line}");
    }
    assert!(["io_uring", "mmsg"].iter().any(|tier| line.contains(tier)), "the tier in {line}");
}

#[test]
fn ready_means_that_the_first_request_is_answered() {
    let Some(namespace) = Namespace::new() else { return };
    for _ in 0..5 {
        let _daemon = Daemon::start(&namespace, &format!("serve -c {SEED}"));
        assert!(ask(&namespace.socket("127.0.0.1:0"), "127.0.0.1:123").is_some());
    }
}

#[test]
fn o2_systemd_is_told_once_the_server_answers() {
    let Some(namespace) = Namespace::new() else { return };
    // Not below SCRATCH: the name of a socket is short.
    let path = env::temp_dir().join(format!("ntpring-notify-{}", std::process::id()));
    let socket = UnixDatagram::bind(&path).expect("a socket for notifications");
    socket.set_read_timeout(Some(5 * SECOND)).expect("a timeout");
    let mut serve = ntpring(["serve", "-c", SEED]);
    serve.env("NOTIFY_SOCKET", &path);
    let _daemon = Daemon::spawn(&namespace, serve);
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer).expect("a notification");
    assert!(String::from_utf8_lossy(&buffer[..length]).lines().any(|line| line == "READY=1"));
    assert!(ask(&namespace.socket("127.0.0.1:0"), "127.0.0.1:123").is_some());
    fs::remove_file(&path).expect("the socket is removed");
}

#[test]
fn sigterm_and_sigint_end_it_with_0_within_a_second() {
    let Some(namespace) = Namespace::new() else { return };
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut daemon = Daemon::start(&namespace, &format!("serve -c {SEED}"));
        daemon.signal(signal);
        let end =
            daemon.end(SECOND).unwrap_or_else(|| panic!("alive a second after {signal}:\n{}", daemon.text()));
        assert_eq!(end.code(), Some(0), "{signal}: {}", daemon.text());
    }
}

/// A daemon whose start waits for its configuration, and the pipe that this is read from.
fn starting(namespace: &Namespace, name: &str) -> (Daemon, File) {
    let conf = format!("{SCRATCH}/starting-{name}.conf");
    let _ = fs::remove_file(&conf);
    nix::unistd::mkfifo(conf.as_str(), Mode::S_IRWXU).expect("a named pipe");
    let mut ntpring = command(env!("CARGO_BIN_EXE_ntpring"));
    ntpring.args(["serve", "-c", &conf]);
    let daemon = Daemon::spawn(namespace, ntpring);
    // Without a reader a pipe cannot be opened for writing.
    let open = || File::options().write(true).custom_flags(libc::O_NONBLOCK).open(&conf).ok();
    let deadline = Instant::now() + 5 * SECOND;
    let pipe = std::iter::repeat_with(open).take_while(|_| Instant::now() < deadline).flatten().next();
    (daemon, pipe.expect("the daemon reads its configuration"))
}

#[test]
fn signals_that_come_during_the_start_wait_for_its_end() {
    let Some(namespace) = Namespace::new() else { return };
    let (daemon, mut conf) = starting(&namespace, "wait");
    daemon.signal(Signal::SIGHUP);
    daemon.signal(Signal::SIGUSR1);
    conf.write_all(&fs::read(SEED).expect("the seed")).expect("the daemon reads");
    drop(conf);
    let counters = daemon.line(0, 5 * SECOND, |line| line.starts_with('{'));
    assert!(counters.is_some(), "SIGUSR1 is answered late, not with the end:\n{}", daemon.text());
}

#[test]
fn sigterm_during_the_start_ends_it_with_0_at_once() {
    let Some(namespace) = Namespace::new() else { return };
    let (mut daemon, _conf) = starting(&namespace, "term");
    daemon.signal(Signal::SIGTERM);
    let end = daemon.end(SECOND).unwrap_or_else(|| panic!("alive after a second:\n{}", daemon.text()));
    assert_eq!(end.code(), Some(0), "{end}");
}

#[test]
fn a_second_ntpring_exits_1_and_names_the_first() {
    let Some(namespace) = Namespace::new() else { return };
    let first = Daemon::start(&namespace, &format!("serve -c {SEED}"));
    let owner = format!("pid {}, ntpring", first.pid());
    refuses(
        &namespace,
        &format!("serve -c {SEED}"),
        1,
        &["0.0.0.0:123", "address in use", &owner, "--listen"],
    );
    refuses(&namespace, &format!("serve -c {SEED} -l 127.0.0.1:123"), 1, &["127.0.0.1:123", &owner]);
    // The first one does not notice.
    assert!(ask(&namespace.socket("127.0.0.1:0"), "127.0.0.1:123").is_some());
}

#[test]
fn of_two_that_start_at_once_one_serves_and_the_other_exits_1() {
    let Some(namespace) = Namespace::new() else { return };
    for _ in 0..10 {
        let start = || {
            let mut ntpring = command(env!("CARGO_BIN_EXE_ntpring"));
            ntpring.args(["serve", "-c", SEED]);
            Daemon::spawn(&namespace, ntpring)
        };
        let mut both = [start(), start()];
        let is_ready = |line: &str| line.contains("ready: ");
        let deadline = Instant::now() + 5 * SECOND;
        // Each becomes ready or ends.
        let codes = both.each_mut().map(|daemon| {
            while Instant::now() < deadline && daemon.line(0, SECOND / 50, is_ready).is_none() {
                if let Some(end) = daemon.end(Duration::ZERO) {
                    return Some(end.code());
                }
            }
            None
        });
        let texts = both.each_ref().map(Daemon::text).join("\n--\n");
        assert!(matches!(codes, [None, Some(Some(1))] | [Some(Some(1)), None]), "{codes:?}\n{texts}");
    }
}

#[test]
fn an_owner_of_both_families_is_named_and_one_of_another_address_is_not() {
    let Some(namespace) = Namespace::new() else { return };
    let _elsewhere = namespace.socket("127.0.0.2:123");
    let mut python = command("python3");
    let script = "import socket, time; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); \
                  s.bind(('::ffff:127.0.0.1', 123)); print('bound', flush=True); time.sleep(60)";
    python.args(["-c", script]);
    let owner = Daemon::spawn(&namespace, python);
    assert!(owner.line(0, 5 * SECOND, |line| line == "bound").is_some(), "{}", owner.text());
    let named = format!("pid {}, python", owner.pid());
    refuses(&namespace, &format!("serve -c {SEED} -l 127.0.0.1:123"), 1, &["address in use", &named]);
}

#[test]
fn a_port_that_another_program_owns_is_an_error_that_names_it() {
    let Some(namespace) = Namespace::new() else { return };
    for address in ["127.0.0.1:123", "[::1]:123"] {
        let _socket = namespace.socket(address);
        let owner = format!("pid {}", std::process::id());
        refuses(
            &namespace,
            &format!("serve -c {SEED} -l {address}"),
            1,
            &[address, "address in use", &owner],
        );
        refuses(&namespace, &format!("serve -c {SEED}"), 1, &["address in use", &owner]);
    }
}

#[test]
fn a_port_that_chronyd_owns_is_an_error_that_names_chronyd() {
    let Some(mut chronyd) = lasting_client("chrony", "chronyd") else { return };
    let Some(namespace) = Namespace::new() else { return };
    let pidfile = format!("pidfile {SCRATCH}/chronyd-owns.pid");
    chronyd.args(["-U", "-u", "root", "-x", "-d", "allow", "bindcmdaddress /", &pidfile]);
    let chronyd = Daemon::spawn(&namespace, chronyd);
    let started = |line: &str| line.contains("Running with root privileges");
    assert!(chronyd.line(0, 5 * SECOND, started).is_some(), "{}", chronyd.text());
    let owner = format!("pid {}, chronyd", chronyd.pid());
    refuses(&namespace, &format!("serve -c {SEED}"), 1, &["address in use", &owner]);
}

#[test]
fn what_cannot_be_served_is_refused_in_a_sentence() {
    let Some(namespace) = Namespace::new() else { return };
    refuses(&namespace, "serve -u nosuchuser", 2, &["nosuchuser"]);
    refuses(&namespace, "serve -u nobody:nosuchgroup", 2, &["nosuchgroup"]);
    refuses(&namespace, "serve -l 300.1.1.1:123", 2, &["300.1.1.1"]);
    refuses(&namespace, "serve -l 203.0.113.9:123", 1, &["203.0.113.9:123"]);
    refuses(&namespace, "serve -l [fe80::1]:123", 1, &["[fe80::1]:123", "[fe80::1%IFACE]:123"]);
    refuses(&namespace, "serve -l [fe80::1%nosuch]:123", 2, &["fe80::1%nosuch"]);
    refuses(&namespace, "serve --cpus x", 2, &["--cpus", "x"]);
    refuses(&namespace, "serve --cpus 4095", 2, &["4095"]);
    refuses(&namespace, "serve --datapath fast", 2, &["fast"]);
    refuses(&namespace, "serve --nonsense", 2, &["--nonsense"]);
    refuses(&namespace, "serve -c /nonexistent/ntp.conf", 2, &["/nonexistent/ntp.conf"]);
}

/// The command for a bare `ntpring` that may not bind ports below 1024.
fn without_privileged_ports() -> Command {
    let mut bare = command("setpriv");
    bare.args(["--bounding-set", "-net_bind_service", "--", env!("CARGO_BIN_EXE_ntpring")]);
    bare
}

#[test]
fn without_arguments_it_serves_its_own_clock_on_port_123() {
    let Some(namespace) = Namespace::new() else { return };
    let daemon = Daemon::start(&namespace, "");
    let reply = ask(&namespace.socket("127.0.0.1:0"), "127.0.0.1:123").expect("a reply");
    assert_eq!((reply.leap, reply.mode), (0, 4), "{reply:?}");
    assert!(daemon.text().contains("clock: this machine's own"), "{}", daemon.text());
}

#[test]
fn without_arguments_and_without_the_right_to_port_123_it_says_so_and_takes_11123() {
    let Some(namespace) = Namespace::new() else { return };
    let daemon = Daemon::start_command(&namespace, without_privileged_ports());
    assert!(ask(&namespace.socket("127.0.0.1:0"), "127.0.0.1:11123").is_some());
    assert!(ask(&namespace.socket("[::1]:0"), "[::1]:11123").is_some());
    let says_why = daemon.text().lines().any(|line| line.contains("11123") && line.contains("123 "));
    assert!(says_why, "{}", daemon.text());
}

#[test]
fn without_arguments_and_with_port_123_taken_it_takes_11123() {
    let Some(namespace) = Namespace::new() else { return };
    let _owner = namespace.socket("0.0.0.0:123");
    let _daemon = Daemon::start(&namespace, "");
    assert!(ask(&namespace.socket("127.0.0.1:0"), "127.0.0.1:11123").is_some());
}

#[test]
fn serve_never_moves_to_another_port_by_itself() {
    let Some(namespace) = Namespace::new() else { return };
    let mut serve = without_privileged_ports();
    serve.args(["serve", "-c", SEED]);
    let Finished { code, text } = namespace.run(serve);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("cannot bind 0.0.0.0:123"), "{text}");
}

#[test]
fn an_address_that_a_wildcard_covers_is_no_error() {
    let Some(namespace) = Namespace::new() else { return };
    let daemon = Daemon::start(&namespace, &format!("serve -c {SEED} -l 0.0.0.0:123 -l 127.0.0.1:123"));
    assert!(daemon.ready_line().contains("udp 0.0.0.0:123;"), "{}", daemon.text());
    assert!(ask(&namespace.socket("127.0.0.1:0"), "127.0.0.1:123").is_some());
}

#[test]
fn a_taken_port_11123_is_not_what_is_recommended() {
    let Some(namespace) = Namespace::new() else { return };
    let _owner = namespace.socket("127.0.0.1:11123");
    refuses(&namespace, "serve -l 127.0.0.1:11123", 1, &["address in use", "--listen 127.0.0.1:11124"]);
}

#[test]
fn without_ipv6_addresses_it_serves_ipv4() {
    let Some(namespace) = Namespace::new() else { return };
    namespace.sysctl("net/ipv6/conf/all/disable_ipv6", "1");
    let _daemon = Daemon::start(&namespace, &format!("serve -c {SEED}"));
    assert!(ask(&namespace.socket("127.0.0.1:0"), "127.0.0.1:123").is_some());
}

#[test]
fn a_listen_address_serves_that_address_and_no_other() {
    let Some(scene) = Scene::new() else { return };
    let _daemon =
        Daemon::start(&scene.server, &format!("serve -c {SEED} -l 192.168.0.1:123 -l [fd00::1]:1123"));
    assert!(ask(&scene.client.socket("0.0.0.0:0"), "192.168.0.1:123").is_some());
    assert!(ask(&scene.client.socket("[::]:0"), "[fd00::1]:1123").is_some());
    let elsewhere = scene.server.socket("127.0.0.1:0");
    elsewhere.send_to(&[0; 48], "127.0.0.1:123").expect("a datagram leaves");
    assert!(elsewhere.recv(&mut [0; 48]).is_err(), "nobody serves 127.0.0.1");
}

/// ntpring with an /etc that has nothing but this ntp.conf.
fn with_etc_ntp_conf(arguments: &str) -> Command {
    const SCRIPT: &str = r#"
set -e
mount -t tmpfs none /etc
printf 'server 127.127.1.0\nfudge 127.127.1.0 stratum 12\n' >/etc/ntp.conf
exec "$@"
"#;
    let mut shell = command("unshare");
    shell.args(["--mount", "sh", "-c", SCRIPT, "sh", env!("CARGO_BIN_EXE_ntpring")]);
    shell.args(arguments.split_whitespace());
    shell
}

#[test]
fn etc_ntp_conf_is_the_default_of_serve_and_never_read_by_the_embedded_default() {
    let Some(namespace) = Namespace::new() else { return };
    for (arguments, is_read) in [("serve", true), ("", false)] {
        let _daemon = Daemon::start_command(&namespace, with_etc_ntp_conf(arguments));
        let reply = ask(&namespace.socket("127.0.0.1:0"), "127.0.0.1:123").expect("a reply");
        assert_eq!(reply.stratum == 13, is_read, "ntpring {arguments}: {reply:?}");
    }
}
