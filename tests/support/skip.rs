//! A test that cannot run here says so. It never passes silently: `./ci.sh test` prints and counts every
//! skip, and where NTPRING_REQUIRE names the missing facility the skip is a failure.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::thread;

/// Everything a test may be skipped for. A name in NTPRING_REQUIRE that is not here would enforce nothing, so
/// it is an error.
const FACILITIES: [&str; 26] = [
    "netns",
    "io_uring",
    "bpf",
    "clang",
    "ethtool",
    "vlan",
    "seccomp",
    "ptrace",
    "chrony",
    "ntpsec",
    "ntplib",
    "rdate",
    "monitoring-plugins",
    "timesyncd",
    "net-tools",
    "nft",
    "cores",
    "iproute2",
    "systemd",
    "users",
    "ntpload",
    "hdrh",
    "jsonschema",
    "guest",
    "files",
    "man",
];

/// Records that the running test is skipped because `facility` is missing; the caller returns right after.
///
/// # Panics
/// Where NTPRING_REQUIRE lists `facility`, with the reason: there a skip is a failure.
pub(crate) fn skip(facility: &str, reason: &str) {
    let required = env::var("NTPRING_REQUIRE").unwrap_or_default();
    assert!(
        !is_required(&required, facility),
        "NTPRING_REQUIRE lists {facility}, but this test would be skipped: {reason}"
    );
    let test = thread::current().name().unwrap_or("?").to_owned();
    eprintln!("SKIPPED {test}: {facility}: {reason}");
    // libtest swallows the output of a test that passes; the file is what ci.sh prints and counts.
    if let Ok(path) = env::var("NTPRING_SKIP_LOG") {
        let mut log =
            OpenOptions::new().create(true).append(true).open(path).expect("NTPRING_SKIP_LOG opens");
        let reason = reason.replace(['\n', '\t'], " ");
        log.write_all(format!("{test}\t{facility}\t{reason}\n").as_bytes())
            .expect("NTPRING_SKIP_LOG is written");
    }
}

fn is_required(list: &str, facility: &str) -> bool {
    assert!(FACILITIES.contains(&facility), "{facility} is missing in the table of facilities");
    let mut names = list.split([',', ' ']).filter(|name| !name.is_empty());
    names
        .clone()
        .for_each(|name| assert!(FACILITIES.contains(&name), "NTPRING_REQUIRE: unknown facility {name}"));
    names.any(|name| name == facility)
}

#[test]
fn a_required_facility_is_recognised_in_any_list() {
    assert!(is_required("netns,chrony", "chrony"));
    assert!(is_required("chrony", "chrony"));
    assert!(!is_required("netns, ntpsec", "chrony"));
    assert!(!is_required("", "chrony"));
}

#[test]
#[should_panic(expected = "unknown facility chorny")]
fn a_misspelt_requirement_is_an_error() {
    is_required("chorny", "chrony");
}
