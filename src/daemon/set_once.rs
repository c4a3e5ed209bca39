//! `ntpd -q`: sets the clock by the first sources that agree, serves nobody, and ends.

use std::io;
use std::time::Instant;

use tracing::info;

use super::assemble::Plan;
use super::client_loop::{self, ClientLoop};
use super::kernel_clock::KernelClock;
use super::signals::Signals;
use super::{Failure, Options, privileges};
use crate::limits;

/// A slew is done when so little is left of it, in seconds: far less than a first measurement knows.
const SETTLED: f64 = 100e-6;

/// Ends well only if the clock was set.
pub(super) fn run(options: &Options, plan: Plan, signals: &Signals) -> Result<(), Failure> {
    let keys = plan.keys();
    let Plan { mut settings, dscp, .. } = plan;
    if settings.sources.is_empty() {
        return Err(Failure::Usage(
            "-q: there is no server, pool or peer line to set the clock by".to_owned(),
        ));
    }
    if !client_loop::wants_clock(&settings) {
        return Err(Failure::Usage("-q sets the clock, which \"disable ntp\" forbids".to_owned()));
    }
    // Nobody waits for the second poll of a source, and our own clock is what is to be set.
    settings.sources.iter_mut().for_each(|source| source.options.iburst = true);
    settings.local_clock = None;
    let clock = KernelClock::take_over(settings.drift_ppm.unwrap_or_default()).map_err(refused)?;
    let identity = privileges::resolve(options.user.as_deref())?;
    privileges::give_up(identity.as_ref(), true)?;
    // From here on a signal must not end the process in the middle of a slew.
    signals.started();
    let mut client = ClientLoop::new(settings, Some(clock), None, keys, dscp, signals.waker()?)?;
    let outcome = set(&mut client, signals);
    client.finish();
    outcome
}

/// Turns until the clock is right.
fn set(client: &mut ClientLoop, signals: &Signals) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut is_measured = false;
    loop {
        client.turn(signals.sleep(), limits::CLIENT_TICK)?;
        signals.awake();
        let discipline = client.following().discipline;
        if signals.terminate() {
            return Err(not_set("stopped by a signal"));
        }
        if !client.is_obeyed() {
            return Err(not_set("the kernel refused to do so (see above)"));
        }
        if discipline.system_peer == 0 {
            if begun.elapsed() > limits::SET_ONCE_PATIENCE {
                return Err(not_set(&format!(
                    "no source that can be followed within {} s: ntpring query HOST shows what one says",
                    limits::SET_ONCE_PATIENCE.as_secs()
                )));
            }
        } else if discipline.offset.abs() < SETTLED {
            info!("the clock is set");
            return Ok(());
        } else if !is_measured {
            is_measured = true;
            info!("the clock is off by {:+.6} s: slewed", discipline.offset);
        }
    }
}

fn refused(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::PermissionDenied => not_set(
            "this process may not: run it as root, or sudo setcap cap_sys_time=+ep $(command -v ntpring)",
        ),
        _ => not_set(&error.to_string()),
    }
}

fn not_set(why: &str) -> Failure {
    Failure::RunTime(io::Error::other(format!("the clock is not set: {why}")))
}
