//! The way to a server and back.

use fastrand::Rng;

use crate::random::exponential;

/// What happens to packets, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Path {
    /// Shortest time of one direction.
    pub base: f64,
    /// Mean of the exponential wait of one direction, on top of it.
    pub jitter: f64,
    /// Share of packets that are lost, per direction.
    pub loss: f64,
    /// Stamps are late by a uniform time of up to so much.
    pub stamp_noise: f64,
    /// What else happens.
    pub weather: Weather,
}

/// What else happens on a path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weather {
    /// Nothing.
    Calm,
    /// One direction gets an exponential wait of this mean for 40 of every 240 packets.
    Bursts(f64),
    /// Both directions take so much longer for 100 packets, then not for 100.
    SymmetricSteps(f64),
    /// The way there takes so much longer from a time on, and the way back does not.
    RouteStep(f64, f64),
    /// Congestion that comes and goes: a queue of this mean in one direction, half the time, minutes long.
    Queue(f64),
}

impl Path {
    /// A path without loss or weather, whose stamps are exact.
    pub const fn new(base: f64, jitter: f64) -> Self {
        Self { base, jitter, loss: 0.0, stamp_noise: 0.0, weather: Weather::Calm }
    }

    /// Times there and back of the packet number `count`, sent at `time`; none if it is lost.
    pub fn cross(&self, count: u64, time: f64, rng: &mut Rng) -> Option<(f64, f64)> {
        let mut there = self.base + self.jitter * exponential(rng);
        let mut back = self.base + self.jitter * exponential(rng);
        let is_lost = rng.f64() < self.loss || rng.f64() < self.loss;
        match self.weather {
            Weather::Calm => {}
            Weather::Bursts(mean) => {
                let wait = mean * exponential(rng);
                if count % 240 < 40 {
                    there += wait;
                }
            }
            Weather::SymmetricSteps(step) => {
                if count % 200 < 100 {
                    there += step;
                    back += step;
                }
            }
            Weather::RouteStep(from, step) => {
                if time >= from {
                    there += step;
                }
            }
            Weather::Queue(mean) => {
                // Two slow waves without a common period: the queue is correlated over minutes.
                let wave = (time / 97.0).sin() + (time / 211.0).sin();
                back += mean * wave.max(0.0) * (0.5 + 0.5 * exponential(rng));
            }
        }
        (!is_lost).then_some((there, back))
    }
}
