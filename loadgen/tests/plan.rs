//! `ntpload plan` and docs/scale.md agree, row by row.

use std::process::Command;

use serde_json::Value;

const SCALE: &str = include_str!("../../docs/scale.md");

/// The rate of a core that the page rests on: "… N requests/s per core over IPv4, M over IPv6".
fn rate(protocol: &str) -> u64 {
    let is_number = |word: &&str| word.parse::<u64>().is_ok();
    let line = SCALE.lines().find(|line| line.contains("requests/s per core over IPv4"));
    let line = line.expect("the sentence is there").replace('*', " ");
    let numbers: Vec<&str> = line.split_whitespace().filter(is_number).collect();
    let [v4, v6] = numbers[..] else { panic!("two rates: {line}") };
    (if protocol == "IPv4" { v4 } else { v6 }).parse().expect("a number")
}

fn plan(protocol: &str, clients: u64, headroom: &str, link: &str) -> (u64, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_ntpload"))
        .args(["plan", "--poll", "1s", "--peak", "1", "--json", "-", "--headroom", headroom, "--link", link])
        .args(["--clients", &clients.to_string(), "--per-core-rate", &rate(protocol).to_string()])
        .output()
        .expect("ntpload runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let plan: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let links = plan["links"].as_array().expect("links");
    let link = links.iter().find(|link| link["protocol"] == protocol).expect("both protocols").clone();
    (plan["cores"].as_u64().expect("a number of cores"), link)
}

#[test]
fn every_row_of_the_table_is_what_plan_says() {
    let rows: Vec<Vec<&str>> = SCALE
        .lines()
        .filter(|line| line.contains(" Gbit/s | IPv"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), 8, "1, 10, 25 and 100 Gbit/s, two protocols each");
    for row in rows {
        let [link, protocol, octets, packets, nanoseconds, busy, free] = row[..] else {
            panic!("seven columns: {row:?}");
        };
        let packets: u64 = packets.parse().expect("packets/s");
        let speed = link.replace(" Gbit/s", "G");
        for (headroom, cores) in [("0", busy), ("30%", free)] {
            let (planned, on_link) = plan(protocol, packets, headroom, &speed);
            assert_eq!(planned.to_string(), cores, "{row:?} with {headroom} free");
            assert_eq!(on_link["octets_on_wire"].to_string(), octets, "{row:?}");
            let line_rate = on_link["line_rate"].as_f64().expect("a rate");
            assert_eq!(line_rate.round() as u64, packets, "{row:?}");
            assert_eq!(format!("{:.1}", 1e9 / line_rate), nanoseconds, "{row:?}");
            assert!((on_link["busy"].as_f64().expect("a part") - 1.0).abs() < 1e-6, "the link is full");
        }
    }
}
