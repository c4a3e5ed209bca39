//! The generator: ntpload, as users run it, on the other core and in the other namespace. It verifies every
//! reply; all figures of the client's side are its own.
//!
//! Everything that knows of ntpload is in this file: another generator is another file like it.

use std::fs;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::sleep;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bench::namespace::command;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use serde_json::Value;

use super::INTERRUPTED;
use super::contestant::Places;
use super::rig::{Rig, SERVER, SOURCES};
use super::running::{PAUSE, Running};

/// Requests that are unanswered at any time in the closed loop: enough to keep a server busy, few enough for
/// the smallest queue on their way, the 256 places of a veth.
const OUTSTANDING: &str = "128";
/// A load begins so long before anything counts: the first pages of a new process cost a nested virtual
/// machine milliseconds.
pub(super) const WARM_UP: Duration = Duration::from_millis(100);
/// One request in so many tells the offset. Fewer would make a 99th percentile of some two hundred samples;
/// all would cost a quarter of the highest rate.
const STAMPED: &str = "4";
/// A later reply is as good as lost.
const TIMEOUT: &str = "100ms";

/// What is asked of the generator.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    /// A request leaves when another is answered.
    Closed,
    /// So many per second, whatever the server does.
    Open(u64),
    /// As many as the generator can send, past its sockets, whatever the server does.
    Flood,
}

/// What moves its datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    /// The one that it chooses itself; requests and replies have the kernel's stamps.
    Sockets,
    /// Several times as fast.
    Xdp,
}

/// What has come back.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) sent: f64,
    pub(super) answered: f64,
    /// Replies in all, in time or late.
    pub(super) replies: u64,
    pub(super) loss: f64,
    /// How long requests were sent, in seconds.
    pub(super) seconds: f64,
    /// Slices in which the generator did not offer what it was asked to, on time.
    pub(super) late: usize,
    pub(super) unsynchronised: bool,
    /// p50, p99 and p99.9 from the intended send time, in µs.
    pub(super) latency: [f64; 3],
    /// p50 and p99 from the request's leaving to its reply's arrival, in µs.
    pub(super) wire: [f64; 2],
    /// p50 and p99 of |offset| in µs.
    pub(super) offset: [f64; 2],
}

/// The highest rates with at most so much loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Lossless {
    /// Nothing was lost.
    pub(super) none: Option<f64>,
    /// One in a thousand.
    pub(super) per_mille: Option<f64>,
}

/// How a search for the highest lossless rate goes about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    pub(super) trial: Duration,
    /// In per cent.
    pub(super) resolution: u32,
    /// Trials of a rate, of which one without loss is enough.
    pub(super) tries: u32,
}

/// Loads the server that runs.
pub(super) fn run(
    load: Load,
    duration: Duration,
    rig: &Rig,
    places: &Places,
    running: &mut Running,
    stop: &AtomicBool,
) -> Result<Outcome, String> {
    let milliseconds = |duration: Duration| format!("{}ms", duration.as_millis());
    let (duration, warm_up) = (milliseconds(duration), milliseconds(WARM_UP));
    let mut words = vec!["run", "--duration", &duration, "--warmup", &warm_up, "--allow-lag"];
    let rate;
    match load {
        Load::Closed => words.extend(["--max", "--outstanding", OUTSTANDING]),
        Load::Open(requests) => {
            rate = requests.to_string();
            words.extend(["--rate", &rate, "--tx-stamps", STAMPED]);
        }
        Load::Flood => words.push("--max"),
    }
    let engine = if matches!(load, Load::Flood) { Engine::Xdp } else { Engine::Sockets };
    outcome(&ntpload(&words, engine, rig, places, running, stop)?)
}

/// Finds the highest lossless rates of the server that runs, which are below `saturated` or little above.
pub(super) fn search(
    search: Search,
    saturated: f64,
    rig: &Rig,
    places: &Places,
    running: &mut Running,
    stop: &AtomicBool,
) -> Result<Lossless, String> {
    let Search { trial, resolution, tries } = search;
    let number = |value: f64| (value.max(1.0) as u64).to_string();
    let words = [
        "sweep",
        "--from",
        &number(saturated * 0.4),
        "--to",
        &number(saturated * 1.3),
        "--duration",
        &format!("{}ms", trial.as_millis()),
        "--resolution",
        &format!("{resolution}%"),
        "--tries",
        &tries.to_string(),
    ];
    let engine = if running.contestant.in_driver() { Engine::Xdp } else { Engine::Sockets };
    let result = ntpload(&words, engine, rig, places, running, stop)?;
    let rate = |max_loss: f64| {
        // The two limits that ntpload searches unless told otherwise.
        let results = result["results"].as_array()?;
        results.iter().find(|found| found["max_loss"] == max_loss)?["rate"].as_f64()
    };
    Ok(Lossless { none: rate(0.0), per_mille: rate(0.001) })
}

/// Runs ntpload to its end; its result.
fn ntpload(
    words: &[&str],
    engine: Engine,
    rig: &Rig,
    places: &Places,
    running: &mut Running,
    stop: &AtomicBool,
) -> Result<Value, String> {
    let fail = |error: &dyn std::fmt::Display| format!("ntpload: {error}");
    let (file, log) = (places.scratch.join("ntpload.json"), places.scratch.join("ntpload.log"));
    let _ = fs::remove_file(&file);
    running.give_way_to_sockets(rig, engine == Engine::Sockets)?;
    let sources = format!("{}/{}", SOURCES.0, SOURCES.1);
    // It pins its own thread; were it pinned as a whole, it would think that it must not spin.
    let mut ntpload = command(None, places.programs.join("ntpload"));
    ntpload
        .args(words)
        .args(if engine == Engine::Xdp { &["--engine", "xdp"][..] } else { &[] })
        .args(running.contestant.knows_sources().then_some(["--sources", &sources]).iter().flatten())
        .args([&SERVER.to_string(), "--cpus", &rig.cores[1].to_string(), "--timeout", TIMEOUT, "--json"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).map_err(|error| fail(&error))?);
    let mut child = rig.generator.spawn(ntpload).map_err(|error| fail(&error))?;
    let ended = loop {
        let state = match (child.try_wait(), running.check()) {
            (Ok(Some(_)), server) => break server,
            (Err(error), _) => Err(fail(&error)),
            _ if stop.load(Relaxed) => Err(INTERRUPTED.to_owned()),
            (_, server) => server,
        };
        if state.is_err() {
            let _ = child.kill();
            let _ = child.wait();
            break state;
        }
        sleep(PAUSE);
    };
    ended?;
    let said = || fs::read_to_string(&log).unwrap_or_default();
    let text =
        fs::read(&file).map_err(|_| fail(&said().lines().last().unwrap_or("it ended without a result")))?;
    serde_json::from_slice(&text).map_err(|error| fail(&error))
}

/// Reads a run's result.
fn outcome(result: &Value) -> Result<Outcome, String> {
    let number = |place: &str| {
        result
            .pointer(place)
            .and_then(Value::as_f64)
            .ok_or_else(|| format!("ntpload's result has no {place}"))
    };
    let optional = |place: &str| result.pointer(place).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let replies = number("/counts/answered")? + number("/counts/late")?;
    if replies == 0.0 {
        return Err("it answered nothing under load".to_owned());
    }
    Ok(Outcome {
        sent: number("/rate/sent")?,
        answered: number("/rate/answered")?,
        replies: replies as u64,
        loss: number("/loss_ratio")?,
        seconds: number("/sending_s")?,
        late: usize::from(result["generator_ok"] != true),
        unsynchronised: number("/counts/unsynchronised")? > 0.0,
        latency: ["p50", "p99", "p999"].map(|name| optional(&format!("/latency_us/intended/{name}"))),
        wire: ["p50", "p99"].map(|name| optional(&format!("/latency_us/wire/{name}"))),
        offset: absolute_offset(&result["offset_us"])?,
    })
}

/// ntpload tells how far the server's clock was ahead and behind; here only how far it was off.
fn absolute_offset(offset: &Value) -> Result<[f64; 2], String> {
    let mut both =
        Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).map_err(|error| error.to_string())?;
    for name in ["histogram", "histogram_negative"] {
        let text = offset[name].as_str().ok_or("ntpload's result has no histogram of offsets")?;
        let bytes = BASE64.decode(text).map_err(|error| error.to_string())?;
        let read: Histogram<u64> =
            Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(|error| error.to_string())?;
        both.add(&read).map_err(|error| error.to_string())?;
    }
    if both.is_empty() {
        return Ok([f64::NAN; 2]);
    }
    Ok([0.5, 0.99].map(|quantile| both.value_at_quantile(quantile) as f64 / 1e3))
}
