//! Control messages on the wire: proofs of address, bounds, floods, and keys that change under way.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::ntpq_signed::{ntpq, number};
use crate::support::daemon::Daemon;
use crate::support::namespace::Namespace;
use crate::support::ntp::{ask, request};
use crate::support::scene::{SCRATCH, Scene};

const CLOCK: &str = "server 127.127.1.0\nfudge 127.127.1.0 stratum 3\n";
const SERVER: &str = "127.0.0.1:123";

/// Opcodes of RFC 9327.
const READ_VARIABLES: u8 = 2;
const READ_MRU: u8 = 10;
const REQUEST_NONCE: u8 = 12;

fn write(name: &str, text: &str) -> String {
    let path = format!("{SCRATCH}/control-{name}");
    fs::write(&path, text).expect("a scratch file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    path
}

fn serve(namespace: &Namespace, name: &str, text: &str) -> (Daemon, String) {
    let conf = write(&format!("{name}.conf"), &format!("{CLOCK}{text}"));
    (Daemon::start(namespace, &format!("serve -x --workers 1 -c {conf}")), conf)
}

/// A control message, written without the code under test.
fn message(opcode: u8, data: &str) -> Vec<u8> {
    let count = (data.len() as u16).to_be_bytes();
    let mut message = [&[0x16, opcode, 0, 7, 0, 0, 0, 0, 0, 0][..], &count, data.as_bytes()].concat();
    message.resize(message.len().next_multiple_of(4), 0);
    message
}

/// The text of a response of one datagram; None for silence.
fn answer(socket: &UdpSocket, opcode: u8, data: &str) -> Option<String> {
    socket.send_to(&message(opcode, data), SERVER).expect("it leaves");
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).ok()?;
    assert_eq!(buffer[1] & 0xDF, 0x80 | opcode, "a response, and no error");
    let count = usize::from(u16::from_be_bytes([buffer[10], buffer[11]]));
    assert!((12..=480).contains(&length) && 12 + count <= length, "{count} of {length}");
    Some(String::from_utf8_lossy(&buffer[12..12 + count]).into_owned())
}

#[test]
fn m8_mru_sizes_the_list_of_clients() {
    let Some(namespace) = Namespace::new() else { return };
    // A kilobyte is 16 clients of 64 octets; 20 entries are three sets of eight.
    for (line, room, kilobytes) in [("mru maxmem 1", 16, 1), ("mru maxdepth 20", 24, 2)] {
        let (daemon, _) = serve(&namespace, "mru", &format!("{line}\nrestrict 127.0.0.0/8\n"));
        assert_eq!(number(&namespace, "monstats", "mru_maxdepth"), room, "{line}");
        assert_eq!(number(&namespace, "monstats", "mru_maxmem"), kilobytes, "{line}");
        for host in 1..=200 {
            let from = SocketAddr::from((Ipv4Addr::new(127, 0, 9, host), 0));
            ask(&namespace.socket(from), SERVER).unwrap_or_else(|| panic!("{host}: {}", daemon.text()));
        }
        // Full, and never fuller: clients of one set make room for each other.
        let (_, list) = ntpq(&namespace, &[], &["mrulist sort=addr"]);
        let shown = list.lines().skip(2).count() as u64;
        assert!((room - 8..=room).contains(&shown), "{line}: {shown}\n{list}");
        assert_eq!(number(&namespace, "monstats", "mru_deepest"), shown, "{line}");
        // The newest are among them, the oldest are not.
        assert!(list.contains(" 127.0.9.200\n") && !list.contains(" 127.0.9.1\n"), "{list}");
    }
}

#[test]
fn a_nonce_is_of_its_address_and_port_for_16_seconds() {
    let Some(scene) = Scene::new() else { return };
    let (daemon, _) = serve(&scene.server, "nonce", "restrict 127.0.0.0/8\n");
    let socket = scene.server.socket("127.0.0.1:0");
    let nonce = |socket: &UdpSocket| {
        let text = answer(socket, REQUEST_NONCE, "").expect("a nonce");
        text.trim_end().to_owned()
    };
    let list = |socket: &UdpSocket, nonce: &str| answer(socket, READ_MRU, &format!("{nonce}, frags=1"));
    let good = nonce(&socket);
    let given = Instant::now();
    assert!(list(&socket, &good).expect("the list").contains("addr.0="), "{}", daemon.text());
    assert!(list(&socket, &good).is_some(), "more than once");
    // Another port, another address; made up; changed; none.
    let forged = format!("{}{}", &good[..good.len() - 1], if good.ends_with('0') { '1' } else { '0' });
    for (from, nonce) in [
        ("127.0.0.1:0", &*good),
        ("127.0.0.2:0", &good),
        ("127.0.0.1:0", "nonce=0123456789abcdef01234567"),
        ("127.0.0.1:0", &forged),
        ("127.0.0.1:0", "nonce="),
    ] {
        let other = scene.server.socket(from);
        other.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        assert_eq!(list(&other, nonce), None, "{from} {nonce}");
    }
    let counters = daemon.counters_when(|counters| counters.0["control"]["silent"].as_u64() >= Some(5));
    assert_eq!(counters.0["control"]["silent"], 5, "{counters:?}");
    thread::sleep((given + Duration::from_secs(17)).saturating_duration_since(Instant::now()));
    assert_eq!(list(&socket, &good), None, "it is too old");
    assert!(list(&socket, &nonce(&socket)).is_some());
}

#[test]
fn a_flood_of_control_messages_loses_no_time_reply_and_is_counted() {
    /// Every millisecond: 25 000 control messages a second beside 1000 requests for time, which even this
    /// build without optimisations can take in.
    const CONTROL: usize = 25;
    const MILLISECONDS: u64 = 3000;
    let Some(namespace) = Namespace::new() else { return };
    let (daemon, _) = serve(&namespace, "flood", "restrict 127.0.0.0/8\n");
    let flood = namespace.socket("127.0.0.2:0");
    let time = namespace.socket("127.0.0.3:0");
    let question = message(READ_VARIABLES, "");
    let begin = Instant::now();
    let mut answered = 0;
    for millisecond in 0..MILLISECONDS {
        let due = begin + Duration::from_millis(millisecond);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        for _ in 0..CONTROL {
            flood.send_to(&question, SERVER).expect("it leaves");
        }
        time.send_to(&request(4, millisecond + 1), SERVER).expect("it leaves");
        let mut reply = [0; 64];
        answered += usize::from(time.recv(&mut reply).is_ok_and(|length| length == 48));
    }
    assert_eq!(answered, MILLISECONDS as usize, "{}", daemon.text());
    let asked = MILLISECONDS * CONTROL as u64;
    let counters = daemon.counters_when(|counters| {
        let control = &counters.0["control"];
        control["answered"].as_u64() == Some(counters.get("forwarded"))
            && counters.get("received") == asked + MILLISECONDS
    });
    let (forwarded, full) = (counters.get("forwarded"), counters.dropped_for("forward_full"));
    assert_eq!((counters.get("answered"), forwarded + full), (MILLISECONDS, asked), "{counters:?}");
    assert!(forwarded >= 64 && full > forwarded, "most find the queue full: {counters:?}");
    // And then it answers as if nothing had been.
    assert_eq!(ntpq(&namespace, &[], &["rv 0 stratum"]).0, Some(0));
}

#[test]
fn f13_sighup_changes_who_may_sign_control_messages() {
    let Some(namespace) = Namespace::new() else { return };
    let first = "1 MD5 first\n2 SHA1 second\n";
    let keys = write("reload.keys", first);
    let conf = |lines: &str| format!("{CLOCK}keys {keys}\nrestrict 127.0.0.1\n{lines}");
    let (daemon, path) = serve(
        &namespace,
        "reload",
        &format!("keys {keys}\ntrustedkey 1 2\ncontrolkey 1\nrestrict 127.0.0.1\n"),
    );
    let reload = |lines: &str| {
        fs::write(&path, conf(lines)).expect("the configuration is rewritten");
        let from = daemon.lines();
        daemon.signal(Signal::SIGHUP);
        let line = daemon.line(from, Duration::from_secs(5), |line| line.contains("in force"));
        assert!(line.is_some(), "{}", daemon.text());
    };
    // Ours has its own copy of the keys: the server's may change.
    let known = write("reload-known.keys", &format!("{first}3 MD5 third\n"));
    let lists = |id: &str| ntpq(&namespace, &["-k", &known, "-a", id], &["ifstats"]);
    let is_allowed = |id: &str| {
        let (code, text) = lists(id);
        match code {
            Some(0) => assert!(text.contains("v4wildcard"), "{text}"),
            _ => assert_eq!(text, "***Server disallowed request (authentication?)\n", "{}", daemon.text()),
        }
        code == Some(0)
    };
    assert_eq!(["1", "2", "3"].map(is_allowed), [true, false, false]);
    reload("trustedkey 1 2\ncontrolkey 2\n");
    assert_eq!(["1", "2", "3"].map(is_allowed), [false, true, false]);
    // The key is there, but not trusted any more; then none controls.
    reload("trustedkey 1\ncontrolkey 2\n");
    assert_eq!(["1", "2", "3"].map(is_allowed), [false, false, false]);
    reload("trustedkey 1 2\n");
    assert_eq!(["1", "2", "3"].map(is_allowed), [false, false, false]);
    // Another secret and another key under the same configuration.
    write("reload.keys", "1 MD5 changed\n3 MD5 third\n");
    reload("trustedkey 1 3\ncontrolkey 1\n");
    assert_eq!(["1", "2", "3"].map(is_allowed), [false, false, false]);
    reload("trustedkey 1 3\ncontrolkey 3\n");
    assert_eq!(["1", "2", "3"].map(is_allowed), [false, false, true]);
}
