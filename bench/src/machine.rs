//! What a figure was measured on; without it a figure means nothing.

use std::fmt;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// The machine and the moment.
#[derive(Clone, Debug)]
pub struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
    load: String,
    date: String,
}

impl Machine {
    /// Looks around; what cannot be found out is called unknown.
    pub fn here() -> Self {
        let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line =
                cpu_info.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
            line.unwrap_or("unknown CPU").trim().to_owned()
        };
        let date = Command::new("date").args(["-u", "+%F %H:%M UTC"]).output();
        Self {
            cpu: field("model name"),
            cores: cpu_info.lines().filter(|line| line.starts_with("processor")).count(),
            kernel: first_words("/proc/sys/kernel/osrelease", 1),
            load: first_words("/proc/loadavg", 1),
            date: date
                .map_or_else(|_| unknown(), |date| String::from_utf8_lossy(&date.stdout).trim().to_owned()),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, cores, kernel, load, date } = self;
        write!(f, "{cpu}, {cores} cores, Linux {kernel}, {date}, load average before {load}")
    }
}

/// How long so far this machine's host has kept a core from it while it had work, the mean over its cores; in
/// hundredths of a second. Nothing where the host does not say.
pub fn stolen() -> Duration {
    let times = fs::read_to_string("/proc/stat").unwrap_or_default();
    let cores = times.lines().filter(|line| line.starts_with("cpu")).skip(1);
    let ticks = |core: &str| core.split_whitespace().nth(8)?.parse::<u64>().ok();
    let (count, sum) =
        cores.filter_map(ticks).fold((0, 0), |(count, sum): (u32, u64), ticks| (count + 1, sum + ticks));
    Duration::from_millis(10 * sum) / count.max(1)
}

fn first_words(path: &str, count: usize) -> String {
    let text = fs::read_to_string(path).unwrap_or_else(|_| unknown());
    text.split_whitespace().take(count).collect::<Vec<_>>().join(" ")
}

fn unknown() -> String {
    "unknown".to_owned()
}
