//! Adjusting CLOCK_REALTIME: its rate, steps, and what the kernel tells others about it. Needs CAP_SYS_TIME,
//! but for [`read`].

use std::io;
use std::time::Duration;

use libc::{
    ADJ_ESTERROR, ADJ_FREQUENCY, ADJ_MAXERROR, ADJ_NANO, ADJ_SETOFFSET, ADJ_STATUS, ADJ_TAI, ADJ_TICK,
    STA_DEL, STA_INS, STA_UNSYNC,
};

use super::check;

/// Microseconds per tick of a clock that runs at its own rate (USER_HZ is 100 everywhere).
const TICK: libc::c_long = 10_000;

/// What one unit of the tick changes the rate by.
const TICK_UNIT: f64 = 1.0 / TICK as f64;

/// The kernel takes a tick that is up to so far away from 10 000.
const TICK_REACH: libc::c_long = TICK / 10;

/// Frequency is in units of 2^-16 parts per million.
const FREQUENCY_UNIT: f64 = 1e-6 / 65_536.0;

/// The kernel's own bound of the frequency, 500 ppm.
pub const FREQUENCY_MAX: f64 = 500e-6;

/// The largest rate that a frequency and a tick can make together.
pub const RATE_MAX: f64 = FREQUENCY_MAX + TICK_REACH as f64 * TICK_UNIT;

/// A leap second at the end of the day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leap {
    /// None.
    #[default]
    None,
    /// 23:59:59 comes twice.
    Insert,
    /// 23:59:59 does not come.
    Delete,
}

/// How the clock is doing, for whoever asks the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Status {
    /// Whether it follows a source.
    pub synchronised: bool,
    /// What comes at the end of the day.
    pub leap: Leap,
    /// No error is larger.
    pub maximum_error: Duration,
    /// The error to be expected.
    pub estimated_error: Duration,
}

/// What the kernel does to the clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adjustment {
    /// The rate that is added to the oscillator's own, as a fraction: frequency and tick together.
    pub rate: f64,
    /// Whether the tick is part of that.
    pub is_slewing: bool,
    /// Whether the kernel is told that the clock follows a source.
    pub synchronised: bool,
    /// The leap second that it will insert or delete.
    pub leap: Leap,
    /// TAI − UTC in seconds; 0 if nobody told it.
    pub tai_offset: i32,
}

/// What the kernel does now.
pub fn read() -> io::Result<Adjustment> {
    let state = adjust(&mut timex())?;
    Ok(Adjustment {
        rate: state.freq as f64 * FREQUENCY_UNIT + (state.tick - TICK) as f64 * TICK_UNIT,
        is_slewing: state.tick != TICK,
        synchronised: state.status & STA_UNSYNC == 0,
        leap: match state.status {
            status if status & STA_INS != 0 => Leap::Insert,
            status if status & STA_DEL != 0 => Leap::Delete,
            _ => Leap::None,
        },
        tai_offset: state.tai,
    })
}

/// Adds `rate`, a fraction, to the rate of the oscillator; returns what it became: the kernel rounds, and
/// bounds. The tick is used only where the frequency does not suffice.
pub fn set_rate(rate: f64) -> io::Result<f64> {
    let (tick, frequency) = split(rate);
    let mut request = timex();
    request.modes = ADJ_TICK | ADJ_FREQUENCY;
    request.tick = tick;
    request.freq = frequency;
    let state = adjust(&mut request)?;
    Ok(state.freq as f64 * FREQUENCY_UNIT + (state.tick - TICK) as f64 * TICK_UNIT)
}

/// Moves the clock by so many nanoseconds at once. The kernel forgets the status with it.
pub fn step(nanoseconds: i128) -> io::Result<()> {
    let mut request = timex();
    request.modes = ADJ_SETOFFSET | ADJ_NANO;
    request.time.tv_sec = nanoseconds
        .div_euclid(1_000_000_000)
        .try_into()
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // With ADJ_NANO they are nanoseconds; never negative.
    request.time.tv_usec = nanoseconds.rem_euclid(1_000_000_000) as libc::suseconds_t;
    adjust(&mut request).map(drop)
}

/// Tells the kernel how the clock is doing.
pub fn set_status(status: Status) -> io::Result<()> {
    let microseconds = |error: Duration| error.as_micros().try_into().unwrap_or(libc::c_long::MAX);
    let mut request = timex();
    request.modes = ADJ_STATUS | ADJ_MAXERROR | ADJ_ESTERROR;
    request.status = match status.leap {
        Leap::None => 0,
        Leap::Insert => STA_INS,
        Leap::Delete => STA_DEL,
    };
    if !status.synchronised {
        request.status |= STA_UNSYNC;
    }
    request.maxerror = microseconds(status.maximum_error);
    request.esterror = microseconds(status.estimated_error);
    adjust(&mut request).map(drop)
}

/// Tells the kernel TAI − UTC, in seconds.
pub fn set_tai_offset(seconds: i32) -> io::Result<()> {
    let mut request = timex();
    request.modes = ADJ_TAI;
    request.constant = seconds.into();
    adjust(&mut request).map(drop)
}

/// The tick and the frequency that together are nearest to a rate.
fn split(rate: f64) -> (libc::c_long, libc::c_long) {
    let rate = rate.clamp(-RATE_MAX, RATE_MAX);
    let ticks = if rate.abs() <= FREQUENCY_MAX { 0.0 } else { (rate / TICK_UNIT).round() };
    let ticks = ticks.clamp(-(TICK_REACH as f64), TICK_REACH as f64);
    let frequency = ((rate - ticks * TICK_UNIT) / FREQUENCY_UNIT).round();
    (TICK + ticks as libc::c_long, frequency as libc::c_long)
}

fn timex() -> libc::timex {
    // SAFETY: timex is a C struct of integers; all zeroes asks for nothing to be changed.
    unsafe { std::mem::zeroed() }
}

/// Makes the call, and hands over what the kernel says afterwards.
fn adjust(request: &mut libc::timex) -> io::Result<libc::timex> {
    // SAFETY: `request` is a live timex, borrowed exclusively for the call.
    check(unsafe { libc::clock_adjtime(libc::CLOCK_REALTIME, &raw mut *request) })?;
    Ok(*request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_does_can_be_read_by_everybody() {
        let now = read().unwrap();
        assert!(now.rate.abs() <= RATE_MAX, "{now:?}");
    }

    #[test]
    fn the_tick_moves_only_beyond_500_ppm_and_the_frequency_mends_its_coarseness() {
        for (rate, ticks) in [(0.0, 0), (500e-6, 0), (-500e-6, 0), (501e-6, 5), (-0.083, -830), (1.0, 1000)] {
            let (tick, frequency) = split(rate);
            assert_eq!(tick - TICK, ticks, "{rate}");
            let made = (tick - TICK) as f64 * TICK_UNIT + frequency as f64 * FREQUENCY_UNIT;
            assert!((made - rate.clamp(-RATE_MAX, RATE_MAX)).abs() <= FREQUENCY_UNIT, "{rate}: {made}");
            assert!(frequency.abs() <= 500 << 16, "{rate}: {frequency}");
        }
    }
}
