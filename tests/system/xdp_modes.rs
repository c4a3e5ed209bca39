//! What `--xdp` puts where, what it does not, and what it says about that.

use std::time::Duration;

use ntpring::xdp::Program;

use crate::support::daemon::{Daemon, ntpring};
use crate::support::namespace::{Namespace, command};
use crate::support::ntp::ask;
use crate::support::scene::SEED;
use crate::support::skip::skip;
use crate::xdp::{Driven, has_program, in_driver};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn off_by_option_or_default_nothing_is_attached() {
    let Some(driven) = Driven::new() else { return };
    for options in ["--xdp off", ""] {
        let daemon = driven.serve(options);
        let line = daemon.ready_line();
        assert!(line.contains("; tier ") && !line.contains("xdp"), "{line}");
        assert!(!has_program(&driven.scene.server, "lan"));
        assert!(ask(&driven.scene.client.socket("0.0.0.0:0"), "192.168.0.1:123").is_some());
        let counters = daemon.counters_when(|counters| counters.get("received") == 1);
        assert!(counters.0["xdp"].is_null(), "{counters:?}");
        assert_eq!(counters.per_worker("received").iter().sum::<u64>(), 1);
    }
}

#[test]
fn auto_is_native_or_nothing_and_generic_is_only_what_was_asked_for() {
    let Some(driven) = Driven::new() else { return };
    let server = &driven.scene.server;
    let is_generic =
        |interface| server.ip(&format!("-details link show dev {interface}")).contains(" xdpgeneric ");
    for (mode, tier) in [("auto", "native"), ("native", "native"), ("generic", "generic")] {
        let daemon = driven.serve(&format!("--xdp {mode} -i lan"));
        let line = daemon.ready_line();
        assert!(line.contains(&format!("tier xdp {tier} on lan, then ")), "{mode}: {line}");
        assert!(has_program(server, "lan"), "{mode}");
        assert_eq!(is_generic("lan"), tier == "generic", "{mode}");
        assert_eq!(daemon.counters().0["xdp"]["interfaces"][0]["mode"], tier);
        assert!(ask(&driven.scene.client.socket("0.0.0.0:0"), "192.168.0.1:123").is_some());
        assert_eq!(in_driver(&daemon.counters()), 1, "{mode}");
    }
    // The loopback interface has no driver that could: sockets serve, and nothing is put behind it instead.
    let daemon = driven.serve("--xdp auto -i lo");
    assert!(!has_program(server, "lo"));
    assert!(ask(&driven.scene.server.socket("127.0.0.1:0"), "127.0.0.1:123").is_some());
    assert!(ask(&driven.scene.client.socket("0.0.0.0:0"), "192.168.0.1:123").is_some());
    let counters = daemon.counters_when(|counters| counters.get("received") == 2);
    assert_eq!(in_driver(&counters), 0, "{counters:?}");
}

#[test]
fn generic_mode_answers_over_loopback_and_interfaces_without_a_driver() {
    let Some(namespace) = Namespace::new() else { return };
    if pass_everything_generic(&namespace).is_none() {
        return;
    }
    let daemon = Daemon::start(&namespace, &format!("serve -c {SEED} --xdp generic -i lo"));
    for (any, server) in
        [("127.0.0.1:0", "127.0.0.1:123"), ("[::1]:0", "[::1]:123"), ("127.0.0.1:0", "127.0.0.2:123")]
    {
        let reply = ask(&namespace.socket(any), server);
        // The kernel knows all of 127/8 as its own, the interface only 127.0.0.1.
        assert!(reply.is_some(), "{server}");
    }
    assert_eq!(in_driver(&daemon.counters()), 2);
    assert!(daemon.ready_line().contains("xdp generic on lo"), "{}", daemon.ready_line());
}

/// Whether this process may attach a program at all.
fn pass_everything_generic(namespace: &Namespace) -> Option<()> {
    let loaded = namespace.inside(|| Program::load().map(drop).map_err(|error| error.errno()));
    match loaded {
        Ok(()) => Some(()),
        Err(_) => {
            skip("bpf", "this process may not load programs into the kernel: run as root");
            None
        }
    }
}

#[test]
fn what_cannot_be_is_said_in_a_sentence() {
    let Some(driven) = Driven::new() else { return };
    let ends = |arguments: &str, code: i32, words: &str| {
        let mut daemon = Daemon::spawn(&driven.scene.server, ntpring(arguments.split(' ')));
        let end = daemon.end(5 * SECOND).unwrap_or_else(|| panic!("{arguments}: {}", daemon.text()));
        assert_eq!(end.code(), Some(code), "{arguments}: {}", daemon.text());
        assert!(daemon.text().contains(words), "{arguments}: {words} in {}", daemon.text());
    };
    ends("serve --xdp native", 2, "--interface");
    ends("serve -i lan", 2, "add --xdp auto");
    ends("serve -l 127.0.0.1:11123 --xdp native -i nosuch", 1, "there is no interface nosuch: ip link shows");
    ends("serve -l 127.0.0.1:11123 --xdp native -i lo", 1, "try --xdp generic");
    let daemon = driven.serve("--xdp auto -i lo");
    assert!(daemon.text().contains("try --xdp generic"), "{}", daemon.text());
    assert!(daemon.ready_line().contains("tier xdp not yet on lo, then "), "{}", daemon.ready_line());
    assert!(ask(&driven.scene.client.socket("0.0.0.0:0"), "192.168.0.1:123").is_some());

    // Without the capabilities that loading needs.
    let weak = |mode: &str| {
        let lost = "-bpf,-net_admin,-sys_admin";
        let mut weak = command("setpriv");
        weak.args(["--bounding-set", lost, "--inh-caps", lost, "--", env!("CARGO_BIN_EXE_ntpring")]);
        weak.args(format!("serve -l 127.0.0.1:11123 --xdp {mode} -i lan").split(' '));
        weak
    };
    let mut ends = Daemon::spawn(&driven.scene.server, weak("native"));
    assert_eq!(ends.end(5 * SECOND).expect("it ends").code(), Some(1), "{}", ends.text());
    assert!(ends.text().contains("cap_bpf,cap_net_admin"), "{}", ends.text());
    let serves = Daemon::start_command(&driven.scene.server, weak("auto"));
    for words in ["cap_bpf,cap_net_admin", "every request is answered by the sockets"] {
        assert!(serves.text().contains(words), "{words} in {}", serves.text());
    }
    assert!(!serves.ready_line().contains("xdp"), "{}", serves.ready_line());
    assert!(ask(&driven.scene.server.socket("127.0.0.1:0"), "127.0.0.1:11123").is_some());
}
