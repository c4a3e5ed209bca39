//! The tier in the network driver, as the daemon runs it.

use std::io;
use std::net::SocketAddr;

use tracing::warn;

use super::assemble::Plan;
use super::listen::WorkerSockets;
use super::{Failure, Options};
use crate::server::ServingState;
use crate::snapshot::SystemVariables;
use crate::sys::socket::ServeSocket;
use crate::xdp::{self, Feed, Tier};

/// The tier, and what it must be told.
pub(super) struct InDriver {
    tier: Tier,
    listening: Vec<SocketAddr>,
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
        // Until the client has said what is served.
        plan.serving_state(SystemVariables::unsynchronised(plan.settings.precision))
    };
    match Tier::start(wanted, traffic_class, &listening, serving) {
        Ok(tier) => Ok(Some(InDriver { tier, listening })),
        Err(why) if wanted.required => Err(io::Error::other(format!("--xdp: {why}")).into()),
        Err(why) => {
            warn!("xdp: {why}; every request is answered by the sockets");
            Ok(None)
        }
    }
}

impl InDriver {
    pub(super) fn look_around(&mut self) {
        self.tier.look_around(&self.listening);
    }

    /// Whether the kernel was told something about leap seconds that the program does not know; nothing wakes
    /// anybody for that.
    pub(super) fn is_leap_new(&self) -> bool {
        self.tier.is_leap_new()
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
