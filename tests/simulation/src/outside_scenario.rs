//! Scenarios for the simulator that is none of ours, as data. Times are in seconds.

use std::fmt::Write as _;

/// What a run depends on, but for the seed. Delays and frequencies are expressions of clknetsim.
#[derive(Clone, Debug)]
pub struct Outside {
    /// What it is called in the table.
    pub name: &'static str,
    /// How long it runs.
    pub seconds: usize,
    /// When it is at the start.
    pub epoch: i64,
    /// Local − true at the start.
    pub error: f64,
    /// How fast the client's clock gains.
    pub frequency: String,
    /// Steps that somebody else makes, per second.
    pub steps: Option<&'static str>,
    /// How many servers there are.
    pub servers: usize,
    /// How far the last of them is off.
    pub lie: f64,
    /// From the client to its servers.
    pub there: String,
    /// And back.
    pub back: String,
    /// What stands in their lines.
    pub options: &'static str,
}

/// Base and mean of the exponential wait of one direction.
fn waits(base: f64, jitter: f64) -> String {
    format!("(+ {base:e} (* {jitter:e} (exponential)))")
}

/// A crystal that is off by so much, and whose frequency takes a random step each second.
fn crystal(frequency: f64, wander: f64) -> String {
    format!("(+ {frequency:e} (sum (* {wander:e} (normal))))")
}

/// Minpoll and maxpoll of most of the published figures.
const USUAL: &str = "iburst minpoll 6 maxpoll 10";
const OFTEN: &str = "iburst minpoll 4 maxpoll 6";

impl Outside {
    fn new(name: &'static str, base: f64, jitter: f64, options: &'static str) -> Self {
        Self {
            name,
            seconds: 40_000,
            epoch: 1_262_304_000,
            error: 0.1,
            frequency: crystal(1e-4, 1e-9),
            steps: None,
            servers: 1,
            lie: 0.0,
            there: waits(base, jitter),
            back: waits(base, jitter),
            options,
        }
    }

    fn crystal(self, frequency: f64, wander: f64) -> Self {
        Self { frequency: crystal(frequency, wander), ..self }
    }

    /// With more on both ways.
    fn and(self, more: &str) -> Self {
        let add = |delay: String| format!("(+ {delay} {more})");
        Self { there: add(self.there), back: add(self.back), ..self }
    }

    /// With more on one way only.
    fn back_only(self, more: &str) -> Self {
        Self { back: format!("(+ {} {more})", self.back), ..self }
    }

    /// The simulator's configuration.
    pub fn network(&self) -> String {
        let client = self.servers + 1;
        let mut text = String::new();
        let _ =
            writeln!(text, "node{client}_offset = {}\nnode{client}_freq = {}", self.error, self.frequency);
        if let Some(steps) = self.steps {
            let _ = writeln!(text, "node{client}_step = {steps}");
        }
        let _ = writeln!(text, "node{}_offset = {}", self.servers, self.lie);
        for server in 1..client {
            let _ = writeln!(text, "node{client}_delay{server} = {}", self.there);
            let _ = writeln!(text, "node{server}_delay{client} = {}", self.back);
        }
        text
    }

    /// The client's configuration, which chrony understands as well.
    pub fn lines(&self) -> String {
        let line = |server| format!("server 192.168.123.{server} {}\n", self.options);
        (1..=self.servers).map(line).collect()
    }
}

/// 15 of 100 packets do not arrive: a negative delay loses one.
const LOSS: &str = "(* -1e9 (max 0 (+ -0.85 (uniform))))";
const HEAVY_LOSS: &str = "(* -1e9 (max 0 (+ -0.4 (uniform))))";

/// The scenarios of the published figures, and others around them.
pub fn all() -> Vec<Outside> {
    let new = Outside::new;
    let lan = |name| new(name, 1e-4, 1e-4, USUAL);
    let often = |name| new(name, 1e-4, 1e-4, OFTEN);
    let metro = |name| new(name, 1e-3, 1e-4, OFTEN);
    vec![
        lan("lan"),
        new("lan, poll 16 s", 1e-4, 1e-4, "iburst minpoll 4 maxpoll 4"),
        new("quiet, poll 4-6", 5e-5, 1e-5, OFTEN),
        new("wan", 1e-2, 1e-3, USUAL),
        new("wan, poll 64 s", 1e-2, 1e-3, "iburst minpoll 6 maxpoll 6"),
        new("bad wan", 2e-2, 1e-2, USUAL),
        lan("wander 1e-8").crystal(1e-4, 1e-8),
        new("wander 1e-7, poll 4-10", 1e-4, 1e-4, "iburst minpoll 4 maxpoll 10").crystal(1e-4, 1e-7),
        metro("congestion").back_only("(* 5e-3 (exponential) (max 0 (pulse 40 200)))"),
        metro("symmetric steps").and("(* 2e-3 (max 0 (pulse 100 100)))"),
        often("15 % loss").and(LOSS),
        // Not among the published ones.
        lan("no iburst").with("minpoll 6 maxpoll 10"),
        often("60 % loss").and(HEAVY_LOSS),
        metro("asymmetric steps").back_only("(* 1e-3 (max 0 (pulse 100 100)))"),
        new("jitter 1e-6, poll 4-6", 5e-5, 1e-6, OFTEN),
        new("jitter 1e-6", 5e-5, 1e-6, USUAL),
        new("jitter 1e-5", 5e-5, 1e-5, USUAL),
        new("jitter 1e-3, poll 4-6", 1e-3, 1e-3, OFTEN),
        new("jitter 1e-2, poll 16 s", 1e-2, 1e-2, "iburst minpoll 4 maxpoll 4"),
        new("poll 1 s", 1e-4, 1e-4, "iburst minpoll 0 maxpoll 0").shorter(20_000),
        new("poll 1024 s", 1e-2, 1e-3, "iburst minpoll 10 maxpoll 10"),
        often("still crystal").crystal(1e-4, 0.0),
        often("wander 1e-10, poll 4-6").crystal(1e-4, 1e-10),
        often("wander 1e-8, poll 4-6").crystal(1e-4, 1e-8),
        new("wander 1e-7 on a wan", 1e-2, 1e-3, USUAL).crystal(1e-4, 1e-7),
        often("-400 ppm").crystal(-4e-4, 1e-9),
        often("temperature").with_frequency("(+ 1e-4 (* 5e-7 (sine 3600)))"),
        often("frequency steps").with_frequency("(+ 1e-4 (* 1e-6 (pulse 3600 3600)))"),
        often("skewed jitter, 0.3").skewed(0.3),
        often("skewed jitter, 0.6").skewed(0.6),
        often("skewed jitter, 0.9").skewed(0.9),
        often("one-sided jitter").skewed(1.0),
        often("normal jitter").and("(* 2e-4 (max 0 (+ 3 (normal))))"),
        often("3 servers, one is 5 s off").served(3, 5.0),
        often("3 servers, one is 20 ms off").served(3, 0.02),
        often("-3 s at the start").off(-3.0),
        often("a day at the start").off(86_400.0),
        often("stepped by 0.5 s after 20 000 s").stepped("(* 0.5 (equal 0.1 (sum 1.0) 20000))"),
        often("era 1").at(2_085_978_000),
    ]
}

impl Outside {
    fn with(self, options: &'static str) -> Self {
        Self { options, ..self }
    }

    /// Waits of 500 µs in the mean, more of it on the way back.
    fn skewed(self, skew: f64) -> Self {
        Self { there: waits(1e-4, 5e-4 * (1.0 - skew)), back: waits(1e-4, 5e-4 * (1.0 + skew)), ..self }
    }

    fn shorter(self, seconds: usize) -> Self {
        Self { seconds, ..self }
    }

    fn with_frequency(self, frequency: &str) -> Self {
        Self { frequency: frequency.to_owned(), ..self }
    }

    fn served(self, servers: usize, lie: f64) -> Self {
        Self { servers, lie, ..self }
    }

    fn off(self, error: f64) -> Self {
        Self { error, ..self }
    }

    fn stepped(self, steps: &'static str) -> Self {
        Self { steps: Some(steps), ..self }
    }

    fn at(self, epoch: i64) -> Self {
        Self { epoch, ..self }
    }
}
