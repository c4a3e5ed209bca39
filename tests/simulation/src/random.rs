//! Random numbers of the distributions that clocks and networks have.

use fastrand::Rng;

/// A generator for one purpose of one run: adding another purpose changes none of the others.
pub fn generator(seed: u64, purpose: &str) -> Rng {
    let mixed = purpose.bytes().fold(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15), |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    Rng::with_seed(mixed)
}

/// Mean 1.
pub fn exponential(rng: &mut Rng) -> f64 {
    -(1.0 - rng.f64()).ln()
}

/// Mean 0, variance 1.
pub fn normal(rng: &mut Rng) -> f64 {
    (2.0 * exponential(rng)).sqrt() * (std::f64::consts::TAU * rng.f64()).cos()
}
