//! The tier in the network driver, as the daemon runs it.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use tracing::warn;

use super::assemble::Plan;
use super::listen::WorkerSockets;
use super::{Failure, Options};
use crate::server::ServingState;
use crate::sys::clock::SetWatch;
use crate::sys::socket::ServeSocket;
use crate::xdp::{self, Feed, Tier};

/// The tier, and what it must be told.
pub(super) struct InDriver {
    tier: Tier,
    listening: Vec<SocketAddr>,
    clock_set: Arc<AtomicBool>,
}

/// Loads and attaches the program if the command line asks for it; this needs privileges, and nothing later
/// does.
pub(super) fn start(
    options: &Options,
    plan: &mut Plan,
    sockets: &WorkerSockets,
) -> Result<Option<InDriver>, Failure> {
    let Some(wanted) = &options.xdp else { return Ok(None) };
    let listening: Vec<SocketAddr> =
        sockets.first().iter().flat_map(|sockets| sockets.iter().map(ServeSocket::local)).collect();
    // The upper six bits are DSCP.
    let traffic_class = plan.dscp << 2;
    let serving = |feed: &Feed| {
        // The sockets must know the mark before the program writes it.
        plan.spent_mark = Some(feed.spent_mark());
        plan.serving_state()
    };
    match Tier::start(wanted, traffic_class, &listening, serving) {
        Ok(tier) => Ok(Some(InDriver { tier, listening, clock_set: Arc::default() })),
        Err(why) if wanted.required => Err(io::Error::other(format!("--xdp: {why}")).into()),
        Err(why) => {
            warn!("xdp: {why}; every request is answered by the sockets");
            Ok(None)
        }
    }
}

impl InDriver {
    /// From now on `waker` is written to when somebody sets the clock, or a leap second does.
    pub(super) fn watch_the_clock(self, mut waker: UnixStream) -> io::Result<Self> {
        let watch = SetWatch::new()?;
        let clock_set = Arc::clone(&self.clock_set);
        thread::Builder::new().name("clock-watch".to_owned()).spawn(move || {
            while watch.wait().is_ok() {
                clock_set.store(true, SeqCst);
                // A full pipe wakes the daemon thread as well.
                let _ = waker.write(&[0]);
            }
        })?;
        Ok(self)
    }

    /// The clock was set since the last call: what the program knows of it is wrong.
    pub(super) fn take_clock_set(&self) -> bool {
        self.clock_set.swap(false, SeqCst)
    }

    pub(super) fn look_around(&mut self) {
        self.tier.look_around(&self.listening);
    }

    pub(super) fn publish(&mut self, state: &ServingState) {
        self.tier.publish(state);
    }

    pub(super) fn view(&self) -> xdp::View {
        self.tier.view()
    }

    /// Where it is, for the readiness line.
    pub(super) fn places(&self) -> String {
        let place = |status: &xdp::InterfaceStatus| match status.mode {
            Some(mode) => format!("{} on {}", mode.name(), status.name),
            None => format!("not yet on {}", status.name),
        };
        self.view().interfaces.load().iter().map(place).collect::<Vec<_>>().join(", ")
    }
}
