//! ntpring and a real kernel's clock: a virtual machine whose clock may be stepped, slewed, given a leap
//! second and left in the middle of a slew, which this machine's may not. `./ci.sh guest` fetches a kernel,
//! busybox and QEMU, and runs this.
//!
//! The guest follows a server of the test's, in a network namespace of their own. What its clock shows is
//! read by busybox, not by the program under test.

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "a guest needs little of what the tests of the whole daemon stand on")]
mod support;

mod archive;
mod machine;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::machine::{Adjtimex, Machine};
use self::support::namespace::Namespace;
use self::support::upstream::Upstream;

const SECOND: Duration = Duration::from_secs(1);

/// linux/timex.h.
const STA_INS: i64 = 0x10;
const STA_UNSYNC: i64 = 0x40;

/// A guest and the server that it can ask; or None with a skip.
fn guest() -> Option<(Machine, Upstream)> {
    let namespace = Namespace::new()?;
    let upstream = Upstream::new(namespace.socket("127.0.0.1:123"), 0.0);
    let machine = Machine::boot(namespace)?;
    Some((machine, upstream))
}

/// Starts the daemon and waits until it follows the server.
fn follow(machine: &mut Machine, options: &str) {
    machine.run("rm -f /log");
    machine.run(&format!("ntpring serve -c /etc/ntp.conf {options} >/log 2>&1 &"));
    // The file may not be there yet.
    machine
        .until(20 * SECOND, "grep -c 'clock follows' /log", |lines| lines.parse().is_ok_and(|n: u32| n > 0));
}

/// How far the guest's clock is ahead of the server's.
fn error(machine: &mut Machine, upstream_ahead: f64) -> f64 {
    machine.ahead() - upstream_ahead
}

#[test]
fn the_clock_is_stepped_slewed_and_left_at_rest_and_the_kernel_knows_it_is_right() {
    let Some((mut machine, upstream)) = guest() else { return };
    let fresh = machine.adjtimex();
    assert_eq!((fresh.tick, fresh.status & STA_UNSYNC), (10_000, STA_UNSYNC), "{fresh:?}");

    // Four seconds and what a clock that was read to the second is off anyway.
    upstream.set_ahead(4.0 + machine.ahead().round());
    let ahead = upstream.ahead();
    follow(&mut machine, "");
    let log = machine.run("cat /log");
    assert!(log.contains("clock: disciplined, 1 source"), "{log}");
    assert!(log.contains("the clock is stepped by +"), "{log}");
    let off = error(&mut machine, ahead);
    assert!(off.abs() < 0.05, "{off} s off after the step\n{log}");
    let status = machine.until_adjtimex(20 * SECOND, |state| state.status & STA_UNSYNC == 0);
    assert!(status.maximum_error < 1_000_000 && status.estimated_error < 100_000, "{status:?}");

    // The frequency is written down once it is known; a daemon that ends writes it again and leaves no slew.
    machine.until(600 * SECOND, "cat /var/lib/ntp/drift 2>/dev/null", |drift| !drift.is_empty());
    machine.run("kill -TERM $(pidof ntpring); wait");
    let state = machine.adjtimex();
    assert_eq!(state.tick, 10_000, "{state:?}");
    let drift = machine.run("cat /var/lib/ntp/drift");
    let ppm: f64 = drift.trim().parse().unwrap_or_else(|_| panic!("{drift:?} in the drift file"));
    assert!((ppm - state.frequency_ppm).abs() < 0.01, "{ppm} ppm in the file, {state:?} in the kernel");

    // Less than the step threshold is slewed: fast, by the tick, and then at rest again.
    upstream.set_ahead(ahead + 0.05);
    machine.run("rm -f /log");
    machine.run("ntpring serve -c /etc/ntp.conf >/log 2>&1 &");
    machine.until_adjtimex(10 * SECOND, |state| state.tick != 10_000);
    machine.until_adjtimex(30 * SECOND, |state| state.tick == 10_000);
    let log = machine.run("cat /log");
    assert!(!log.contains("stepped"), "{log}");
    let off = error(&mut machine, ahead + 0.05);
    assert!(off.abs() < 0.02, "{off} s off after the slew\n{log}");
}

#[test]
fn a_daemon_that_is_killed_in_mid_slew_is_mended_by_its_next_start() {
    let Some((mut machine, upstream)) = guest() else { return };
    const DRIFT_PPM: f64 = 12.5;
    upstream.set_ahead(machine.ahead().round());
    follow(&mut machine, "");
    machine.until_adjtimex(30 * SECOND, |state| state.tick == 10_000);
    machine.run("kill -TERM $(pidof ntpring); wait");
    machine.run(&format!("echo {DRIFT_PPM} >/var/lib/ntp/drift"));

    let state = left_in_mid_slew(&mut machine, &upstream);
    assert_ne!(state.tick, 10_000, "{state:?}");

    // Nobody answers now: what is mended is mended by the start itself.
    upstream.set_silent(true);
    machine.run("ntpring serve -c /etc/ntp.conf >/log 2>&1 &");
    let state = machine.until_adjtimex(5 * SECOND, |state| state.tick == 10_000);
    assert!((state.frequency_ppm - DRIFT_PPM).abs() < 0.01, "{DRIFT_PPM} ppm in the drift file, {state:?}");
    // The other ways out leave no slew either: one is an error, one a signal.
    machine.run("kill -INT $(pidof ntpring); wait");
    assert_eq!(machine.adjtimex().tick, 10_000);
}

/// Starts the daemon on a clock that it slews, and kills it while it does. A slew lasts about a second; on a
/// busy machine it may be over before anybody sees it.
fn left_in_mid_slew(machine: &mut Machine, upstream: &Upstream) -> Adjtimex {
    const TRIES: usize = 6;
    for _ in 0..TRIES {
        upstream.set_ahead(upstream.ahead() + 0.06);
        machine.run("ntpring serve -c /etc/ntp.conf >/log 2>&1 &");
        // One command, so that the kill is not late.
        let state = machine.run(
            "i=0; while [ $i -lt 300 ] && adjtimex | grep -q 'tick:[[:space:]]*10000 '; do i=$((i + 1)); usleep 20000; done; kill -9 $(pidof ntpring); wait; adjtimex",
        );
        let state = Adjtimex::parse(&state);
        if state.tick != 10_000 {
            return state;
        }
    }
    panic!("{TRIES} slews, none of them seen:\n{}", machine.run("cat /log"));
}

#[test]
fn a_clock_that_is_off_by_more_than_panic_ends_the_process_unless_g_is_given() {
    let Some((mut machine, upstream)) = guest() else { return };
    upstream.set_ahead(5000.0);
    let log = machine.run("ntpring serve -c /etc/ntp.conf 2>&1; echo exit=$?");
    assert!(log.contains("exit=1") && log.contains("start with -g"), "{log}");
    let off = machine.ahead();
    assert!(off.abs() < 2.0, "the clock was left as it was, {off} s ahead");
    follow(&mut machine, "-g");
    let off = error(&mut machine, 5000.0);
    assert!(off.abs() < 0.05, "{off} s off with -g");
}

#[test]
fn only_a_daemon_that_disciplines_the_clock_keeps_the_right_to_set_it() {
    let Some((mut machine, upstream)) = guest() else { return };
    upstream.set_ahead(machine.ahead().round());
    follow(&mut machine, "");
    let capabilities = |machine: &mut Machine| machine.run("grep Cap /proc/$(pidof ntpring)/status");
    // CAP_SYS_TIME is number 25.
    let kept = capabilities(&mut machine);
    for set in ["CapPrm:\t0000000002000000", "CapEff:\t0000000002000000", "CapBnd:\t0000000002000000"] {
        assert!(kept.contains(set), "{set} in {kept}");
    }
    machine.run("kill -TERM $(pidof ntpring); wait");
    let before = machine.adjtimex();
    upstream.set_ahead(upstream.ahead() + 3.0);
    follow(&mut machine, "-x");
    let kept = capabilities(&mut machine);
    assert!(kept.contains("CapEff:\t0000000000000000"), "{kept}");
    let after = machine.adjtimex();
    assert_eq!((before.tick, before.frequency_ppm), (after.tick, after.frequency_ppm));
}

/// Asks the guest's own server once, from inside: offset in seconds and leap indicator.
fn asked(words: &str) -> Option<(f64, char)> {
    let offset = words.split("offset ").nth(1)?.split(' ').next()?.parse().ok()?;
    let leap = words.split("leap ").nth(1)?.chars().next()?;
    Some((offset, leap))
}

/// What the guest's network driver has answered.
fn in_driver(machine: &mut Machine) -> u64 {
    const REPORTS: &str = "grep '^{' /log";
    let count = machine.run(&format!("{REPORTS} | wc -l"));
    machine.run("kill -USR1 $(pidof ntpring)");
    machine.until(5 * SECOND, &format!("{REPORTS} | wc -l"), |now| now != count);
    let report = machine.run(&format!("{REPORTS} | tail -n 1"));
    let report: serde_json::Value = serde_json::from_str(&report).unwrap_or_else(|_| panic!("{report}"));
    report["xdp"]["answered"].as_u64().expect("a tier in the driver")
}

const QUERY: &str = "ntpring query 127.0.0.1 2>&1";

/// Asks until the driver has answered, which leaves to the sockets what it was interrupted at for long, as
/// may be on a busy machine; whoever answers says this leap indicator.
fn is_answered_in_driver(machine: &mut Machine, leap: char) {
    const TRIES: usize = 20;
    let before = in_driver(machine);
    for _ in 0..TRIES {
        let words = machine.run(QUERY);
        let log = |machine: &mut Machine| machine.run("cat /log");
        assert_eq!(asked(&words).map(|(_, leap)| leap), Some(leap), "{words}\n{}", log(machine));
        if in_driver(machine) > before {
            return;
        }
    }
    panic!("{TRIES} requests, none answered in the driver:\n{}", machine.run("cat /log"));
}

#[test]
fn a_clock_that_somebody_else_sets_is_at_once_served_as_not_synchronised() {
    let Some((mut machine, upstream)) = guest() else { return };
    upstream.set_ahead(machine.ahead().round());
    follow(&mut machine, "-x --xdp generic -i lo");
    is_answered_in_driver(&mut machine, '0');

    // Nobody can tell what the time is now. No poll is due, and no second passes: a query takes the guest a
    // tenth of one.
    upstream.set_silent(true);
    for by in ["3600", "-3600", "37"] {
        let words = machine.run(&format!("date -s @$(($(date +%s) + {by})) >/dev/null; {QUERY}"));
        let (_, leap) = asked(&words).unwrap_or_else(|| panic!("no answer: {words}"));
        assert_eq!(leap, '3', "set by {by} s: {words}\n{}", machine.run("cat /log"));
        // The driver has heard of it too.
        is_answered_in_driver(&mut machine, '3');
        upstream.set_silent(false);
        machine.until(60 * SECOND, QUERY, |words| words.contains("leap 0"));
        is_answered_in_driver(&mut machine, '0');
        upstream.set_silent(true);
    }
}

#[test]
fn a_leap_second_is_served_at_its_instant_by_the_driver() {
    let Some((mut machine, upstream)) = guest() else { return };
    // The server's clock shows a minute before the end of 2026.
    const MIDNIGHT: u64 = 1_798_761_600;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs_f64();
    upstream.set_ahead(MIDNIGHT as f64 - 60.0 - now);
    upstream.set_leap(MIDNIGHT);
    follow(&mut machine, "-g --xdp generic -i lo");
    machine.until_adjtimex(20 * SECOND, |state| state.status & STA_INS != 0);
    // From some seconds before it to some after it, by the guest's own clock, which the kernel sets back.
    machine.until(60 * SECOND, "date +%s", |time| time.parse().is_ok_and(|time: u64| time >= MIDNIGHT - 4));
    let before = in_driver(&mut machine);
    let words = machine
        .run(&format!("while [ $(date +%s) -lt {} ]; do echo $(date +%s) $({QUERY}); done", MIDNIGHT + 4));
    let answers: Vec<(u64, f64, char)> = words
        .lines()
        .filter_map(|line| {
            let (time, words) = line.split_once(' ')?;
            let (offset, leap) = asked(words)?;
            Some((time.parse().ok()?, offset, leap))
        })
        .collect();
    assert!(answers.len() > 10, "{words}");
    // The second itself may begin while a query is under way: whose own stamps are of two times then.
    let off: Vec<_> = answers.iter().filter(|(_, offset, _)| offset.abs() > 0.1).collect();
    assert!(off.len() <= 1, "{off:?} in {words}");
    assert!(answers.iter().any(|(time, _, leap)| *time < MIDNIGHT && *leap == '1'), "{words}");
    assert!(answers.iter().any(|(time, _, _)| *time > MIDNIGHT), "{words}");
    // In the driver, but for what found it interrupted, or the clock just set.
    let answered = in_driver(&mut machine) - before;
    assert!(2 * answered > answers.len() as u64, "{answered} of {}\n{words}", answers.len());
}

#[test]
fn a_leap_second_of_the_server_is_inserted_by_the_kernel_and_disturbs_nothing() {
    let Some((mut machine, upstream)) = guest() else { return };
    // The server's clock shows half a minute before the end of 2026.
    const MIDNIGHT: u64 = 1_798_761_600;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs_f64();
    let ahead = MIDNIGHT as f64 - 30.0 - now;
    upstream.set_ahead(ahead);
    upstream.set_leap(MIDNIGHT);
    follow(&mut machine, "-g");
    machine.until_adjtimex(20 * SECOND, |state| state.status & STA_INS != 0);
    let off = error(&mut machine, ahead);
    assert!(off.abs() < 0.05, "{off} s off before the leap second");

    // Once it has passed, the clock is a second less ahead, and nothing was stepped for it.
    let start = Instant::now();
    while error(&mut machine, ahead) > -0.5 {
        assert!(start.elapsed() < 60 * SECOND, "no leap second: {:?}", machine.adjtimex());
    }
    let off = error(&mut machine, ahead - 1.0);
    assert!(off.abs() < 0.05, "{off} s off after the leap second");
    let state = machine.until_adjtimex(90 * SECOND, |state| state.status & STA_INS == 0);
    assert_eq!(state.status & STA_UNSYNC, 0, "{state:?}");
    let log = machine.run("cat /log");
    assert_eq!(log.matches("the clock is stepped").count(), 1, "{log}");
    assert!(!log.contains("jumped") && !log.contains("no source"), "{log}");
    let off = error(&mut machine, ahead - 1.0);
    assert!(off.abs() < 0.05, "{off} s off, later\n{log}");
}
