//! Every form that a result takes, read back by others.

mod python;
mod schema;
#[path = "../../tests/support/skip.rs"]
mod skip;

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::{Value, json};

use crate::python::python;

/// A server that answers all but those requests whose number `drops` says; it ends with the process.
fn server(drops: fn(u64) -> bool) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 48];
        for number in 0.. {
            let (_, peer) = socket.recv_from(&mut buffer).unwrap();
            if drops(number) {
                continue;
            }
            let mut reply = [0; 48];
            (reply[0], reply[1]) = (0b00_100_100, 2);
            reply[24..32].copy_from_slice(&buffer[40..48]);
            for stamp in [32, 40] {
                reply[stamp..stamp + 8].copy_from_slice(&0xE000_0000_0000_0000_u64.to_be_bytes());
            }
            socket.send_to(&reply, peer).unwrap();
        }
    });
    address
}

/// Its files are gone when it is.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ntpload-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }

    /// A document that keeps to the schema.
    fn json(&self, name: &str) -> Value {
        let value = serde_json::from_str(&self.text(name)).unwrap();
        schema::assert_valid(&value);
        value
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn ntpload(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ntpload")).args(arguments).output().unwrap()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn histogram(value: &Value) -> Histogram<u64> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap()).unwrap();
    Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap()
}

#[test]
fn one_run_is_the_same_in_every_form() {
    let (files, target) = (Directory::new("forms"), server(|n| n % 100 == 7).to_string());
    let [json, csv, hlog, html] = ["r.json", "r.csv", "r.hlog", "r.html"].map(|name| files.file(name));
    let run = ["run", &target, "--rate", "500", "--duration", "2s", "--allow-lag", "--timeout", "300ms"];
    let forms = ["--json", &json, "--csv", &csv, "--hlog", &hlog, "--html", &html];
    let output = ntpload(&[&run[..], &forms].concat());
    assert_eq!(code(&output), Some(0), "{}", String::from_utf8_lossy(&output.stderr));

    let result = files.json("r.json");
    let latency = &result["latency_us"]["intended"];
    assert_eq!((&result["counts"]["answered"], &latency["count"]), (&990.into(), &990.into()));
    let whole = histogram(&latency["histogram"]);
    assert_eq!(whole.len(), 990);
    assert_eq!(latency["p99"], whole.value_at_quantile(0.99) as f64 / 1e3);

    let column = |number: usize| -> u64 {
        let lines = files.text("r.csv");
        let fields = lines.lines().skip(1).map(|line| line.split(',').nth(number).unwrap().to_owned());
        fields.map(|field| field.parse::<u64>().unwrap()).sum()
    };
    assert_eq!((column(1), column(2), column(3)), (1_000, 990, 10));

    let log = files.text("r.hlog");
    assert!(log.starts_with("#[Histogram log format version 1.3]\n"), "{log}");
    let mut logged: BTreeMap<String, Histogram<u64>> = BTreeMap::new();
    for entry in IntervalLogIterator::new(log.as_bytes()) {
        let LogEntry::Interval(interval) = entry.unwrap() else { continue };
        assert_eq!(interval.duration(), Duration::from_secs(1));
        let part = histogram(&interval.encoded_histogram().into());
        let tag = interval.tag().unwrap().as_str().to_owned();
        logged.entry(tag).or_insert_with(|| Histogram::new(3).unwrap()).add(part).unwrap();
    }
    assert_eq!(logged["intended"], whole, "the seconds add up to the whole");
    assert_eq!(logged["lag"].len(), 1_000);

    let page = files.text("r.html");
    assert_eq!(page.matches("<svg").count(), 2 * 3);
    assert!(!page.contains("NaN") && !page.contains("src=") && !page.contains("http-equiv"));
}

/// The reader is a translation of HdrHistogram's own, in Python and C.
#[test]
fn an_independent_reader_finds_the_same_in_the_log_and_in_the_document() {
    const SCRIPT: &str = "
import json, sys
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
found = {}
log = HistogramLogReader(sys.argv[1], HdrHistogram(1, 60_000_000_000, 3))
while (one := log.get_next_interval_histogram()) is not None:
    lasts = one.get_end_time_stamp() - one.get_start_time_stamp()
    found.setdefault(one.get_tag(), [HdrHistogram(1, 60_000_000_000, 3), set(), 0])
    found[one.get_tag()][0].add(one)
    found[one.get_tag()][1].add(lasts)
    found[one.get_tag()][2] += 1
def figures(histogram):
    return [histogram.get_total_count(), histogram.get_mean_value(), histogram.get_max_value()]
tags = {tag: [figures(sum), sorted(lasts), times] for tag, (sum, lasts, times) in found.items()}
result = json.load(open(sys.argv[2]))
whole = HdrHistogram.decode(result['latency_us']['intended']['histogram'])
print(json.dumps({'tags': tags, 'whole': figures(whole)}))
";
    let (files, target) = (Directory::new("hdrh"), server(|n| n % 100 == 7).to_string());
    let [json, hlog] = ["r.json", "r.hlog"].map(|name| files.file(name));
    let run = ["run", &target, "--rate", "500", "--duration", "2s", "--allow-lag", "--timeout", "300ms"];
    ntpload(&[&run[..], &["--json", &json, "--hlog", &hlog]].concat());
    let Some(found) = python("hdrh", SCRIPT, &[&hlog, &json]) else { return };
    let found: Value = serde_json::from_str(&found).unwrap();
    let result = files.json("r.json");
    assert_eq!(found["whole"][0], 990);
    let figure = |name: &str| result["latency_us"]["intended"][name].as_f64().unwrap();
    // Libraries differ in how they round ranks, and where in a bucket a value is.
    for (theirs, ours) in [(1, "mean"), (2, "max")] {
        let part = found["whole"][theirs].as_f64().unwrap() / 1e3 / figure(ours);
        assert!((0.999..=1.001).contains(&part), "{ours}: {found} {result:#}");
    }
    assert_eq!(found["tags"]["intended"][0], found["whole"], "the seconds add up to the whole");
    for (tag, count) in [("intended", 990), ("wire", 990), ("residence", 990), ("lag", 1_000)] {
        let of_tag = &found["tags"][tag];
        assert_eq!(of_tag[0][0], count, "{tag}: {found}");
        // Replies may still be waited for in a third second.
        assert_eq!(of_tag[1], json!([1_000.0]), "intervals of a second: {found}");
        assert!((2..=3).contains(&of_tag[2].as_u64().unwrap()), "{found}");
    }
    let offsets = ["offset", "offset_negative"].map(|tag| found["tags"][tag][0][0].as_u64().unwrap_or(0));
    assert_eq!(offsets.iter().sum::<u64>(), 990, "{found}");
}

#[test]
fn an_independent_validator_accepts_every_document_and_no_other() {
    const SCRIPT: &str = "
import copy, json, sys
from jsonschema import Draft202012Validator
schema = json.load(open(sys.argv[1]))
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)
for path in sys.argv[2:]:
    document = json.load(open(path))
    validator.validate(document)
    for spoil in (lambda d: d.update(version=2), lambda d: d.update(more=1), lambda d: d.pop('ntpload'),
                  lambda d: d['counts'].update(sent=-1) if 'counts' in d else d.clear(),
                  lambda d: d['counts'].update(answered=0.5) if 'counts' in d else d.clear()):
        spoiled = copy.deepcopy(document)
        spoil(spoiled)
        assert not validator.is_valid(spoiled), path
    print('valid')
";
    let (files, target) = (Directory::new("schema"), server(|n| n % 100 == 7).to_string());
    let [run, other, sum, sweep, plan] =
        ["r.json", "o.json", "m.json", "s.json", "p.json"].map(|name| files.file(name));
    let load = ["--rate", "500", "--duration", "300ms", "--timeout", "200ms"];
    ntpload(&[&["run", &target, "--json", &run], &load[..]].concat());
    ntpload(&[&["run", &target, "--json", &other, "--mix", "public"], &load[..]].concat());
    ntpload(&["merge", &run, &other, "--json", &sum]);
    let bounds = ["--from", "100", "--to", "200", "--duration", "200ms", "--timeout", "100ms"];
    ntpload(&[&["sweep", &target, "--json", &sweep, "--max-loss", "0,10%"], &bounds[..]].concat());
    ntpload(&["plan", "--clients", "1M", "--sweep", &sweep, "--json", &plan]);
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/result.json");
    let documents = [schema, &run, &other, &sum, &sweep, &plan];
    let Some(said) = python("jsonschema", SCRIPT, &documents) else { return };
    assert_eq!(said, "valid\n".repeat(5));
}

#[test]
fn conditions_decide_the_exit_code() {
    let target = server(|n| n % 100 == 7).to_string();
    let run = |conditions: &[&str]| {
        let run =
            ["run", &target, "--rate", "500", "--duration", "400ms", "--timeout", "200ms", "--allow-lag"];
        code(&ntpload(&[&run[..], conditions].concat()))
    };
    assert_eq!(run(&["--fail-if", "loss>50%", "--fail-if", "p99>50s"]), Some(0));
    assert_eq!(run(&["--fail-if", "p99>50s", "--fail-if", "loss>0.1%"]), Some(3));
    assert_eq!(run(&["--fail-if", "p50>1ns"]), Some(3));
    assert_eq!(run(&["--fail-if", "sorrow>1"]), Some(2));
}

#[test]
fn merging_adds_histograms_and_counts() {
    let (files, target) = (Directory::new("merge"), server(|n| n % 100 == 7).to_string());
    let [one, other, sum] = ["one.json", "other.json", "sum.json"].map(|name| files.file(name));
    for (rate, file) in [("500", &one), ("300", &other)] {
        let run = ["run", &target, "--rate", rate, "--duration", "1s", "--timeout", "200ms", "--json", file];
        ntpload(&run);
    }
    let output = ntpload(&["merge", &one, &other, "--json", &sum]);
    let [one, other, sum] = ["one.json", "other.json", "sum.json"].map(|name| files.json(name));
    let on_time = one["generator_ok"] == true && other["generator_ok"] == true;
    assert_eq!(code(&output), Some(i32::from(!on_time)), "{}", String::from_utf8_lossy(&output.stderr));
    for count in ["scheduled", "sent", "answered", "lost"] {
        let count = |result: &Value| result["counts"][count].as_u64().unwrap();
        assert_eq!(count(&sum), count(&one) + count(&other));
    }
    assert_eq!(sum["rate"]["offered"], 800.0);
    let mut expected = histogram(&one["latency_us"]["intended"]["histogram"]);
    expected.add(histogram(&other["latency_us"]["intended"]["histogram"])).unwrap();
    assert_eq!(histogram(&sum["latency_us"]["intended"]["histogram"]), expected);
    assert_eq!(sum["latency_us"]["intended"]["p99"], expected.value_at_quantile(0.99) as f64 / 1e3);

    let nothing = ntpload(&["merge", &files.file("none.json")]);
    assert_eq!(code(&nothing), Some(1));
    fs::write(files.file("broken.json"), "{\"version\": 1, \"kind\": \"sweep\"}").unwrap();
    assert_eq!(code(&ntpload(&["merge", &files.file("broken.json")])), Some(2));
}

#[test]
fn a_sweep_leads_to_a_plan() {
    let (files, target) = (Directory::new("sweep"), server(|_| false).to_string());
    let [json, csv, html, plan] = ["s.json", "s.csv", "s.html", "p.json"].map(|name| files.file(name));
    let sweep = ["sweep", &target, "--from", "100", "--to", "400", "--duration", "200ms"];
    let forms = ["--json", &json, "--csv", &csv, "--html", &html];
    let output = ntpload(&[&sweep[..], &forms].concat());
    assert_eq!(code(&output), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    let result = files.json("s.json");
    let limits: Vec<&Value> =
        result["results"].as_array().unwrap().iter().map(|one| &one["max_loss"]).collect();
    assert_eq!(limits, [&Value::from(0.0), &Value::from(0.001)]);
    assert_eq!(
        (&result["results"][0]["rate"], &result["results"][0]["limited_by"]),
        (&400.into(), &"bound".into())
    );
    let trials = result["trials"].as_array().unwrap();
    assert_eq!(files.text("s.csv").lines().count(), 1 + trials.len());
    assert_eq!(files.text("s.html").matches("<svg").count(), 2 * 2);

    let demand = ["plan", "--clients", "1M", "--poll", "1000", "--peak", "2", "--headroom", "50%"];
    let source = ["--sweep", &json, "--server-cores", "2", "--json", &plan];
    let output = ntpload(&[&demand[..], &source].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(code(&output), Some(0), "{text}");
    assert!(text.contains("114") && text.contains("1096491") && text.contains("the cores"), "{text}");
    let plan = files.json("p.json");
    // 1 M / 1000 s x 2 = 2000/s; 400/s by 2 cores are 200/s each, half of that is free: 20 cores.
    assert_eq!((&plan["peak_rate"], &plan["cores"]), (&2_000.0.into(), &20.into()));
}

#[test]
fn a_sweep_finds_where_loss_begins() {
    // Every other request is lost, at any rate.
    let target = server(|n| n % 2 == 1).to_string();
    let sweep =
        ["sweep", &target, "--from", "100", "--to", "200", "--duration", "200ms", "--timeout", "100ms"];
    let output = ntpload(&[&sweep[..], &["--max-loss", "0,60%"]].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("loss of at most 0 %: at no rate"), "{text}");
    assert!(text.contains("loss of at most 60 %: 200 requests/s"), "{text}");
    assert_eq!(code(&output), Some(1));
}

#[test]
fn nobody_there_ends_a_sweep_at_once() {
    let closed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let output = ntpload(&["sweep", &closed.to_string(), "--duration", "100ms"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("nothing listens there"), "{said}");
    assert_eq!(code(&output), Some(1));
}

#[test]
fn a_full_disk_is_named_and_spoils_nothing_else() {
    let (files, target) = (Directory::new("full"), server(|_| false).to_string());
    let json = files.file("r.json");
    let run = ["run", &target, "--rate", "100", "--duration", "100ms"];
    let output =
        ntpload(&[&run[..], &["--json", &json, "--html", "/dev/full", "--csv", "/dev/full"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.matches("No space left").count(), 2, "{said}");
    assert_eq!((code(&output), &files.json("r.json")["counts"]["sent"]), (Some(1), &10.into()));
    assert_eq!(code(&ntpload(&[&run[..], &["--json", "-", "--csv", "-"]].concat())), Some(2));
}
