//! Real clients with symmetric keys, and key files that come, change and go (conformance rows E5 to E9, F10).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::clients::{client, find, lasting_client};
use crate::support::daemon::Daemon;
use crate::support::namespace::{Finished, Namespace, has_other_users};
use crate::support::ntp::ask;
use crate::support::scene::{SCRATCH, SERVER, Scene};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/vectors");
/// The same secrets as ntpd writes them, but for `M`, which Debian's ntpdig cannot read.
const KEYS: &str = "1 MD5 seedmd5key\n2 SHA1 6bb1ee6b0e3cc0a1b3a1c1a1b1c1d1e1f1a1b1c1\n\
                    3 AES128CMAC 000102030405060708090a0b0c0d0e0f\n4 MD5 not-trusted\n";

/// Writes a scratch file that only its owner may read.
fn write(name: &str, text: &str) -> String {
    let path = format!("{SCRATCH}/keys-{name}");
    fs::write(&path, text).expect("a scratch file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    path
}

/// The configuration of a server with this key file, keys 1 to 3 trusted.
fn conf(name: &str, keys: &str) -> String {
    let text = format!(
        "server 127.127.1.0\nfudge 127.127.1.0 stratum 3\nrestrict default noquery\nkeys {keys}\ntrustedkey (1 ... 3)\n"
    );
    write(&format!("{name}.conf"), &text)
}

fn serve(namespace: &Namespace, name: &str, arguments: &str) -> (Daemon, String) {
    let keys = write(&format!("{name}.server"), KEYS);
    let daemon = Daemon::start(namespace, &format!("serve -c {} {arguments}", conf(name, &keys)));
    (daemon, keys)
}

/// chronyd with its own key file asks once, with this key.
fn chronyd(scene: &Scene, address: &str, key: u16, keys: &str) -> Finished {
    let mut chronyd = client("chrony", "chronyd").expect("it was looked for");
    // -Q measures and prints, and never touches the clock.
    chronyd.args(["-U", "-u", "root", "-Q", "-t", "3", &format!("keyfile {keys}")]);
    chronyd.arg(format!("server {address} iburst maxsamples 1 key {key}"));
    scene.client.run(chronyd)
}

#[test]
fn e5_chronyd_accepts_replies_signed_with_each_key() {
    if find("chrony", "chronyd").is_none() {
        return;
    }
    let Some(scene) = Scene::new() else { return };
    let (daemon, _) = serve(&scene.server, "chrony", "");
    for key in 1..=3 {
        for address in SERVER {
            let Finished { code, text } = chronyd(&scene, address, key, &format!("{VECTORS}/chrony.keys"));
            assert_eq!(code, Some(0), "key {key}: {text}\n{}", daemon.text());
            assert!(text.contains("System clock wrong by"), "{text}");
        }
    }
    assert_eq!(daemon.counters().dropped(), 0);
}

#[test]
fn e6_e7_a_wrong_secret_and_an_unknown_key_get_silence() {
    if find("chrony", "chronyd").is_none() {
        return;
    }
    let Some(scene) = Scene::new() else { return };
    let (daemon, _) = serve(&scene.server, "wrong", "");
    let theirs = write("wrong.chrony", "1 MD5 ASCII:another\n4 MD5 ASCII:not-trusted\n9 MD5 ASCII:nobodys\n");
    for (key, reason) in [(1, "bad_mac"), (4, "unknown_key"), (9, "unknown_key")] {
        let before = daemon.counters().dropped_for(reason);
        let Finished { code, text } = chronyd(&scene, SERVER[0], key, &theirs);
        assert_eq!(code, Some(1), "key {key}: {text}");
        daemon.counters_when(|counters| counters.dropped_for(reason) > before);
    }
    assert_eq!(daemon.counters().get("answered"), 0);
}

#[test]
fn e5_ntpdig_and_ntpdate_accept_replies_signed_with_each_key() {
    let theirs = write("ntpdig.client", KEYS);
    for (program, arguments) in [("ntpdig", &[][..]), ("ntpdate", &["-q", "-p", "1"])] {
        if find("ntpsec", program).is_none() {
            return;
        }
        let Some(scene) = Scene::new() else { return };
        let (daemon, _) = serve(&scene.server, program, "");
        for key in ["1", "2", "3"] {
            let mut run = client("ntpsec", program).expect("it was found above");
            run.args(arguments).args(["-a", key, "-k", &theirs, SERVER[0]]);
            let Finished { code, text } = scene.client.run(run);
            assert_eq!(code, Some(0), "{program}, key {key}: {text}\n{}", daemon.text());
            assert!(text.contains("s4 no-leap"), "{text}");
        }
        let counters = daemon.counters();
        assert!(counters.get("answered") >= 3 && counters.dropped() == 0, "{counters:?}");
    }
}

/// ntpsec's ntpd, which asks over both families and signs with this key.
fn ntpd(scene: &Scene, key: u16, keys: &str) -> Daemon {
    let mut ntpd = lasting_client("ntpsec", "ntpd").expect("it was looked for");
    let access = "restrict default nomodify nopeer noquery\nrestrict 127.0.0.1\nrestrict ::1\n";
    let servers: String = SERVER.map(|address| format!("server {address} iburst key {key}\n")).concat();
    let text = format!("{access}keys {keys}\ntrustedkey 1 2 3\n{servers}");
    ntpd.args(["-n", "-c", &write(&format!("ntpd-{key}.conf"), &text)]);
    Daemon::spawn(&scene.client, ntpd)
}

/// ntpd's associations, as its own ntpq shows them: condition, authentication and reachability.
fn associations(scene: &Scene) -> Vec<String> {
    let mut ntpq = client("ntpsec", "ntpq").expect("it was looked for");
    ntpq.args(["-c", "associations", "127.0.0.1"]);
    let table = scene.client.run(ntpq).text;
    table.lines().filter(|line| line.contains(" yes ") || line.contains(" no ")).map(str::to_owned).collect()
}

fn has_ntpd() -> bool {
    lasting_client("ntpsec", "ntpd").is_some() && find("ntpsec", "ntpq").is_some()
}

#[test]
fn e5_ntpd_takes_us_for_authenticated_with_each_key() {
    if !has_ntpd() {
        return;
    }
    let Some(scene) = Scene::new() else { return };
    let (server, _) = serve(&scene.server, "ntpd", "");
    let theirs = write("ntpd.client", KEYS);
    for key in 1..=3 {
        let ntpd = ntpd(&scene, key, &theirs);
        let deadline = Instant::now() + Duration::from_secs(25);
        loop {
            let lines = associations(&scene);
            let is_authentic = |line: &String| line.contains(" yes ") && line.contains("  ok ");
            let is_followed = lines.iter().any(|line| line.contains("sys.peer"));
            if is_followed && lines.len() == SERVER.len() && lines.iter().all(is_authentic) {
                break;
            }
            let of_both = format!("ntpd: {}\nserver: {}", ntpd.text(), server.text());
            assert!(Instant::now() < deadline, "key {key}: {lines:#?}\n{of_both}");
            std::thread::sleep(Duration::from_millis(500));
        }
    }
    assert_eq!(server.counters().dropped(), 0);
}

#[test]
fn e6_ntpd_with_another_secret_gets_silence() {
    if !has_ntpd() {
        return;
    }
    let Some(scene) = Scene::new() else { return };
    let (server, _) = serve(&scene.server, "ntpd-wrong", "");
    let theirs = write(
        "ntpd-wrong.client",
        "1 MD5 another\n2 SHA1 another\n3 AES128CMAC 000102030405060708090a0b0c0d0eff\n",
    );
    for key in 1..=3 {
        let before = server.counters().dropped_for("bad_mac");
        let _ntpd = ntpd(&scene, key, &theirs);
        server.counters_when(|counters| counters.dropped_for("bad_mac") > before + 1);
    }
    assert_eq!(server.counters().get("answered"), 0);
}

#[test]
fn f10_a_missing_key_file_does_not_keep_us_from_serving() {
    let Some(namespace) = Namespace::new() else { return };
    let daemon = Daemon::start(&namespace, &format!("serve -c {}", conf("missing", "/nonexistent/keys")));
    assert!(daemon.text().contains("cannot read \"/nonexistent/keys\""), "{}", daemon.text());
    assert!(ask(&namespace.socket("127.0.0.1:0"), "127.0.0.1:123").is_some());
}

/// Sends SIGHUP and waits for a line that says this.
fn reload(daemon: &Daemon, expected: &str) {
    let from = daemon.lines();
    daemon.signal(Signal::SIGHUP);
    let line = daemon.line(from, Duration::from_secs(5), |line| line.contains(expected));
    assert!(line.is_some(), "{expected:?} is not in:\n{}", daemon.text());
}

#[test]
fn f13_sighup_reads_the_keys_again_and_a_bad_file_changes_nothing() {
    if find("chrony", "chronyd").is_none() {
        return;
    }
    let Some(scene) = Scene::new() else { return };
    let (daemon, keys) = serve(&scene.server, "reload", "");
    let old = write("reload.old", "1 MD5 ASCII:seedmd5key\n");
    let new = write("reload.new", "1 SHA1 ASCII:changed\n");
    let accepts = |keys: &str| chronyd(&scene, SERVER[0], 1, keys).code == Some(0);
    assert!(accepts(&old) && !accepts(&new));

    fs::write(&keys, "1 SHA1 changed\n").expect("the key is changed");
    reload(&daemon, "in force");
    assert!(accepts(&new) && !accepts(&old));

    fs::write(&keys, "1 MD5 seedmd5key\n2 DES x\n").expect("the key is changed");
    reload(&daemon, &format!("{keys}:2:3: error: key type \"DES\" is not known"));
    reload(&daemon, "the old configuration stays in force");
    assert!(accepts(&new), "{}", daemon.text());

    fs::remove_file(&keys).expect("the file is removed");
    reload(&daemon, "the keys that were read before stay in force");
    assert!(accepts(&new), "{}", daemon.text());
}

#[test]
fn keys_that_only_root_can_read_are_read_before_privileges_go() {
    let Some(scene) = Scene::new().filter(|_| has_other_users()) else { return };
    if find("chrony", "chronyd").is_none() {
        return;
    }
    let (daemon, keys) = serve(&scene.server, "root", "-u nobody");
    let theirs = format!("{VECTORS}/chrony.keys");
    assert_eq!(chronyd(&scene, SERVER[0], 3, &theirs).code, Some(0), "{}", daemon.text());
    // The configuration is as unreadable to nobody as the keys are: one at a time.
    let conf = format!("{SCRATCH}/keys-root.conf");
    fs::set_permissions(&conf, fs::Permissions::from_mode(0o644)).expect("it is ours");
    reload(&daemon, &format!("cannot read \"{keys}\": Permission denied"));
    reload(&daemon, "the keys that were read before stay in force");
    assert_eq!(chronyd(&scene, SERVER[0], 3, &theirs).code, Some(0), "{}", daemon.text());
}
