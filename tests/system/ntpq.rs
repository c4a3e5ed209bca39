//! The last screen of the how-to, on both machines: ours, and that of every program that people have for it.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::clients::{client, lasting_client};
use crate::support::daemon::{Daemon, ntpring};
use crate::support::namespace::{Finished, Namespace};
use crate::support::scene::{CLIENT_CONF, SEED, SERVER, Scene};
use crate::support::terminal::{CONTROL_C, CONTROL_D, converse};

/// Both machines of the how-to, the client one just started.
struct HowTo {
    scene: Scene,
    server: Daemon,
    client: Daemon,
    started: Instant,
}

impl HowTo {
    fn start() -> Option<Self> {
        let scene = Scene::new()?;
        let server = Daemon::start(&scene.server, &format!("serve -c {SEED} --workers 1"));
        let started = Instant::now();
        let client = Daemon::start(&scene.client, &format!("serve -c {CLIENT_CONF} --workers 1"));
        Some(Self { scene, server, client, started })
    }

    /// Waits until the client follows the server.
    fn settled(self) -> Self {
        while !ntpq(&self.scene.client, "-pn").text.contains("*192.168.0.1") {
            let log = || format!("{}\n{}", self.client.text(), self.server.text());
            assert!(
                self.started.elapsed() < Duration::from_secs(10),
                "no system peer within 10 s\n{}",
                log()
            );
            thread::sleep(Duration::from_millis(200));
        }
        self
    }
}

fn ntpq(namespace: &Namespace, arguments: &str) -> Finished {
    namespace.run(ntpring(["ntpq"].into_iter().chain(arguments.split_whitespace())))
}

fn command_of(namespace: &Namespace, command: &str) -> String {
    let finished = namespace.run(ntpring(["ntpq", "-n", "-c", command]));
    assert_eq!(finished.code, Some(0), "{command}: {}", finished.text);
    finished.text
}

/// ntpsec's ntpq with these arguments, or None with a skip.
fn ntpsecs(arguments: &[&str]) -> Option<Command> {
    let mut ntpq = client("ntpsec", "ntpq")?;
    ntpq.args(arguments);
    Some(ntpq)
}

/// The fields of the one row below a table's head.
fn row(table: &str) -> Vec<&str> {
    let mut lines = table.lines().skip_while(|line| !line.starts_with("====")).skip(1);
    let row = lines.next().unwrap_or_else(|| panic!("no row in\n{table}"));
    assert_eq!(lines.next(), None, "{table}");
    row.split_whitespace().collect()
}

#[test]
fn the_servers_screen_shows_its_local_clock_at_once() {
    let Some(scene) = Scene::new() else { return };
    let daemon = Daemon::start(&scene.server, &format!("serve -c {SEED} --workers 1"));
    let screen = ntpq(&scene.server, "-pn").text;
    let (remote, rest) =
        row(&screen).split_first().map(|(first, rest)| (*first, rest.to_vec())).expect("fields");
    assert_eq!(remote, "*127.127.1.0", "{screen}\n{}", daemon.text());
    let [refid, stratum, kind, _when, poll, _reach, delay, offset, jitter] = rest[..] else {
        panic!("{screen}")
    };
    assert_eq!([refid, stratum, kind, poll], [".LOCL.", "3", "l", "64"], "{screen}");
    assert_eq!([delay, offset], ["0.000", "0.000"], "{screen}");
    assert!(jitter.starts_with("0.0") && jitter.len() == 5, "{screen}");
}

#[test]
fn c13_c14_the_clients_screen_shows_the_server_in_3_s_and_follows_it_in_10_s() {
    let Some(how_to) = HowTo::start() else { return };
    let screen = loop {
        let screen = ntpq(&how_to.scene.client, "-pn").text;
        if screen.contains("LOCAL(0)") {
            break screen;
        }
        assert!(how_to.started.elapsed() < Duration::from_secs(3), "{screen}\n{}", how_to.client.text());
        thread::sleep(Duration::from_millis(100));
    };
    assert!(screen.contains("192.168.0.1     LOCAL(0)         4 u"), "{screen}");
    let how_to = how_to.settled();
    let screen = ntpq(&how_to.scene.client, "-pn").text;
    let [_remote, refid, stratum, kind, _when, poll, reach, ..] = row(&screen)[..] else {
        panic!("{screen}")
    };
    // One poll so far, however many packets its burst had.
    assert_eq!([refid, stratum, kind, poll, reach], ["LOCAL(0)", "4", "u", "64", "1"], "{screen}");
    assert!(command_of(&how_to.scene.client, "rv").contains("stratum=5"));
    assert!(command_of(&how_to.scene.client, "rv").contains("refid=192.168.0.1"));
}

#[test]
fn m9_noquery_times_the_remote_ntpq_out_while_time_is_served() {
    let Some(scene) = Scene::new() else { return };
    let daemon = Daemon::start(&scene.server, &format!("serve -c {SEED} --workers 1"));
    let Finished { code, text } = ntpq(&scene.client, &format!("-pn {}", SERVER[0]));
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(text, "192.168.0.1: timed out, nothing received\n***Request timed out\n");
    let query = scene.client.run(ntpring(["query", SERVER[0]]));
    assert_eq!(query.code, Some(0), "{}\n{}", query.text, daemon.text());
}

#[test]
fn m10_ntpsecs_ntpq_shows_the_same_rows() {
    if ntpsecs(&[]).is_none() {
        return;
    }
    let Some(how_to) = HowTo::start().map(HowTo::settled) else { return };
    let run = |namespace: &Namespace, arguments: &[&str]| {
        let finished = namespace.run(ntpsecs(arguments).expect("it was found above"));
        assert_eq!(finished.code, Some(0), "{}", finished.text);
        finished.text
    };
    let server = run(&how_to.scene.server, &["-pn"]);
    assert_eq!(row(&server)[..4], ["*LOCAL(0)", ".LOCL.", "3", "l"], "{server}");
    let client = run(&how_to.scene.client, &["-pn"]);
    assert_eq!(row(&client)[..4], ["*192.168.0.1", "127.127.1.0", "4", "u"], "{client}");
    for (command, lines) in [
        ("rv", &["stratum=5", "refid=192.168.0.1", "leap=00"][..]),
        ("as", &["sys.peer", "yes   yes"]),
        ("sysinfo", &["system peer:       192.168.0.1:123", "stratum:                       5"]),
        ("sysstats", &["packets received:", "rate limited:                      0"]),
    ] {
        let text = run(&how_to.scene.client, &["-c", command]);
        for line in lines {
            assert!(text.contains(line), "no {line:?} in {command}:\n{text}");
        }
        assert!(!text.contains("Unknown variable"), "{text}");
    }
    // The client's file has `disable monitor`, the server's has not.
    let list = run(&how_to.scene.server, &["-n", "-c", "mrulist"]);
    assert!(list.lines().any(|line| line.ends_with("192.168.0.2")), "{list}");
    let empty = run(&how_to.scene.client, &["-n", "-c", "mrulist"]);
    assert!(empty.contains("Collected 0 slots"), "{empty}");
}

#[test]
fn m8_our_own_list_of_clients_counts_them() {
    let Some(how_to) = HowTo::start().map(HowTo::settled) else { return };
    let list = command_of(&how_to.scene.server, "mrulist");
    let entry = list.lines().find(|line| line.ends_with(" 192.168.0.2")).unwrap_or_else(|| panic!("{list}"));
    let fields: Vec<&str> = entry.split_whitespace().collect();
    let [_last, _average, _flags, restriction, mode, version, count, ..] = fields[..] else {
        panic!("{list}")
    };
    assert_eq!([restriction, mode, version], [".", "3", "4"], "{list}");
    assert!((1..=6).contains(&count.parse::<u32>().expect("a count")), "{list}");
    let monitor = command_of(&how_to.scene.server, "monstats");
    assert!(monitor.contains("enabled:             0x1"), "{monitor}");
    // The third answer may be read here before the daemon has counted it.
    how_to.server.counters_when(|counters| counters.0["control"]["answered"].as_u64() >= Some(3));
}

#[test]
fn ntpstat_and_check_ntp_peer_are_content() {
    if client("ntpstat", "ntpstat").is_none() || client("monitoring-plugins", "check_ntp_peer").is_none() {
        return;
    }
    let Some(how_to) = HowTo::start().map(HowTo::settled) else { return };
    for (namespace, words) in [
        (&how_to.scene.server, "synchronised to local net at stratum 4"),
        (&how_to.scene.client, "synchronised to NTP server (192.168.0.1) at stratum 5"),
    ] {
        let ntpstat = namespace.run(client("ntpstat", "ntpstat").expect("it was found above"));
        assert_eq!(ntpstat.code, Some(0), "{}", ntpstat.text);
        assert!(ntpstat.text.contains(words), "{}", ntpstat.text);
        assert!(ntpstat.text.contains("polling server every 64 s"), "{}", ntpstat.text);
        let mut check = client("monitoring-plugins", "check_ntp_peer").expect("it was found above");
        check.args(["-H", "127.0.0.1", "-w", "0.5", "-c", "1"]);
        let check = namespace.run(check);
        assert_eq!(check.code, Some(0), "{}", check.text);
        assert!(check.text.contains("NTP OK: Offset"), "{}", check.text);
    }
}

#[test]
fn ours_reads_ntpsecs_ntpd() {
    let Some(mut ntpd) = lasting_client("ntpsec", "ntpd") else { return };
    let Some(scene) = Scene::new() else { return };
    let conf = format!("{}/ntpsec-for-ntpq.conf", crate::support::scene::SCRATCH);
    let text = "restrict default nomodify\nrestrict 127.0.0.1\nunrestrict default limited noquery\n\
                tos orphanwait 1\nserver 127.127.1.0\nfudge 127.127.1.0 stratum 3\n";
    std::fs::write(&conf, text).expect("a scratch file");
    ntpd.args(["-n", "-x", "-c", &conf]);
    let theirs = Daemon::spawn(&scene.server, ntpd);
    let deadline = Instant::now() + Duration::from_secs(15);
    let screen = loop {
        let screen = ntpq(&scene.server, "-pn -c as -c rv -c sysinfo -c sysstats");
        if screen.code == Some(0) {
            break screen.text;
        }
        assert!(Instant::now() < deadline, "{}\n{}", screen.text, theirs.text());
        thread::sleep(Duration::from_millis(300));
    };
    for words in [
        "127.127.1.0     .LOCL.           3 l",
        "ind assid status  conf reach auth condition  last_event cnt",
        "version=\"ntpd ntpsec-1.2.2\"",
        "stratum:            ",
        "packets received:      ",
    ] {
        assert!(screen.contains(words), "no {words:?} in\n{screen}");
    }
    // Each variable of an association, whatever bytes it leaks.
    let variables = command_of(&scene.server, "mrv &1 &1");
    assert!(variables.contains("srcadr=127.127.1.0"), "{variables}");
    assert!(variables.chars().all(|c| c == '\n' || (' '..='~').contains(&c)), "{variables:?}");
    // Over the link, where it allows that.
    let remote = scene.client.run(ntpring(["ntpq", "-pn", SERVER[1]]));
    assert!(remote.text.contains(".LOCL."), "{}", remote.text);
}

#[test]
fn a_closed_port_a_wrong_name_and_an_unknown_command_are_told() {
    let Some(namespace) = Namespace::new() else { return };
    for (arguments, words) in [
        ("-p 127.0.0.1:9", "Connection refused"),
        ("-p no-such-host.invalid", "cannot resolve no-such-host.invalid"),
        ("-c nosuch 127.0.0.1", "***Command `nosuch' unknown"),
        ("-p 127.0.0.1:99999", "is no port number"),
    ] {
        let Finished { code, text } = ntpq(&namespace, arguments);
        assert_eq!(code, Some(1), "{arguments}: {text}");
        assert!(text.contains(words), "{arguments}: {text}");
    }
}

/// Nobody answers here, and nothing says that nobody does.
#[test]
fn control_c_ends_a_command_a_line_and_a_password_but_not_the_conversation() {
    let Some(namespace) = Namespace::new() else { return };
    let silence = namespace.socket("127.0.0.1:0");
    let server = silence.local_addr().expect("it is bound").to_string();
    let typed = [
        ("ntpq> ", "rv\n"),
        // What it waits for is on its way: only ^C brings the next prompt in time.
        ("rv", CONTROL_C),
        ("ntpq> ", "peers"),
        ("peers", CONTROL_C),
        ("ntpq> ", CONTROL_C),
        ("ntpq> ", "keyid 1\n"),
        ("ntpq> ", "passwd\n"),
        ("Password: ", CONTROL_C),
        ("ntpq> ", "keyid\n"),
        ("ntpq> ", CONTROL_D),
    ];
    let Some(Finished { code, text }) = converse(&namespace, &["ntpq", "-n", &server], &typed) else {
        return;
    };
    assert_eq!(
        text,
        "ntpq> rv\n^C\nntpq> peers^C\nntpq> ^C\nntpq> keyid 1\nntpq> passwd\nMD5 Password: \n\nntpq> keyid\n\
         keyid is 1\nntpq> \n"
    );
    assert_eq!(code, Some(1), "two commands were not answered: {text}");
}

#[test]
fn control_c_ends_what_is_no_conversation() {
    let Some(namespace) = Namespace::new() else { return };
    let silence = namespace.socket("127.0.0.1:0");
    let server = silence.local_addr().expect("it is bound").to_string();
    let typed = [("current host is ", CONTROL_C)];
    let arguments = ["ntpq", "-n", "-c", "host", "-c", "rv", &server];
    let Some(Finished { code, text }) = converse(&namespace, &arguments, &typed) else { return };
    assert_eq!((code, text), (Some(254), format!("current host is {server}\n^C")), "-2: ended by SIGINT");
}
