//! `ntpring query` against real servers, and against nobody.

use std::fs;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::clients::{find, lasting_client};
use crate::support::daemon::{Daemon, ntpring};
use crate::support::namespace::{Finished, Namespace};
use crate::support::scene::{SCRATCH, SERVER, Scene};

/// chronyd serving its own clock at stratum 3, without touching it.
fn chronyd(scene: &Scene, name: &str, local: &str) -> Option<Daemon> {
    let mut chronyd = lasting_client("chrony", "chronyd")?;
    let conf = format!("{SCRATCH}/query-{name}.conf");
    let pid_file = format!("{SCRATCH}/query-{name}.pid");
    let text = format!("allow\n{local}\ncmdport 0\nbindcmdaddress /\npidfile {pid_file}\n");
    fs::write(&conf, text).expect("a scratch file");
    chronyd.args(["-x", "-d", "-u", "root", "-f", &conf]);
    let chronyd = Daemon::spawn(&scene.server, chronyd);
    chronyd.line(0, Duration::from_secs(5), |line| line.contains("starting")).expect("chronyd starts");
    Some(chronyd)
}

/// Runs `ntpring query`, again while the server is still starting.
fn query(namespace: &Namespace, arguments: &str) -> Finished {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let finished = namespace.run(ntpring(["query"].into_iter().chain(arguments.split_whitespace())));
        if !finished.text.contains("nobody listens") || Instant::now() > deadline {
            return finished;
        }
    }
}

#[test]
fn a_good_server_is_told_in_words_and_as_json_with_exit_code_0() {
    if find("chrony", "chronyd").is_none() {
        return;
    }
    let Some(scene) = Scene::new() else { return };
    let Some(chronyd) = chronyd(&scene, "good", "local stratum 3") else { return };
    for address in SERVER {
        let Finished { code, text } = query(&scene.client, address);
        assert_eq!(code, Some(0), "{text}\n{}", chronyd.text());
        for part in ["offset ", "delay 0.0", "stratum 3", "leap 0", "root distance 0.0"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let Finished { code, text } = query(&scene.client, &format!("--json -n 2 {address}"));
        assert_eq!(code, Some(0), "{text}");
        let answer: Value = serde_json::from_str(text.trim()).expect("one JSON object");
        assert_eq!((&answer["stratum"], &answer["leap"]), (&3.into(), &0.into()), "{answer}");
        assert_eq!((&answer["sent"], &answer["received"]), (&2.into(), &2.into()), "{answer}");
        assert_eq!((&answer["usable"], &answer["fault"]), (&true.into(), &Value::Null), "{answer}");
        assert_eq!(answer["kernel_stamps"], true, "{answer}");
        // Two namespaces of one machine have one clock.
        let (offset, delay) = (answer["offset_s"].as_f64().unwrap(), answer["delay_s"].as_f64().unwrap());
        assert!(offset.abs() < 0.05 && delay > 0.0 && delay < 0.1, "{answer}");
    }
}

#[test]
fn a_server_that_follows_nobody_is_told_with_exit_code_1() {
    if find("chrony", "chronyd").is_none() {
        return;
    }
    let Some(scene) = Scene::new() else { return };
    let Some(_chronyd) = chronyd(&scene, "lost", "") else { return };
    let Finished { code, text } = query(&scene.client, "192.168.0.1");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("leap 3") && text.contains("not usable: the server's clock is not"), "{text}");
}

#[test]
fn silence_is_an_error_that_says_what_to_look_for() {
    let Some(namespace) = Namespace::new() else { return };
    let start = Instant::now();
    let silent: UdpSocket = namespace.socket("127.0.0.1:123");
    for (target, words) in [
        ("127.0.0.1", "127.0.0.1:123: no answer within 2 s"),
        ("127.0.0.1:11123", "127.0.0.1:11123: nobody listens on UDP port 11123 there"),
        ("no-such-host.invalid", "no-such-host.invalid: "),
        ("192.0.2.1", "192.0.2.1:123: Network is unreachable"),
    ] {
        let finished = namespace.run(ntpring(["query", target]));
        assert_eq!(finished.code, Some(1), "{target}: {}", finished.text);
        assert!(finished.text.contains(words), "{target}: {}", finished.text);
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    drop(silent);
    let wrong = namespace.run(ntpring(["query", "host:port"]));
    assert_eq!(wrong.code, Some(2), "{}", wrong.text);
}

#[test]
fn a_reply_to_somebody_else_is_no_reply() {
    let Some(namespace) = Namespace::new() else { return };
    let server = namespace.socket("127.0.0.1:123");
    let liar = std::thread::spawn(move || {
        let mut request = [0; 64];
        server.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        let (length, client) = server.recv_from(&mut request).expect("a request");
        assert_eq!(length, 48);
        // RFC 9109 and data minimisation: nothing about the client is told.
        assert_eq!((request[0], &request[1..40]), (0x23, &[0; 39][..]), "{request:x?}");
        let mut reply = [0; 48];
        reply[..2].copy_from_slice(&[0x24, 1]);
        // An origin of zero, a wrong one, a reply that is too long, and one that is cut off.
        server.send_to(&reply, client).expect("a reply");
        reply[24..32].copy_from_slice(&7_u64.to_be_bytes());
        server.send_to(&reply, client).expect("a reply");
        server.send_to(&[0x24; 2000], client).expect("a reply");
        server.send_to(&reply[..47], client).expect("a reply");
    });
    let finished = namespace.run(ntpring(["query", "127.0.0.1"]));
    assert_eq!(finished.code, Some(1), "{}", finished.text);
    assert!(finished.text.contains("no answer"), "{}", finished.text);
    liar.join().expect("the server saw a good request");
}
