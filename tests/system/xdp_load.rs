//! ntpload's own engine in the kernel, against both tiers of the server: what it says was answered the server
//! says too, what is not answered is lost, and nothing is left on the interface, whichever way it ends.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::daemon::Daemon;
use crate::support::namespace::Namespace;
use crate::support::ntp::ask;
use crate::support::scene::{SCRATCH, SEED, SERVER, Scene};
use crate::xdp::{has_program, in_driver, pass_everything};
use crate::{load, support};

/// Requests that find out whether the server answers, at most: three over a socket and three as the load's.
const PROBES: u64 = 6;

/// A scene in which programs may be loaded, and ntpload is there; or None with a skip.
fn scene() -> Option<Scene> {
    let scene = Scene::new()?;
    load::ntpload("")?;
    // The server's end must take frames from programs, whatever serves there.
    drop(pass_everything(&scene.client, "lan")?);
    Some(scene)
}

/// Runs a load whose accounts must close; how many requests were sent, answered and lost.
fn run(client: &Namespace, name: &str, arguments: &str) -> [u64; 3] {
    let arguments = format!("run --engine xdp --allow-lag {arguments}");
    let (result, finished) = load::result(client, name, &arguments).expect("ntpload is there");
    assert_eq!(result["engine"], "xdp");
    assert_eq!(finished.code, Some(0), "{}", finished.text);
    let [sent, answered, late, lost, kod] =
        ["sent", "answered", "late", "lost", "kod"].map(|name| load::count(&result, name));
    assert_eq!(sent, answered + late + lost + kod, "{result:#}");
    assert_eq!(load::count(&result, "scheduled"), sent + load::count(&result, "unsent"));
    for unexpected in ["late", "duplicate", "invalid"] {
        assert_eq!(load::count(&result, unexpected), 0, "{unexpected}: {}", finished.text);
    }
    for unseen in ["local_drops", "unreachable", "unsolicited"] {
        assert!(result["counts"][unseen].is_null(), "{unseen} cannot be seen");
    }
    assert!(result["latency_us"]["intended"]["count"].as_u64().is_some_and(|count| count > 0), "{result:#}");
    [sent, answered, lost]
}

#[test]
fn every_answer_of_the_driver_is_counted_once() {
    let Some(scene) = scene() else { return };
    let daemon = Daemon::start(&scene.server, &format!("serve -c {SEED} --xdp native -i lan"));
    for (target, sources) in SERVER.into_iter().zip(["10.9.0.0/16", "fd09::/48"]) {
        for from in [String::new(), format!("--sources {sources} --clients 1000")] {
            let before = in_driver(&daemon.counters());
            let load = format!("{target} --rate 20k --duration 500ms --timeout 3s {from}");
            let [sent, answered, lost] = run(&scene.client, "driver", &load);
            assert_eq!([sent, answered, lost], [10_000, 10_000, 0], "{load}");
            let served = in_driver(&daemon.counters()) - before;
            assert!((2..=PROBES).contains(&(served - answered)), "{load}: {served} served");
        }
    }
}

#[test]
fn sockets_can_be_loaded_too_and_what_they_cannot_take_is_lost() {
    let Some(scene) = scene() else { return };
    // A veth's end takes frames from programs if it has a program itself.
    let Some(_server) = pass_everything(&scene.server, "lan") else { return };
    let daemon = Daemon::start(&scene.server, &format!("serve -c {SEED}"));
    let before = daemon.counters().get("answered");
    let [sent, answered, lost] =
        run(&scene.client, "sockets", &format!("{} --max --duration 500ms", SERVER[0]));
    let served = daemon.counters().get("answered") - before;
    assert_eq!(sent, answered + lost);
    assert!(answered > 0 && lost > 0, "a socket server cannot keep up: {sent} sent, {answered} answered");
    // The server's replies may be too many for the client's end of the link, which is also "lost".
    assert!(answered <= served && served <= sent + PROBES, "{answered} answered, {served} served");
}

#[test]
fn requests_without_an_answer_are_lost() {
    let Some(scene) = scene() else { return };
    let conf = format!("{SCRATCH}/xdp-half.conf");
    let text =
        std::fs::read_to_string(SEED).expect("the seed") + "restrict 10.9.128.0 mask 255.255.128.0 ignore\n";
    std::fs::write(&conf, text).expect("a configuration");
    let _daemon = Daemon::start(&scene.server, &format!("serve -c {conf} --xdp native -i lan"));
    // Each of 65536 addresses asks once, and half of them are ignored.
    let load = format!("{} --sources 10.9.0.0/16 --rate 65536 --duration 1s", SERVER[0]);
    assert_eq!(run(&scene.client, "half", &load), [65_536, 32_768, 32_768]);
}

#[test]
fn a_sweep_goes_on_with_it() {
    let Some(scene) = scene() else { return };
    let _daemon = Daemon::start(&scene.server, &format!("serve -c {SEED} --xdp native -i lan"));
    let sweep = format!("sweep {} --engine xdp --from 5k --to 20k --duration 200ms", SERVER[0]);
    let (result, finished) = load::result(&scene.client, "sweep", &sweep).expect("ntpload is there");
    assert_eq!(result["engine"], "xdp");
    let trials = result["trials"].as_array().expect("trials");
    assert!(trials.len() >= 3, "{}", finished.text);
    for trial in trials {
        assert_eq!(load::count(trial, "sent"), load::count(trial, "answered") + load::count(trial, "lost"));
    }
}

#[test]
fn whichever_way_it_ends_nothing_is_left_on_the_interface() {
    let Some(scene) = scene() else { return };
    let daemon = Daemon::start(&scene.server, &format!("serve -c {SEED} --xdp native -i lan"));
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let run = format!("run {} --engine xdp --max --duration 60s --allow-lag", SERVER[0]);
        let mut generator = Daemon::spawn(&scene.client, load::ntpload(&run).expect("it is built"));
        let before = in_driver(&daemon.counters());
        let start = Instant::now();
        while in_driver(&daemon.counters()) < before + 10_000 {
            assert!(start.elapsed() < Duration::from_secs(20), "no load: {}", generator.text());
            thread::sleep(Duration::from_millis(20));
        }
        assert!(has_program(&scene.client, "lan"), "replies are taken in by a program");
        generator.signal(signal);
        let ended = generator.end(Duration::from_secs(20)).expect("it ends");
        assert!(!has_program(&scene.client, "lan"), "{signal}: a program is left");
        if signal == Signal::SIGINT {
            assert_eq!(ended.code(), Some(130), "{}", generator.text());
            assert!(generator.text().contains("(interrupted)"), "the result so far: {}", generator.text());
        }
        // The link still carries what sockets send.
        let _pass = pass_everything(&scene.client, "lan");
        let socket = scene.client.socket("0.0.0.0:0");
        assert!(ask(&socket, format!("{}:123", SERVER[0])).is_some(), "{signal}: the link is dead");
    }
}

#[test]
fn an_interface_that_goes_away_ends_it() {
    let Some(scene) = scene() else { return };
    let _daemon = Daemon::start(&scene.server, &format!("serve -c {SEED} --xdp native -i lan"));
    let run = format!("run {} --engine xdp --rate 10k --duration 60s --allow-lag", SERVER[0]);
    let mut generator = Daemon::spawn(&scene.client, load::ntpload(&run).expect("it is built"));
    let start = Instant::now();
    while !has_program(&scene.client, "lan") {
        assert!(start.elapsed() < Duration::from_secs(20), "{}", generator.text());
        thread::sleep(Duration::from_millis(20));
    }
    thread::sleep(Duration::from_millis(500));
    scene.client.ip("link del lan");
    let ended = generator.end(Duration::from_secs(20)).expect("it ends");
    assert_eq!(ended.code(), Some(1), "{}", generator.text());
    let text = generator.text();
    assert!(text.contains("the interface went away") && text.contains("answered"), "{text}");
}

#[test]
fn what_it_cannot_do_is_a_clear_sentence() {
    let Some(scene) = scene() else { return };
    let refuse = |arguments: &str, code: i32, words: &str| {
        let finished = scene.client.run(load::ntpload(&format!("run {arguments}")).expect("it is built"));
        assert!(finished.text.contains(words), "{arguments}: {}", finished.text);
        assert_eq!(finished.code, Some(code), "{arguments}: {}", finished.text);
    };
    let [server, v6] = SERVER;
    for (options, code, words) in [
        ("-i nosuch", 1, "there is no interface nosuch"),
        ("-i lo", 1, "lo: its driver (no driver of its own) cannot run XDP programs"),
        ("--mix v3=1", 2, "leave --mix, --key and --replay away"),
        ("--zipf 1", 2, "leave --zipf away"),
        ("--timeout 5s", 2, "4 s at most"),
        ("--clients 65000", 2, "at most 64512"),
        ("--sources fd09::/48", 2, "of the other family"),
        ("", 1, "a veth takes frames from programs only while its other end has GRO on or an XDP program"),
    ] {
        refuse(&format!("{server} --engine xdp --rate 1k --duration 1s {options}"), code, words);
    }
    refuse(&format!("{server} -i lan --rate 1k"), 2, "--interface is for --engine xdp");
    let Some(_server) = pass_everything(&scene.server, "lan") else { return };
    refuse(&format!("{server} --engine xdp --rate 1k"), 1, "does not answer 192.168.0.2 over lan");
    refuse(&format!("{v6} --engine xdp --rate 1k"), 1, "does not answer fd00::2 over lan");
    {
        let Some(_client) = pass_everything(&scene.client, "lan") else { return };
        refuse(&format!("{server} --engine xdp --rate 1k"), 1, "lan has another XDP program, which stays");
        assert!(has_program(&scene.client, "lan"));
    }
    let mut nobody = support::namespace::command("setpriv");
    let ntpload = load::ntpload(&format!("run {server} --engine xdp --rate 1k")).expect("it is built");
    nobody.args(["--inh-caps=-all", "--bounding-set=-all", "--"]).arg(program_of(&ntpload));
    nobody.args(["run", server, "--engine", "xdp", "--rate", "1k"]);
    let finished = scene.client.run(nobody);
    assert!(finished.text.contains("run ntpload as root"), "{}", finished.text);
    assert_eq!(finished.code, Some(1));
}

/// The program that a prepared command runs in the end.
fn program_of(command: &Command) -> String {
    let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
    words.skip_while(|word| word != "--").nth(1).expect("a program behind the options")
}
