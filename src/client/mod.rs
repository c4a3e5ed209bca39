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
//!
//! | file | what |
//! |---|---|
//! | `seam` | events, actions |
//! | `settings` | the configuration, as far as it concerns the client |
//! | `mobilise` | which associations there are |
//! | `names` | lines of the configuration, names, pools |
//! | `association` | one source: when it is asked, which replies count |
//! | `exchange` | one request and its reply |
//! | `poll` | how often |
//! | `estimator` | what one source's samples say about the clock |
//! | `select`, `cluster`, `combine` | which sources are believed, and what they say together |
//! | `discipline` | how the clock is moved |
//! | `virtual_clock` | a clock of our own, where the machine's may not be touched |
//! | `system`, `leap` | what is served |
//! | `steering` | from a sample to the clock |
//! | `view`, `history` | what mode 6 is told |

mod association;
mod cluster;
mod combine;
mod discipline;
pub mod estimator;
pub mod exchange;
mod history;
mod leap;
mod mobilise;
mod names;
mod poll;
mod seam;
mod select;
mod settings;
mod steering;
mod system;
#[cfg(test)]
mod tests;
mod units;
mod view;
mod virtual_clock;

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

use self::association::{Association, ClockFacts, Outcome};
use self::discipline::Discipline;
use self::estimator::Estimator;
use self::exchange::FLAWS;
use self::names::Line;
use self::system::System;
use self::units::seconds;
use self::virtual_clock::VirtualClock;
use crate::snapshot::SystemVariables;

/// RFC 5905 figure 6, PHI: how fast an error bound grows.
const PHI: f64 = 15e-6;

/// The two clocks of a [`Now`] are not read at the same instant; a difference that changes by more than this
/// is a step by somebody else, in seconds.
const JUMP: f64 = 0.02;

/// A wake-up that comes later than this is no busy machine, but a process that did not run, in seconds.
const LATE: f64 = 60.0;

/// The client's state.
pub struct Client {
    settings: Settings,
    random: Box<dyn FnMut() -> u64 + Send>,
    actions: VecDeque<Action>,
    lines: Vec<Line>,
    associations: Vec<Association>,
    discipline: Discipline,
    virtual_clock: Option<VirtualClock>,
    system: System,
    refused: Refused,
    processed: u64,
    /// The machine's clocks at the last event, and what we stepped since.
    last: Now,
    own_steps: f64,
    /// When the first reply came since the clock was known to be wrong.
    first_reply: Option<Duration>,
    kernel_told: Option<Duration>,
    drift_saved: Option<Duration>,
    combined: combine::Combined,
    next_line: usize,
    next_id: u16,
    next_query: u32,
    is_system_new: bool,
    is_view_new: bool,
}

/// Datagrams that were no usable replies, by what was wrong with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused(pub [u64; FLAWS]);

impl Client {
    /// A client that has just started. `random` must be unpredictable to the network: it makes the cookies
    /// that replies are told by.
    pub fn new(settings: Settings, random: Box<dyn FnMut() -> u64 + Send>, now: Now) -> Self {
        let mut client = Self {
            random,
            actions: VecDeque::new(),
            lines: Vec::new(),
            associations: Vec::new(),
            discipline: Discipline::new(settings.discipline, settings.drift_ppm, now.monotonic),
            virtual_clock: None,
            system: System::new(&settings, now.monotonic),
            refused: Refused::default(),
            processed: 0,
            last: now,
            own_steps: 0.0,
            first_reply: None,
            kernel_told: None,
            drift_saved: None,
            combined: combine::Combined::default(),
            next_line: 0,
            next_id: 1,
            next_query: 1,
            is_system_new: true,
            is_view_new: true,
            settings,
        };
        let follows = !client.settings.sources.is_empty();
        match client.discipline.control() {
            // A process that was killed may have left the clock in the middle of a slew.
            ClockControl::Kernel if follows => {
                client.actions.push_back(Action::Rate(client.discipline.rate()));
            }
            ClockControl::Virtual if follows => client.go_virtual(now),
            _ => {}
        }
        for source in client.settings.sources.clone() {
            client.add_line(source, now.monotonic);
        }
        client.timers(now);
        client.finish(now);
        client
    }

    /// Takes one event. What follows from it is then to be had from [`Client::next_action`].
    pub fn handle(&mut self, event: Event<'_>, machine: Now) {
        let now = self.enter(machine);
        match event {
            Event::Timer => {}
            Event::Received(datagram) => self.receive(datagram, now),
            Event::Unreachable(_) => {}
            Event::Resolved { query, addresses } => self.resolved(query, addresses, now.monotonic),
            Event::ClockRefused => {
                self.discipline.set_control(ClockControl::Virtual);
                self.go_virtual(machine);
            }
            Event::Reload(settings) => self.reload(*settings, now.monotonic),
        }
        self.timers(now);
        self.finish(now);
    }

    /// The next thing to be done, if there is one.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Event::Timer`] is due, on the machine's monotonic clock.
    pub fn wake_at(&self) -> Duration {
        let associations = self.associations.iter().filter_map(Association::wake_at);
        let names = self.lines.iter().filter_map(Line::wake_at);
        let others = [self.discipline.wake_at(), self.system.wake_at(&self.settings), self.leap_wake()];
        let earliest = associations.chain(names).chain(others.into_iter().flatten()).min();
        // Nothing to do: a minute is soon enough to look at the clock.
        let served = earliest.unwrap_or_else(|| self.last.monotonic + Duration::from_secs(64));
        self.virtual_clock.as_ref().map_or(served, |clock| clock.machine(served))
    }

    /// Whether somebody else has set the machine's clock since the last event: then [`Event::Timer`] is due
    /// at once, because what is served goes wrong with it.
    pub fn is_surprised(&self, machine: Now) -> bool {
        self.is_jump(self.jump(machine), machine)
    }

    /// What is served, once per [`Action::PublishSystem`].
    pub fn system(&self) -> SystemVariables {
        self.system.variables
    }

    /// What the drift file should say when the process ends, in parts per million; none if nothing was
    /// measured.
    pub fn drift_ppm(&self) -> Option<f64> {
        self.drift_saved.map(|_| self.discipline.rate().base_ppm)
    }

    /// Valid replies so far.
    pub fn processed(&self) -> u64 {
        self.processed
    }

    /// Datagrams that were no usable replies.
    pub fn refused(&self) -> Refused {
        self.refused
    }

    /// The kernel has refused a step that was asked for: the clock is where it was, and nobody else has taken
    /// the step back.
    pub fn not_stepped(&mut self, seconds: f64) {
        self.own_steps -= seconds;
    }

    /// What the machine's clocks show at an event, as served; and everybody's books brought up to it.
    fn enter(&mut self, machine: Now) -> Now {
        let jump = self.jump(machine);
        let is_jump = self.is_jump(jump, machine);
        let due = self.wake_at();
        self.own_steps = 0.0;
        self.last = machine;
        if is_jump && let Some(clock) = &mut self.virtual_clock {
            clock.jumped(jump, machine);
        }
        let now = self.virtual_clock.as_ref().map_or(machine, |clock| clock.now(machine));
        let late = units::between(machine.monotonic, due);
        let passed = self.discipline.advance(now.monotonic);
        for association in &mut self.associations {
            association.estimator.advance(passed.elapsed, passed.phase);
        }
        if is_jump {
            self.jumped(jump, now);
        } else if late > LATE && !self.associations.is_empty() {
            self.overslept(late, now);
        }
        now
    }

    /// What the machine's clock was set by since the last event, and not by us, in seconds.
    fn jump(&self, machine: Now) -> f64 {
        let realtime = seconds(i128::from(machine.realtime.signed_since(self.last.realtime)));
        realtime - units::between(machine.monotonic, self.last.monotonic) - self.own_steps
    }

    fn is_jump(&self, jump: f64, machine: Now) -> bool {
        jump.abs() > JUMP && !self.is_leap(jump, machine)
    }

    /// The process did not run for long. What the clock did meanwhile is known by its rate, and not well: it
    /// is measured anew, and may be stepped at once.
    fn overslept(&mut self, seconds: f64, now: Now) {
        self.actions.push_back(Action::Log(Notice::Overslept(seconds)));
        self.discipline.acquire();
        self.first_reply = None;
        for association in &mut self.associations {
            association.hurry(now.monotonic);
        }
    }

    /// Somebody else stepped the clock, or the machine was suspended: nothing is known about it any more but
    /// how fast it runs.
    fn jumped(&mut self, jump: f64, now: Now) {
        if self.associations.is_empty() {
            return;
        }
        self.actions.push_back(Action::Log(Notice::SteppedByOthers(jump)));
        self.discipline.jumped(jump);
        self.first_reply = None;
        for association in &mut self.associations {
            association.estimator.forget_phase();
            association.history.clear();
            association.hurry(now.monotonic);
        }
        self.system.distrust(now.monotonic);
        self.is_system_new = true;
    }

    fn receive(&mut self, mut datagram: Received<'_>, now: Now) {
        let Some(at) = self.associations.iter().position(|each| each.id == datagram.association) else {
            return;
        };
        if let Some(clock) = &self.virtual_clock {
            datagram.sent = clock.stamp(datagram.sent);
            datagram.received = clock.stamp(datagram.received);
        }
        let (slew, slew_since) = self.discipline.slew();
        let facts = ClockFacts {
            slew,
            slew_since,
            precision: self.settings.precision,
            is_sound: !self.is_leaping(now),
        };
        let outcome = self.associations[at].receive(&datagram, now, facts);
        self.is_view_new |= !matches!(outcome, Outcome::Nothing(_));
        let source = datagram.source;
        match outcome {
            Outcome::Nothing(flaw) => self.refused.0[flaw.index()] += 1,
            Outcome::Sample { verdict, is_new } => {
                self.processed += 1;
                self.first_reply.get_or_insert(now.monotonic);
                if is_new {
                    self.actions.push_back(Action::Log(Notice::Reachable(source)));
                }
                if verdict.is_taken() {
                    self.steer(at, verdict, now);
                } else {
                    self.survey(now);
                }
            }
            Outcome::SlowDown => {
                let poll = self.associations[at].poll.exponent();
                self.actions.push_back(Action::Log(Notice::RateExceeded(source, poll)));
            }
            Outcome::Stop(code) => {
                self.actions.push_back(Action::Log(Notice::Denied(source, code)));
                self.actions.push_back(Action::Close(datagram.association));
                self.denied(at, source.ip(), now.monotonic);
                self.survey(now);
            }
        }
    }

    /// Everything that is due by `now`.
    fn timers(&mut self, now: Now) {
        self.discipline_timer(now);
        self.leap_timer(now);
        let mut lost = false;
        for at in (0..self.associations.len()).rev() {
            let association = &mut self.associations[at];
            let (request, became_unreachable) = association.timer(now.monotonic, &mut self.random);
            if let Some(request) = request {
                self.actions.push_back(Action::Send(request));
                self.is_view_new = true;
            }
            if became_unreachable {
                lost = true;
                if let Some(address) = self.associations[at].address() {
                    self.actions.push_back(Action::Log(Notice::Unreachable(address)));
                }
            }
        }
        if lost {
            self.survey(now);
        }
        self.pass_over_members(now.monotonic);
        self.look_names_up(now.monotonic);
        if let Some(stratum) = self.system.stand_alone(&self.settings, now) {
            self.actions.push_back(Action::Log(Notice::OnOurOwn(stratum)));
            self.is_system_new = true;
        } else if self.system.authority == system::Authority::Ourselves {
            self.is_system_new = true;
        }
    }

    /// The last thing of every event: what became new is to be published.
    fn finish(&mut self, now: Now) {
        self.tell_kernel(now);
        if std::mem::take(&mut self.is_system_new) {
            self.actions.push_back(Action::PublishSystem);
        }
        if std::mem::take(&mut self.is_view_new) {
            self.actions.push_back(Action::PublishAssociations);
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("associations", &self.associations)
            .field("system", &self.system)
            .finish_non_exhaustive()
    }
}
