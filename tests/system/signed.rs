//! The daemon as a client with symmetric keys: it signs what it asks, and believes only what is signed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::clients::lasting_client;
use crate::support::daemon::{Daemon, ntpring};
use crate::support::scene::{SCRATCH, SERVER, Scene};
use crate::support::upstream::Upstream;

const SECOND: Duration = Duration::from_secs(1);
/// MD5, SHA-1 and AES-CMAC, as ntpd writes them.
const KEYS: &str = "1 MD5 seedmd5key\n2 SHA1 6bb1ee6b0e3cc0a1b3a1c1a1b1c1d1e1f1a1b1c1\n\
                    3 AES128CMAC 000102030405060708090a0b0c0d0e0f\n";
/// The same as chronyd writes them.
const CHRONY_KEYS: &str = "1 MD5 ASCII:seedmd5key\n2 SHA1 HEX:6bb1ee6b0e3cc0a1b3a1c1a1b1c1d1e1f1a1b1c1\n\
                           3 AES128 HEX:000102030405060708090a0b0c0d0e0f\n";

/// Writes a scratch file that only its owner may read.
fn write(name: &str, text: &str) -> String {
    let path = format!("{SCRATCH}/signed-{name}");
    fs::write(&path, text).expect("a scratch file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    path
}

/// A client of the server, over IPv4 and over IPv6, that signs with this key.
fn client(scene: &Scene, name: &str, key: u16, keys: &str) -> Daemon {
    let keys = write(&format!("{name}.keys"), keys);
    let servers: String = SERVER.map(|address| format!("server {address} iburst key {key}\n")).concat();
    let text = format!("keys {keys}\ntrustedkey 1 2 3\n{servers}");
    let conf = write(&format!("{name}.conf"), &text);
    Daemon::start(&scene.client, &format!("serve -x --workers 1 -c {conf}"))
}

/// Waits until the client follows a source, and has found the replies over both families to be signed.
fn follows_signed(client: &Daemon, key: u64) {
    let deadline = Instant::now() + 15 * SECOND;
    loop {
        let sources = client.counters().0["associations"].clone();
        let sources = sources.as_array().expect("a list");
        let is_signed = |source: &Value| source["authenticated"] == true && source["reach"] != 0;
        if sources.iter().all(is_signed) && sources.iter().any(|source| source["selection"] == "system peer")
        {
            assert_eq!(sources.len(), SERVER.len());
            assert!(sources.iter().all(|source| source["key"] == key), "{sources:?}");
            return;
        }
        assert!(Instant::now() < deadline, "key {key}: {sources:?}\n{}", client.text());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Each key against what serves at 192.168.0.1.
fn every_key_is_believed(scene: &Scene, name: &str) {
    for key in 1..=3 {
        follows_signed(&client(scene, &format!("{name}-{key}"), key, KEYS), key.into());
    }
}

/// Waits until 192.168.0.1 serves time that may be used. It may have a rate limit.
fn answers(scene: &Scene, server: &Daemon) {
    let deadline = Instant::now() + 90 * SECOND;
    while scene.client.run(ntpring(["query", "192.168.0.1"])).code != Some(0) {
        assert!(Instant::now() < deadline, "{}", server.text());
        std::thread::sleep(3 * SECOND);
    }
}

/// Our own server with these keys.
fn server(scene: &Scene, name: &str, keys: &str) -> Daemon {
    let keys = write(&format!("{name}.server.keys"), keys);
    let text = format!("server 127.127.1.0\nkeys {keys}\ntrustedkey 1 2 3\n");
    let conf = write(&format!("{name}.server.conf"), &text);
    Daemon::start(&scene.server, &format!("serve -c {conf}"))
}

#[test]
fn our_server_is_believed_with_each_key() {
    let Some(scene) = Scene::new() else { return };
    let _server = server(&scene, "ours", KEYS);
    every_key_is_believed(&scene, "ours");
}

#[test]
fn chronyd_is_believed_with_each_key() {
    let Some(mut chronyd) = lasting_client("chrony", "chronyd") else { return };
    let Some(scene) = Scene::new() else { return };
    let keys = write("chronyd.keys", CHRONY_KEYS);
    let pid_file = format!("{SCRATCH}/signed-chronyd.pid");
    let text =
        format!("allow\nlocal stratum 3\ncmdport 0\nbindcmdaddress /\npidfile {pid_file}\nkeyfile {keys}\n");
    chronyd.args(["-x", "-d", "-u", "root", "-f", &write("chronyd.conf", &text)]);
    let chronyd = Daemon::spawn(&scene.server, chronyd);
    answers(&scene, &chronyd);
    every_key_is_believed(&scene, "chronyd");
}

#[test]
fn ntpd_of_ntpsec_is_believed_with_each_key() {
    let Some(mut ntpd) = lasting_client("ntpsec", "ntpd") else { return };
    let Some(scene) = Scene::new() else { return };
    let keys = write("ntpd.keys", KEYS);
    let text = format!(
        "server 127.127.1.0 iburst minpoll 3 maxpoll 3\nfudge 127.127.1.0 stratum 3\ntos orphanwait 1\n\
         restrict default nomodify\nkeys {keys}\ntrustedkey 1 2 3\n"
    );
    ntpd.args(["-n", "-c", &write("ntpd.conf", &text)]);
    let ntpd = Daemon::spawn(&scene.server, ntpd);
    answers(&scene, &ntpd);
    every_key_is_believed(&scene, "ntpd");
}

#[test]
fn what_is_not_signed_with_the_right_secret_is_never_believed() {
    let Some(scene) = Scene::new() else { return };
    let is_not_believed = |name: &str| {
        let client = client(&scene, name, 1, KEYS);
        std::thread::sleep(4 * SECOND);
        for source in client.counters().0["associations"].as_array().expect("a list") {
            assert_eq!((&source["reach"], &source["authenticated"]), (&0.into(), &false.into()), "{source}");
        }
    };
    // One that knows no keys answers without a code, one with another secret is silent.
    let unsigned = Upstream::new(scene.server.socket("192.168.0.1:123"), 0.0);
    is_not_believed("none");
    assert!(unsigned.asked() > 0, "it was asked, and has answered");
    drop(unsigned);
    let server = server(&scene, "another", "1 MD5 another\n");
    is_not_believed("another");
    assert!(server.counters().dropped_for("bad_mac") > 0, "{:?}", server.counters());
}

#[test]
fn with_a_key_that_is_not_there_nothing_is_asked_until_it_is() {
    let Some(scene) = Scene::new() else { return };
    let _server = server(&scene, "late", KEYS);
    let client = client(&scene, "late", 2, "1 MD5 seedmd5key\n");
    assert!(client.text().contains("key 2 is not in"), "{}", client.text());
    std::thread::sleep(3 * SECOND);
    assert_eq!(client.counters().0["associations"][0]["reach"], 0);
    write("late.keys", KEYS);
    client.signal(Signal::SIGHUP);
    let deadline = Instant::now() + 40 * SECOND;
    while client.counters().0["associations"][0]["authenticated"] != true {
        assert!(Instant::now() < deadline, "{}", client.text());
        std::thread::sleep(Duration::from_millis(200));
    }
}
