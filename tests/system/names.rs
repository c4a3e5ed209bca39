//! Sources by name: resolvers that fail, hang, change their mind or answer with too much delay no poll and
//! end no process.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::daemon::Daemon;
use crate::support::namespace::{Namespace, command};
use crate::support::scene::{SCRATCH, Scene};
use crate::support::upstream::Upstream;

const SECOND: Duration = Duration::from_secs(1);

/// What the name server says to every question.
#[derive(Clone, Debug)]
enum Says {
    /// Nothing at all.
    Nothing,
    /// That there is no such name.
    NoSuchName,
    /// These addresses.
    Addresses(Vec<Ipv4Addr>),
}

/// A name server on 127.0.0.1 of a namespace; it runs as long as the test.
fn name_server(namespace: &Namespace, says: Says) -> Arc<Mutex<Says>> {
    let socket = namespace.socket("127.0.0.1:53");
    let says = Arc::new(Mutex::new(says));
    let answering = Arc::clone(&says);
    thread::spawn(move || answer_all(&socket, &answering));
    says
}

fn answer_all(socket: &UdpSocket, says: &Mutex<Says>) {
    socket.set_read_timeout(None).expect("no timeout");
    let mut query = [0; 512];
    while let Ok((length, client)) = socket.recv_from(&mut query) {
        let says = says.lock().expect("no test panicked while it held this").clone();
        if let Some(answer) = answer(&query[..length], &says) {
            // A resolver that has gone is no error.
            let _ = socket.send_to(&answer, client);
        }
    }
}

/// RFC 1035: the query's header and question, then the answers. Addresses are for questions of type A only.
fn answer(query: &[u8], says: &Says) -> Option<Vec<u8>> {
    let question = 12 + query[12..].iter().position(|octet| *octet == 0)? + 5;
    let is_a = query[question - 4..question - 2] == [0, 1];
    let addresses = match says {
        Says::Nothing => return None,
        Says::Addresses(addresses) if is_a => addresses.as_slice(),
        Says::Addresses(_) | Says::NoSuchName => &[],
    };
    let code = if matches!(says, Says::NoSuchName) { 3 } else { 0 };
    let count = u16::try_from(addresses.len()).expect("few answers").to_be_bytes();
    let mut reply = query[..2].to_vec();
    reply.extend([0x81, 0x80 | code, 0, 1, count[0], count[1], 0, 0, 0, 0]);
    reply.extend(&query[12..question]);
    for address in addresses {
        // The name of the question; type A, class IN, for no time at all.
        reply.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        reply.extend(address.octets());
    }
    Some(reply)
}

/// `ntpring serve -x` in a machine whose resolver asks 127.0.0.1, and waits `timeout` seconds for it.
fn serve(name: &str, text: &str, timeout: u32) -> Command {
    const SCRIPT: &str = r#"
set -e
mount -t tmpfs none /etc
printf 'nameserver 127.0.0.1\noptions attempts:1 timeout:%s\n' "$1" >/etc/resolv.conf
printf 'hosts: files dns\n' >/etc/nsswitch.conf
shift
exec "$@"
"#;
    let conf = format!("{SCRATCH}/names-{name}.conf");
    fs::write(&conf, text).expect("a scratch file");
    let mut shell = command("unshare");
    shell.args(["--mount", "sh", "-c", SCRIPT, "sh", &timeout.to_string()]);
    shell.args([env!("CARGO_BIN_EXE_ntpring"), "serve", "-x", "-c", &conf]);
    shell
}

/// Waits until a source with this address is the system peer.
fn follows(daemon: &Daemon, address: &str, patience: Duration) {
    let deadline = Instant::now() + patience;
    loop {
        let counters = daemon.counters();
        let sources = counters.0["associations"].as_array().expect("a list").clone();
        if sources.iter().any(|one| one["address"] == address && one["selection"] == "system peer") {
            return;
        }
        assert!(Instant::now() < deadline, "{address} in {sources:#?}\n{}", daemon.text());
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_resolver_that_hangs_delays_no_poll_and_is_believed_when_it_answers() {
    let Some(scene) = Scene::new() else { return };
    scene.server.address("lan", "192.168.0.5/24");
    let _first = Upstream::new(scene.server.socket("192.168.0.1:123"), 0.0);
    let _second = Upstream::new(scene.server.socket("192.168.0.5:123"), 0.0);
    let says = name_server(&scene.client, Says::Nothing);
    let text = "server slow.test iburst prefer\nserver 192.168.0.1 iburst\n";
    let start = Instant::now();
    let daemon = Daemon::start_command(&scene.client, serve("hang", text, 4));
    assert!(start.elapsed() < 3 * SECOND, "the start waits for no resolver: {:?}", start.elapsed());
    follows(&daemon, "192.168.0.1", 10 * SECOND);
    *says.lock().expect("nobody panicked") = Says::Addresses(vec![Ipv4Addr::new(192, 168, 0, 5)]);
    follows(&daemon, "192.168.0.5", 60 * SECOND);
}

#[test]
fn c26_a_name_that_does_not_exist_yet_is_looked_up_again() {
    let Some(scene) = Scene::new() else { return };
    let _upstream = Upstream::new(scene.server.socket("192.168.0.1:123"), 0.0);
    let says = name_server(&scene.client, Says::NoSuchName);
    let daemon = Daemon::start_command(&scene.client, serve("late", "server late.test iburst\n", 1));
    let missing = daemon.line(0, 5 * SECOND, |line| line.contains("late.test: no address found"));
    assert!(missing.is_some(), "{}", daemon.text());
    *says.lock().expect("nobody panicked") = Says::Addresses(vec![Ipv4Addr::new(192, 168, 0, 1)]);
    follows(&daemon, "192.168.0.1", 30 * SECOND);
}

#[test]
fn of_a_hundred_addresses_of_a_pool_no_more_than_maxclock_are_asked() {
    let Some(scene) = Scene::new() else { return };
    let _upstream = Upstream::new(scene.server.socket("192.168.0.1:123"), 0.0);
    let many = (0..99).map(|host| Ipv4Addr::new(192, 168, 0, 100 + host));
    let addresses = [Ipv4Addr::new(192, 168, 0, 1)].into_iter().chain(many).collect();
    let _says = name_server(&scene.client, Says::Addresses(addresses));
    let text = "pool many.test iburst\ntos maxclock 7\n";
    let daemon = Daemon::start_command(&scene.client, serve("many", text, 1));
    follows(&daemon, "192.168.0.1", 15 * SECOND);
    let counters = daemon.counters();
    let sources = counters.0["associations"].as_array().expect("a list");
    // The pool itself has a row.
    assert!((2..=8).contains(&sources.len()), "{} associations", sources.len());
}
