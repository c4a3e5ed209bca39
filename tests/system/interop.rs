//! Real clients in another namespace accept the server that the seed's configuration makes, over IPv4 and
//! IPv6.

use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::clients::{client, find, lasting_client, python, strace, with_libraries};
use crate::support::daemon::Daemon;
use crate::support::namespace::{Finished, command, has_other_users, may_set_the_clock};
use crate::support::ntp::ask;
use crate::support::scene::{CLIENT, SCRATCH, SEED, SERVER, Scene};

/// The offset that a client may measure between two namespaces of one machine, in seconds.
const SAME_CLOCK: f64 = 0.05;

/// The scene with the seed's server running in it.
fn seed_server() -> Option<(Scene, Daemon)> {
    let scene = Scene::new()?;
    let daemon = Daemon::start(&scene.server, &format!("serve -c {SEED}"));
    Some((scene, daemon))
}

/// Runs one client against each of the server's addresses, `arguments` before the address; each run must exit
/// with 0.
fn against_both_families(facility: &str, program: &str, arguments: &[&str], check: impl Fn(&str, &Finished)) {
    if find(facility, program).is_none() {
        return;
    }
    let Some((scene, daemon)) = seed_server() else { return };
    for address in SERVER {
        let mut run = client(facility, program).expect("it was found above");
        run.args(arguments).arg(address);
        let finished = scene.client.run(run);
        assert_eq!(finished.code, Some(0), "{program} {address}: {}\n{}", finished.text, daemon.text());
        check(address, &finished);
    }
}

/// The number after `label` in a program's output.
fn number_after(text: &str, label: &str) -> f64 {
    let rest = text.split(label).nth(1).unwrap_or_else(|| panic!("no {label:?} in {text}"));
    let number: String = rest.trim_start().chars().take_while(|c| "+-.e0123456789".contains(*c)).collect();
    number.parse().unwrap_or_else(|error| panic!("{error} after {label:?} in {text}"))
}

#[test]
fn the_reply_is_the_seeds_clock_stratum_4_and_refid_127_127_1_0() {
    let Some((scene, _daemon)) = seed_server() else { return };
    for (client, server) in CLIENT.iter().zip(SERVER) {
        let client = if client.contains(':') { format!("[{client}]:0") } else { format!("{client}:0") };
        let reply = ask(&scene.client.socket(client), (server, 123)).expect("a reply");
        assert_eq!((reply.leap, reply.version, reply.mode, reply.stratum), (0, 4, 4, 4), "{reply:?}");
        assert_eq!(Ipv4Addr::from(reply.refid), Ipv4Addr::new(127, 127, 1, 0));
    }
}

fn chronyd_measures(options: &str) {
    if find("chrony", "chronyd").is_none() {
        return;
    }
    let Some((scene, daemon)) = seed_server() else { return };
    for address in SERVER {
        let mut chronyd = client("chrony", "chronyd").expect("it was found above");
        // -Q measures and prints, and never touches the clock.
        chronyd.args(["-U", "-u", "root", "-Q", "-t", "10", &format!("server {address} {options}")]);
        let Finished { code, text } = scene.client.run(chronyd);
        assert_eq!(code, Some(0), "{text}\n{}", daemon.text());
        assert!(number_after(&text, "System clock wrong by").abs() < SAME_CLOCK, "{text}");
    }
}

#[test]
fn chronyd_is_content_with_one_sample() {
    chronyd_measures("iburst maxsamples 1");
}

#[test]
fn chronyd_is_content_with_a_whole_burst() {
    chronyd_measures("iburst");
}

#[test]
fn chronyd_polls_in_interleaved_mode_without_complaint() {
    // A server that keeps no state answers in basic mode, which RFC 9769 §2 lets every client accept.
    chronyd_measures("iburst xleave");
}

#[test]
fn ntpdig_prints_stratum_4() {
    against_both_families("ntpsec", "ntpdig", &[], |address, finished| {
        assert!(finished.text.contains(&format!("{address} s4 no-leap")), "{}", finished.text);
    });
}

#[test]
fn ntpdig_reads_no_leap_and_a_small_offset() {
    against_both_families("ntpsec", "ntpdig", &["-j"], |_, finished| {
        let answer: Value = serde_json::from_str(finished.text.trim()).expect("JSON");
        assert_eq!(answer["stratum"], 4, "{answer}");
        assert_eq!(answer["leap"], "no-leap", "{answer}");
        assert!(answer["offset"].as_f64().expect("an offset").abs() < SAME_CLOCK, "{answer}");
    });
}

#[test]
fn ntpdate_of_ntpsec_queries_us() {
    against_both_families("ntpsec", "ntpdate", &["-q"], |address, finished| {
        assert!(finished.text.contains(&format!("{address} s4 no-leap")), "{}", finished.text);
    });
}

#[test]
fn ntplib_of_every_version_reads_the_seeds_clock() {
    const SCRIPT: &str = "
import ntplib
for host in 'HOSTS'.split():
    for version in 1, 2, 3, 4:
        r = ntplib.NTPClient().request(host, version=version, timeout=3)
        refid = ntplib.ref_id_to_text(r.ref_id, r.stratum)
        print(r.version, r.leap, r.stratum, refid, ntplib.mode_to_text(r.mode), abs(r.offset) < 0.05)
";
    let script = SCRIPT.replace("HOSTS", &SERVER.join(" "));
    let Some(ntplib) = python("ntplib", "ntplib", &script) else { return };
    let Some((scene, daemon)) = seed_server() else { return };
    let Finished { code, text } = scene.client.run(ntplib);
    let one_host = [1, 2, 3, 4].map(|version| format!("{version} 0 4 127.127.1.0 server True\n")).concat();
    assert_eq!((code, text), (Some(0), one_host.repeat(2)), "{}", daemon.text());
}

#[test]
fn rdate_sees_no_alarm() {
    if find("rdate", "rdate").is_none() {
        return;
    }
    let Some((scene, _daemon)) = seed_server() else { return };
    for (family, address) in ["-4", "-6"].into_iter().zip(SERVER) {
        let mut rdate = client("rdate", "rdate").expect("it was found above");
        // -p only prints.
        rdate.args([family, "-n", "-p", "-v", address]);
        let Finished { code, text } = scene.client.run(rdate);
        assert_eq!(code, Some(0), "{text}");
        assert!(number_after(&text, "adjust local clock by").abs() < SAME_CLOCK, "{text}");
    }
}

#[test]
fn nagios_says_ntp_ok() {
    let arguments = ["-w", "0.05", "-c", "1", "-H"];
    against_both_families("monitoring-plugins", "check_ntp_time", &arguments, |_, finished| {
        assert!(finished.text.starts_with("NTP OK"), "{}", finished.text);
    });
}

#[test]
fn ntpd_selects_us_as_its_system_peer_over_ipv4() {
    ntpd_follows(SERVER[0]);
}

#[test]
fn ntpd_selects_us_as_its_system_peer_over_ipv6() {
    ntpd_follows(SERVER[1]);
}

/// Runs ntpsec's ntpd as a client of `address` until `ntpq -pn` marks the server with `*`.
fn ntpd_follows(address: &str) {
    let (Some(mut ntpd), Some(_)) = (lasting_client("ntpsec", "ntpd"), find("ntpsec", "ntpq")) else {
        return;
    };
    let Some((scene, server)) = seed_server() else { return };
    let conf = format!("{SCRATCH}/ntpd-{}.conf", address.replace(':', "-"));
    let access = "restrict default nomodify nopeer noquery\nrestrict 127.0.0.1\nrestrict ::1\n";
    fs::write(&conf, format!("{access}server {address} iburst\n")).expect("a scratch file");
    ntpd.args(["-n", "-c", &conf]);
    let ntpd = Daemon::spawn(&scene.client, ntpd);
    // iburst sends six requests 2 s apart, and ntpd selects a source after the fourth reply.
    let deadline = Instant::now() + Duration::from_secs(25);
    loop {
        let mut ntpq = client("ntpsec", "ntpq").expect("it was found above");
        ntpq.args(["-pn", "127.0.0.1"]);
        let table = scene.client.run(ntpq).text;
        if let Some(row) = table.lines().find(|line| line.starts_with(&format!("*{address}"))) {
            let columns: Vec<&str> = row.split_whitespace().collect();
            assert_eq!(columns[1..4], ["127.127.1.0", "4", "u"], "refid, stratum and type in {row}");
            assert!(!may_set_the_clock(&ntpd.status()), "ntpd must not be able to set the machine's clock");
            return;
        }
        assert!(Instant::now() < deadline, "{table}\nntpd: {}\nserver: {}", ntpd.text(), server.text());
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn systemd_timesyncd_synchronises_to_us() {
    let (Some(timesyncd), Some(strace)) = (find("timesyncd", "systemd-timesyncd"), strace()) else { return };
    if !has_other_users() {
        return;
    }
    // Its files are at fixed places, so it gets a mount namespace with its own. strace answers clock_adjtime
    // in the kernel's place: the call is never made, and would be refused.
    const SCRIPT: &str = r#"
set -e
mkdir -p /etc/systemd
for directory in /etc/systemd /run /var/lib; do mount -t tmpfs none $directory; done
for directory in /run/systemd /var/lib/systemd; do
    install -d -o 65534 -g 65534 $directory $directory/timesync
done
printf '[Time]\nNTP=%s\nFallbackNTP=\n' "$1" >/etc/systemd/timesyncd.conf
export SYSTEMD_LOG_LEVEL=debug SYSTEMD_LOG_TARGET=console
exec setpriv --reuid 65534 --regid 65534 --clear-groups -- \
    "$2" -f -e trace=clock_adjtime -e inject=clock_adjtime:retval=0 "$3"
"#;
    for address in SERVER {
        let Some((scene, server)) = seed_server() else { return };
        let mut run = with_libraries(command("unshare"));
        run.args(["--mount", "sh", "-c", SCRIPT, "sh", address]).args([&strace, &timesyncd]);
        let mut client = Daemon::spawn(&scene.client, run);
        let synchronised = |line: &str| line.contains("Initial clock synchronization to");
        if client.line(0, Duration::from_secs(15), synchronised).is_none() {
            let end = client.end(Duration::ZERO);
            panic!("timesyncd ({end:?}): {}\nserver: {}", client.text(), server.text());
        }
        assert!(client.text().contains("stratum      : 4"), "{}", client.text());
    }
}
