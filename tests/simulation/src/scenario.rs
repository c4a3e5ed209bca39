//! Scenarios as data.

use ntpring::client::{ClockControl, Settings, SourceOptions};

use crate::clock::Oscillator;
use crate::path::{Path, Weather};
use crate::server::Server;

/// Something that happens to the machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Happening {
    /// Somebody steps the clock.
    Step(f64),
    /// The process does not run for so many seconds, and the clock does.
    Suspend(f64),
    /// The machine sleeps for so many seconds; the clock comes back with this error.
    Sleep(f64, f64),
}

/// All that a run depends on, but for the seed.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is called in the table.
    pub name: &'static str,
    /// How long it runs, in seconds.
    pub seconds: f64,
    /// The true time at its start, since 1970.
    pub epoch: i64,
    /// The machine's oscillator.
    pub oscillator: Oscillator,
    /// Local − true at the start.
    pub initial_error: f64,
    /// The servers.
    pub servers: Vec<Server>,
    /// Whether they are found by the name of a pool, instead of by their addresses.
    pub is_pool: bool,
    /// What stands in their lines.
    pub options: SourceOptions,
    /// What else is configured.
    pub settings: Settings,
    /// Whose clock is corrected.
    pub control: ClockControl,
    /// What happens, in order of time.
    pub happenings: Vec<(f64, Happening)>,
    /// When UTC inserts a second.
    pub leap: Option<f64>,
}

/// What the peers reach in a scenario, published medians: root mean square of the error in seconds after
/// 10 000 s, and seconds per packet.
#[derive(Clone, Copy, Debug)]
pub struct Peers {
    /// chrony 4.
    pub chrony: f64,
    /// chrony's packet interval, where it was published.
    pub chrony_interval: Option<f64>,
    /// ntpd 4.2.8.
    pub ntpd: f64,
    /// The algorithm of ntpd-rs 1.9.
    pub ntpd_rs: f64,
    /// What we want to reach.
    pub goal: Option<f64>,
}

/// 2027-01-15T08:00:00Z.
const EPOCH: i64 = 1_800_000_000;

impl Scenario {
    /// `server X iburst` over this path, 0.1 s and 100 ppm off at the start.
    pub fn new(name: &'static str, path: Path) -> Self {
        Self {
            name,
            seconds: 40_000.0,
            epoch: EPOCH,
            oscillator: Oscillator { frequency: 100e-6, wander: 1e-9, sine: None },
            initial_error: 0.1,
            servers: vec![Server::new(path)],
            is_pool: false,
            options: SourceOptions { iburst: true, ..SourceOptions::default() },
            settings: Settings::default(),
            control: ClockControl::Kernel,
            happenings: Vec::new(),
            leap: None,
        }
    }

    /// With these limits of the poll interval, log2 seconds.
    pub fn poll(mut self, minpoll: u8, maxpoll: u8) -> Self {
        (self.options.minpoll, self.options.maxpoll) = (minpoll, maxpoll);
        self
    }

    /// With an oscillator that wanders so much.
    pub fn wander(mut self, wander: f64) -> Self {
        self.oscillator.wander = wander;
        self
    }
}

/// A local network.
pub const LAN: Path = Path::new(1e-4, 1e-4);
/// The Internet.
pub const WAN: Path = Path::new(1e-2, 1e-3);
const METRO: Path = Path::new(1e-3, 1e-4);

/// The scenarios that the peers were measured in.
pub fn published() -> Vec<(Scenario, Peers)> {
    let peers = |chrony, interval, ntpd, ntpd_rs, goal| Peers {
        chrony,
        chrony_interval: interval,
        ntpd,
        ntpd_rs,
        goal,
    };
    let us = 1e-6;
    vec![
        (Scenario::new("lan", LAN), peers(107.0 * us, Some(532.0), 207.0 * us, 40.0 * us, Some(60.0 * us))),
        (
            Scenario::new("lan, poll 16 s", LAN).poll(4, 4),
            peers(11.3 * us, Some(16.0), 14.4 * us, 22.7 * us, Some(9.0 * us)),
        ),
        (
            Scenario::new("quiet, poll 4-6", Path::new(5e-5, 1e-5)).poll(4, 6),
            peers(5.5 * us, Some(63.0), 16.2 * us, 4.9 * us, Some(4.0 * us)),
        ),
        (Scenario::new("wan", WAN), peers(346.0 * us, Some(615.0), 480.0 * us, 352.0 * us, None)),
        (
            Scenario::new("wan, poll 64 s", WAN).poll(6, 6),
            peers(100.0 * us, Some(64.0), 148.0 * us, 204.0 * us, Some(80.0 * us)),
        ),
        (
            Scenario::new("bad wan", Path::new(2e-2, 1e-2)),
            peers(1610.0 * us, Some(615.0), 3970.0 * us, 1950.0 * us, None),
        ),
        (
            Scenario::new("wander 1e-8", LAN).wander(1e-8),
            peers(109.0 * us, Some(149.0), 2080.0 * us, 68.0 * us, Some(80.0 * us)),
        ),
        (
            Scenario::new("wander 1e-7, poll 4-10", LAN).wander(1e-7).poll(4, 10),
            peers(115.0 * us, Some(33.0), 19_900.0 * us, 83.0 * us, None),
        ),
        (
            Scenario::new("congestion", Path { weather: Weather::Bursts(5e-3), ..METRO }).poll(4, 6),
            peers(86.0 * us, None, 183.0 * us, 490.0 * us, Some(86.0 * us)),
        ),
        (
            Scenario::new("symmetric steps", Path { weather: Weather::SymmetricSteps(2e-3), ..METRO })
                .poll(4, 6),
            peers(104.0 * us, None, 24.0 * us, 38.0 * us, Some(60.0 * us)),
        ),
        (
            Scenario::new("15 % loss", Path { loss: 0.15, ..LAN }).poll(4, 6),
            peers(25.8 * us, None, 26.0 * us, 41.7 * us, None),
        ),
    ]
}
