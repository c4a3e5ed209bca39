//! Control messages with keys, between our ntpq, ntpsec's, our daemon and ntpsec's ntpd; and counters that
//! count.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::clients::{client, lasting_client};
use crate::support::daemon::{Daemon, ntpring};
use crate::support::namespace::Namespace;
use crate::support::ntp::request;
use crate::support::scene::{SCRATCH, SERVER, Scene};
use crate::support::terminal::{CONTROL_D, converse};

/// MD5, SHA-1 and AES-CMAC; the first is the controlkey.
const KEYS: &str = "1 MD5 seedmd5key\n2 SHA1 6bb1ee6b0e3cc0a1b3a1c1a1b1c1d1e1f1a1b1c1\n\
                    3 AES128CMAC 000102030405060708090a0b0c0d0e0f\n";

fn write(name: &str, text: &str) -> String {
    let path = format!("{SCRATCH}/ntpq-signed-{name}");
    fs::write(&path, text).expect("a scratch file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    path
}

/// A configuration with all keys, in which key `control` is the controlkey; and the key file.
fn conf(name: &str, control: u16) -> (String, String) {
    let keys = write(&format!("{name}.keys"), KEYS);
    let text = format!(
        "keys {keys}\ntrustedkey 1 2 3\ncontrolkey {control}\nrestrict default nomodify\n\
         restrict 127.0.0.1\nrestrict 192.168.0.0 mask 255.255.255.0 nomodify\n\
         restrict fd00::/64 noquery\nserver 127.127.1.0\nfudge 127.127.1.0 stratum 3\n"
    );
    (write(&format!("{name}.conf"), &text), keys)
}

/// Our daemon with such a configuration.
fn serve(namespace: &Namespace, name: &str, control: u16) -> (Daemon, String) {
    let (conf, keys) = conf(name, control);
    (Daemon::start(namespace, &format!("serve -x --workers 1 -c {conf}")), keys)
}

/// Our ntpq with these options and commands, about 127.0.0.1.
pub(crate) fn ntpq(namespace: &Namespace, options: &[&str], commands: &[&str]) -> (Option<i32>, String) {
    let commands = commands.iter().flat_map(|command| ["-c", command]);
    let arguments = ["ntpq", "-n"].into_iter().chain(options.iter().copied()).chain(commands);
    let finished = namespace.run(ntpring(arguments.chain(["127.0.0.1"])));
    (finished.code, finished.text)
}

#[test]
fn our_ntpq_signs_with_every_algorithm_and_with_no_other_key_gets_anything() {
    let Some(namespace) = Namespace::new() else { return };
    for (control, kind, secret) in [
        ("1", "md5", "seedmd5key"),
        ("2", "sha1", "6bb1ee6b0e3cc0a1b3a1c1a1b1c1d1e1f1a1b1c1"),
        ("3", "aes128cmac", "000102030405060708090a0b0c0d0e0f"),
    ] {
        let (daemon, keys) = serve(&namespace, &format!("ours-{control}"), control.parse().expect("an id"));
        let (keyid, keytype, passwd) =
            (format!("keyid {control}"), format!("keytype {kind}"), format!("passwd {secret}"));
        let (code, text) = ntpq(&namespace, &[], &[&keyid, &keytype, &passwd, "ifstats", "reslist"]);
        assert_eq!(code, Some(0), "{text}\n{}", daemon.text());
        for words in [
            "  0 v4wildcard               .   89   0  0",
            "    0.0.0.0:123\n",
            "    [::]:123\n",
            " 192.168.0.0/24\n           serve trust nopeer noepeer query nomodify notrap\n",
            " fd00::/64\n           serve trust nopeer noepeer noquery notrap\n",
            " ::/0\n           serve trust nopeer noepeer noquery nomodify notrap\n",
        ] {
            assert!(text.contains(words), "no {words:?} in\n{text}");
        }
        // The same from the key file, as JSON.
        let (code, text) = ntpq(&namespace, &["-k", &keys, "-a", control, "--json"], &["reslist"]);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains(r#""mask": "255.255.255.0""#), "{text}");
        let other = if control == "1" { "2" } else { "1" };
        let (code, text) = ntpq(&namespace, &["-k", &keys, "-a", other], &["ifstats"]);
        assert_eq!((code, &*text), (Some(1), "***Server disallowed request (authentication?)\n"));
    }
}

#[test]
fn a_wrong_password_no_key_and_a_script_are_told_apart() {
    let Some(namespace) = Namespace::new() else { return };
    let (daemon, keys) = serve(&namespace, "script", 1);
    let (code, text) = ntpq(&namespace, &[], &["keyid 1", "passwd wrong", "ifstats"]);
    assert_eq!((code, &*text), (Some(1), "***Server disallowed request (authentication?)\n"));
    let (code, text) = ntpq(&namespace, &[], &["reslist"]);
    assert_eq!(code, Some(1));
    assert!(text.starts_with("***No keyid defined"), "{text}");
    let (code, text) = ntpq(&namespace, &["-k", "/no/such/file"], &["rv"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("cannot read /no/such/file"), "{text}");
    // Every question signed; and with a key that the server does not know, none is believed.
    let (code, text) =
        ntpq(&namespace, &["-k", &keys, "-a", "3"], &["authenticate yes", "rv", "peers", "mrulist"]);
    assert_eq!(code, Some(0), "{text}\n{}", daemon.text());
    assert!(text.contains("authenticated requests being sent") && text.contains("stratum=4"), "{text}");
    let unknown = ["keyid 9", "passwd x", "timeout 300", "authenticate yes", "rv"];
    let (code, text) = ntpq(&namespace, &[], &unknown);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("***The response is not signed with key 9"), "{text}");
    // The password is the next line.
    let mut script = ntpring(["ntpq", "-n", "127.0.0.1"]);
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut script = namespace.spawn(script);
    let lines = b"keyid 1\nkeyid\nkeytype\npasswd\nseedmd5key\nifstats\nquit\nnever\n";
    script.stdin.take().expect("a pipe").write_all(lines).expect("it reads");
    let output = script.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.starts_with("keyid is 1\nkeytype is MD5 with 16 octet digests\n"), "{text}");
    assert!(text.contains("v4wildcard") && !text.contains("seedmd5key"), "{text}");
}

#[test]
fn a_terminal_does_not_show_the_password() {
    let Some(namespace) = Namespace::new() else { return };
    let (daemon, _) = serve(&namespace, "terminal", 1);
    let typed = [
        ("ntpq> ", "keyid 1\n"),
        ("ntpq> ", "passwd\n"),
        ("Password: ", "seedmd5key\n"),
        ("ntpq> ", "ifstats\n"),
        ("ntpq> ", CONTROL_D),
    ];
    let Some(finished) = converse(&namespace, &["ntpq", "-n", "127.0.0.1"], &typed) else { return };
    let screen = finished.text;
    assert_eq!(finished.code, Some(0), "{screen}\n{}", daemon.text());
    assert!(screen.starts_with("ntpq> keyid 1\nntpq> passwd\nMD5 Password: \nntpq> ifstats\n"), "{screen}");
    assert!(screen.contains("v4wildcard") && screen.ends_with("ntpq> \n"), "{screen}");
    assert!(!screen.contains("seedmd5key"), "{screen}");
}

/// ntpsec's ntpq with this key.
fn ntpsecs(keys: &str, id: &str, command: &str) -> Option<Command> {
    let mut ntpq = client("ntpsec", "ntpq")?;
    ntpq.args(["-n", "-k", keys, "-a", id, "-c", command, "127.0.0.1"]);
    Some(ntpq)
}

#[test]
fn ntpsecs_ntpq_is_shown_our_lists() {
    if ntpsecs("", "", "").is_none() {
        return;
    }
    let Some(namespace) = Namespace::new() else { return };
    for (control, id) in [(1, "1"), (2, "2"), (3, "3")] {
        let (daemon, keys) = serve(&namespace, &format!("theirs-{control}"), control);
        for (command, lines) in [
            ("ifstats", &["v4wildcard               .   89", "0.0.0.0:123", "[::]:123"][..]),
            ("reslist", &["192.168.0.0/24", "serve trust nopeer noepeer query nomodify notrap", "::/0"]),
        ] {
            let finished = namespace.run(ntpsecs(&keys, id, command).expect("it was found above"));
            for line in lines {
                assert!(finished.text.contains(line), "{command}: {}\n{}", finished.text, daemon.text());
            }
        }
        let other = if control == 1 { "2" } else { "1" };
        let refused = namespace.run(ntpsecs(&keys, other, "ifstats").expect("it was found above"));
        assert!(refused.text.contains("PERMISSION"), "{}", refused.text);
    }
}

/// ntpsec's ntpd, which obeys key 1.
struct Theirs {
    namespace: Namespace,
    daemon: Daemon,
    keys: String,
}

impl Theirs {
    fn start(name: &str) -> Option<Self> {
        let mut ntpd = lasting_client("ntpsec", "ntpd")?;
        let namespace = Namespace::new()?;
        let (conf, keys) = conf(name, 1);
        ntpd.args(["-n", "-x", "-c", &conf]);
        let daemon = Daemon::spawn(&namespace, ntpd);
        Some(Self { namespace, daemon, keys })
    }

    /// What ours says, with its key.
    fn ask(&self, commands: &[&str]) -> (Option<i32>, String) {
        ntpq(&self.namespace, &["-k", &self.keys, "-a", "1"], commands)
    }

    /// The first answer to all of it.
    fn asked_when_up(&self, commands: &[&str]) -> String {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let (code, text) = self.ask(commands);
            if code == Some(0) {
                return text;
            }
            assert!(Instant::now() < deadline, "{text}\n{}", self.daemon.text());
            thread::sleep(Duration::from_millis(300));
        }
    }
}

#[test]
fn ours_reads_the_lists_of_ntpsecs_ntpd() {
    let Some(theirs) = Theirs::start("ntpsec") else { return };
    let text = theirs.asked_when_up(&["timeout 500", "ifstats", "reslist"]);
    for words in
        ["v4wildcard", "lo                       .", "127.0.0.1:123", " 192.168.0.0/24\n", "nomodify"]
    {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
    let (code, text) = ntpq(&theirs.namespace, &["-k", &theirs.keys, "-a", "2"], &["reslist"]);
    assert_eq!((code, &*text), (Some(1), "***Server disallowed request (authentication?)\n"));
}

/// Ours obeys nobody, whatever the key; nor does ntpsec's whose lines do not say so.
#[test]
fn our_daemon_refuses_what_changes_it() {
    let Some(namespace) = Namespace::new() else { return };
    let (daemon, keys) = serve(&namespace, "writing", 1);
    let file = write("refused.conf", "# nothing\nserver 192.168.0.9\nrestrict default\n");
    for command in ["writevar 0 leap=1", "config server 192.168.0.9", "saveconfig x"] {
        let (code, text) = ntpq(&namespace, &["-k", &keys, "-a", "1"], &[command]);
        let refused = "***Server disallowed request (authentication?)\n";
        assert_eq!((code, &*text), (Some(1), refused), "{command}\n{}", daemon.text());
    }
    let from_file = format!("config-from-file {file}");
    let (code, text) = ntpq(&namespace, &["-k", &keys, "-a", "1"], &[&from_file]);
    let refused = "Sending configuration file, one line at a time.\n\
                   Line No: 2 ***Server disallowed request (authentication?): server 192.168.0.9\n";
    assert_eq!((code, &*text), (Some(1), refused), "{}", daemon.text());
    assert_eq!(ntpq(&namespace, &[], &["as"]).1.lines().count(), 4, "one association, as before");
}

#[test]
fn ours_configures_ntpsecs_ntpd() {
    let Some(theirs) = Theirs::start("ntpsec-writing") else { return };
    let text = theirs.asked_when_up(&["timeout 500", "config restrict 10.1.0.0 mask 255.255.0.0 noserve"]);
    assert_eq!(text, "primary timeout 500 ms\nConfig Succeeded\n", "{}", theirs.daemon.text());
    let file =
        write("obeyed.conf", "# two more\n\nrestrict 10.2.0.0/16 noquery\n  restrict 10.3.0.0/16 # all\n");
    let (code, text) = theirs.ask(&[&format!("config-from-file {file}"), "reslist"]);
    assert_eq!(code, Some(0), "{text}");
    for words in [
        "Sending configuration file, one line at a time.\n\
         Line No: 3 Config Succeeded: restrict 10.2.0.0/16 noquery\n\
         Line No: 4 Config Succeeded: restrict 10.3.0.0/16\nDone sending file\n",
        " 10.1.0.0/16\n",
        " 10.2.0.0/16\n",
        " 10.3.0.0/16\n",
    ] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
}

/// The number behind a name in what our ntpq prints with --json.
pub(crate) fn number(namespace: &Namespace, command: &str, name: &str) -> u64 {
    let (code, text) = ntpq(namespace, &["--json"], &[command]);
    assert_eq!(code, Some(0), "{text}");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let value = json["variables"][name].as_str().unwrap_or_else(|| panic!("no {name} in {text}"));
    value.parse().unwrap_or_else(|_| panic!("{name}={value}"))
}

#[test]
fn counters_count() {
    let Some(scene) = Scene::new() else { return };
    let (server, keys) = serve(&scene.server, "counters-server", 1);
    let text =
        format!("keys {keys}\ntrustedkey 1 2 3\nserver {} iburst key 2\nrestrict default\n", SERVER[0]);
    let following = write("counters.conf", &text);
    let client = Daemon::start(&scene.client, &format!("serve -x --workers 1 -c {following}"));
    let deadline = Instant::now() + Duration::from_secs(15);
    while client.counters().0["associations"][0]["selection"] != "system peer" {
        assert!(Instant::now() < deadline, "{}\n{}", client.text(), server.text());
        thread::sleep(Duration::from_millis(100));
    }
    // The server's side: signed requests and replies.
    let of_server = |command, name| number(&scene.server, command, name);
    let checked = of_server("authinfo", "authdecrypts");
    assert!(checked >= 1, "{}", server.text());
    assert!(of_server("authinfo", "authencrypts") >= checked);
    assert_eq!(of_server("authinfo", "authkeys"), 3);
    assert_eq!(of_server("authinfo", "authknotfound"), 0);
    let wakeups = of_server("iostats", "io_goodwakeups");
    assert!((1..=of_server("iostats", "io_wakeups")).contains(&wakeups));
    // The client's side: what it sent and took; `sent` before `received`, which may grow meanwhile.
    let of_client = |command, name| number(&scene.client, command, name);
    let polls = of_client("timerstats", "timer_xmts");
    assert!((1..=8).contains(&polls), "{polls}");
    let processed = of_client("sysstats", "ss_processed");
    assert!(processed >= 1 && of_client("sysstats", "ss_received") >= processed);
    assert!(of_client("authinfo", "authencrypts") >= polls);
    assert!(of_client("iostats", "io_sent") >= polls);
    assert!(of_client("iostats", "total_rbuf") >= 64);
    let (code, text) = ntpq(&scene.client, &["--json"], &["as", "pstats &1"]);
    assert_eq!(code, Some(0), "{text}");
    for name in ["sent", "received", "timer", "bogusorg", "oldpkt", "selbroken"] {
        assert!(text.contains(&format!("\"{name}\": \"")), "{text}");
    }
    assert!(!text.contains("\"sent\": \"0\"") && !text.contains("\"received\": \"0\""), "{text}");
    // A wrong code and an unknown key, and what they move.
    let before = of_server("sysstats", "ss_badauth");
    let (_, text) = ntpq(&scene.server, &[], &["keyid 9", "passwd x", "reslist"]);
    assert!(text.contains("disallowed"), "{text}");
    assert_eq!(of_server("authinfo", "authknotfound"), 1);
    let forged = [&request(4, 1)[..], &[0, 0, 0, 1], &[7; 16]].concat();
    let socket = scene.client.socket("0.0.0.0:0");
    socket.send_to(&forged, (SERVER[0], 123)).expect("it leaves");
    let deadline = Instant::now() + Duration::from_secs(5);
    while of_server("sysstats", "ss_badauth") != before + 1 {
        assert!(Instant::now() < deadline, "{}", server.text());
        thread::sleep(Duration::from_millis(50));
    }
}
