//! The client: follows other servers (RFC 5905's peer, poll, system and clock discipline processes).
//!
//! All of it is state machines: an [`Event`] and the time go in, [`Action`]s come out. It makes no system
//! call, reads no clock and takes its randomness from whoever drives it, so the simulator runs in seconds
//! what the daemon does in days.
//!
//! ```text
//! loop {
//!     wait for a socket, a resolver's answer, a signal, or client.wake_at()
//!     client.handle(event, now);
//!     while let Some(action) = client.next_action() { do it }
//! }
//! ```

mod seam;
mod settings;

pub use seam::{
    Action, AssociationId, ClockRate, Event, KernelStatus, Notice, Now, Received, Request, StampKind,
};
pub use settings::{
    ClockControl, DisciplineSettings, Family, Host, LeapSecond, SelectionSettings, Settings, Source,
    SourceOptions,
};

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::snapshot::{Association, Discipline, SystemVariables};

/// The client's state.
pub struct Client {
    settings: Settings,
    random: Box<dyn FnMut() -> u64 + Send>,
    actions: VecDeque<Action>,
    system: SystemVariables,
    discipline: Discipline,
    wake_at: Duration,
}

impl Client {
    /// A client that has just started. `random` must be unpredictable to the network: it makes the cookies
    /// that replies are told by.
    pub fn new(settings: Settings, random: Box<dyn FnMut() -> u64 + Send>, now: Now) -> Self {
        Self {
            system: SystemVariables::unsynchronised(settings.precision),
            settings,
            random,
            actions: VecDeque::new(),
            discipline: Discipline::default(),
            wake_at: now.monotonic,
        }
    }

    /// Takes one event. What follows from it is then to be had from [`Client::next_action`].
    pub fn handle(&mut self, _event: Event<'_>, now: Now) {
        let _ = ((self.random)(), &self.settings);
        self.wake_at = now.monotonic + Duration::from_secs(1);
    }

    /// The next thing to be done, if there is one.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Event::Timer`] is due, on the monotonic clock.
    pub fn wake_at(&self) -> Duration {
        self.wake_at
    }

    /// What is served, once per [`Action::PublishSystem`].
    pub fn system(&self) -> SystemVariables {
        self.system
    }

    /// What mode 6 tells about the associations, once per [`Action::PublishAssociations`].
    pub fn associations(&self) -> Vec<Association> {
        Vec::new()
    }

    /// What mode 6 tells about the clock discipline, once per [`Action::PublishAssociations`].
    pub fn discipline(&self) -> Discipline {
        self.discipline
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("system", &self.system).finish_non_exhaustive()
    }
}
