//! Adjusting CLOCK_REALTIME: its rate, steps, and what the kernel tells others about it. Needs CAP_SYS_TIME,
//! but for [`read`].

use std::io;
use std::time::Duration;

use libc::{
    ADJ_ESTERROR, ADJ_FREQUENCY, ADJ_MAXERROR, ADJ_NANO, ADJ_SETOFFSET, ADJ_STATUS, ADJ_TAI, ADJ_TICK,
    STA_DEL, STA_INS, STA_NANO, STA_UNSYNC,
};

use super::check;

/// Frequency is in units of 2^-16 parts per million.
const FREQUENCY_UNIT: f64 = 1.0 / 65_536.0;

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
    /// Microseconds per tick of 10 ms: 10 000 but in a fast slew.
    pub tick: i64,
    /// What is added to the oscillator's own rate, in parts per million.
    pub frequency_ppm: f64,
    /// Whether the kernel is told that the clock follows a source.
    pub synchronised: bool,
    /// The leap second that it will insert or delete.
    pub leap: Leap,
    /// TAI − UTC in seconds; 0 if nobody told it.
    pub tai_offset: i32,
}

/// What the kernel does now; everybody may ask.
pub fn read() -> io::Result<Adjustment> {
    let state = adjust(&mut timex())?;
    Ok(Adjustment {
        tick: state.tick,
        frequency_ppm: state.freq as f64 * FREQUENCY_UNIT,
        synchronised: state.status & STA_UNSYNC == 0,
        leap: match state.status {
            status if status & STA_INS != 0 => Leap::Insert,
            status if status & STA_DEL != 0 => Leap::Delete,
            _ => Leap::None,
        },
        tai_offset: state.tai,
    })
}

/// All that the kernel says about its clock, for whoever wants to see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Inspection {
    /// What is left of the last offset that it was told, in seconds.
    pub offset: f64,
    /// Its frequency correction, in parts per million.
    pub frequency_ppm: f64,
    /// No error is larger.
    pub maximum_error: Duration,
    /// The error to be expected.
    pub estimated_error: Duration,
    /// STA_… bits.
    pub status: u32,
    /// The time constant of its own loop.
    pub time_constant: i64,
    /// What it can tell apart.
    pub precision: Duration,
    /// The bound of the frequency correction, in parts per million.
    pub tolerance_ppm: f64,
}

/// What the kernel says about its clock now; everybody may ask.
pub fn inspect() -> io::Result<Inspection> {
    let state = adjust(&mut timex())?;
    let offset_unit = if state.status & STA_NANO != 0 { 1e-9 } else { 1e-6 };
    let microseconds = |value: libc::c_long| Duration::from_micros(u64::try_from(value).unwrap_or_default());
    Ok(Inspection {
        offset: state.offset as f64 * offset_unit,
        frequency_ppm: state.freq as f64 * FREQUENCY_UNIT,
        maximum_error: microseconds(state.maxerror),
        estimated_error: microseconds(state.esterror),
        status: state.status as u32,
        time_constant: state.constant,
        precision: microseconds(state.precision),
        tolerance_ppm: state.tolerance as f64 * FREQUENCY_UNIT,
    })
}

/// Sets the length of a tick in microseconds, 9000 to 11 000, and the frequency correction in parts per
/// million, which the kernel bounds to ±500.
pub fn set_rate(tick: i32, frequency_ppm: f64) -> io::Result<()> {
    let mut request = timex();
    request.modes = ADJ_TICK | ADJ_FREQUENCY;
    request.tick = tick.into();
    request.freq = (frequency_ppm / FREQUENCY_UNIT).round() as libc::c_long;
    adjust(&mut request).map(drop)
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
        assert!((9_000..=11_000).contains(&now.tick), "{now:?}");
        assert!(now.frequency_ppm.abs() <= 500.0, "{now:?}");
    }
}
