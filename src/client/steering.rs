//! From a sample to the clock: who is believed, what they say together, and what is done about it.

use std::collections::VecDeque;

use super::association::PeerEvent;
use super::combine::{Combined, combine};
use super::discipline::Correction;
use super::estimator::{Estimator, Verdict};
use super::seam::{Action, KernelStatus, Notice, Now};
use super::select::{Candidate, truechimers};
use super::settings::ClockControl;
use super::system::{Authority, Following, SystemEvent, reference_id};
use super::units::{after, between, precision_seconds, short_seconds, units};
use super::virtual_clock::VirtualClock;
use super::{Association, Client, PHI, cluster, leap};
use crate::snapshot::{Selection, VirtualClock as Mapping};
use crate::wire::{LeapIndicator, NtpTimestamp};

/// From its third sample on a source's frequency is believed.
const FREQUENCY_FROM: u32 = 3;

/// Before the clock is set for the first time, more than half of all sources must agree; but for those that
/// do not answer nobody waits longer than this, in seconds from the first reply.
const QUORUM_WAIT: f64 = 7.0;

/// The kernel lets its error bound grow, and says STA_UNSYNC in the end: it is told again so often, in
/// seconds.
const KERNEL_REFRESH: f64 = 256.0;

/// By when after midnight the kernel has certainly had a tick, in seconds.
const KERNEL_TICK: f64 = 0.5;

/// The drift file is written once an hour, as soon as the frequency is known so well, in seconds per
/// second.
const DRIFT_REFRESH: f64 = 3600.0;
const DRIFT_KNOWN: f64 = 2e-6;

/// Who is followed, as indices into the associations.
pub(super) struct Survey {
    peer: usize,
    survivors: Vec<usize>,
    combined: Combined,
}

impl Client {
    /// The machine's clock may not be touched: from here on there is one of our own.
    pub(super) fn go_virtual(&mut self, machine: Now) {
        if self.virtual_clock.is_none() {
            self.virtual_clock = Some(VirtualClock::new(machine));
            self.actions.push_back(Action::Log(Notice::VirtualClock));
        }
    }

    /// An association took a sample.
    pub(super) fn steer(&mut self, at: usize, verdict: Verdict, now: Now) {
        let Some(survey) = self.survey(now) else { return };
        if !survey.survivors.contains(&at) || !self.has_quorum(&survey, now) {
            return;
        }
        if verdict == Verdict::Restarted {
            self.discipline.hurry();
        }
        self.combined = survey.combined;
        let estimate = survey.combined.estimate;
        let frequency = survey.combined.has_frequency.then_some(estimate.frequency);
        let mut actions = VecDeque::new();
        let is_peer = at == survey.peer;
        let correction =
            self.discipline.correct(estimate.error, frequency, is_peer, now.monotonic, &mut actions);
        if actions.iter().any(|action| matches!(action, Action::Panic(_))) {
            self.system.note(SystemEvent::PanicStop);
        }
        let now = self.apply(correction, actions, now);
        if correction.is_corrected {
            self.follow(&survey, now);
            self.save_drift(now);
        } else if self.discipline.is_waiting_to_step() {
            self.associations[at].ask_soon(now.monotonic);
        }
    }

    /// Before the clock is set for the first time nobody is known to be right: the first reply must not
    /// decide alone what a majority can.
    fn has_quorum(&self, survey: &Survey, now: Now) -> bool {
        let counted = |each: &&Association| !each.options.noselect && !each.is_stopped;
        let expected = self.associations.iter().filter(counted).count();
        self.discipline.is_set()
            || survey.survivors.len() * 2 > expected
            || self.first_reply.is_some_and(|first| between(now.monotonic, first) >= QUORUM_WAIT)
    }

    /// Tells everybody what was done to the clock, and returns what it shows now.
    fn apply(&mut self, correction: Correction, actions: VecDeque<Action>, now: Now) -> Now {
        for association in &mut self.associations {
            association.estimator.change_frequency(correction.frequency);
            if correction.step != 0.0 {
                association.estimator.advance(0.0, correction.step);
                association.history.shift(correction.step);
                association.void_exchange();
            }
        }
        for action in actions {
            match (&mut self.virtual_clock, &action) {
                (Some(clock), Action::Step(by)) => clock.step(*by, self.last),
                (Some(clock), Action::Rate(rate)) => clock.set_gain(rate.gain(), self.last),
                (None, Action::Step(by)) => {
                    self.own_steps += by;
                    self.actions.push_back(action);
                }
                _ => self.actions.push_back(action),
            }
        }
        if correction.step != 0.0 {
            self.system.note(SystemEvent::ClockStep);
        }
        self.map_clock();
        Now { realtime: now.realtime.offset_by(super::units::units(correction.step)), ..now }
    }

    /// Workers see the virtual clock as it is now.
    fn map_clock(&mut self) {
        let mapping = self.virtual_clock.as_ref().map_or(Mapping::IDENTITY, VirtualClock::mapping);
        if self.system.variables.clock != mapping {
            self.system.variables.clock = mapping;
            self.is_system_new = true;
        }
    }

    pub(super) fn discipline_timer(&mut self, now: Now) {
        let mut actions = VecDeque::new();
        let correction = self.discipline.timer(now.monotonic, &mut actions);
        if !actions.is_empty() {
            self.apply(correction, actions, now);
        }
    }

    /// Looks at all sources anew, and marks each with what becomes of it.
    pub(super) fn survey(&mut self, now: Now) -> Option<Survey> {
        let fit: Vec<usize> = (0..self.associations.len()).filter(|at| self.is_fit(*at, now)).collect();
        let candidates: Vec<Candidate> = fit.iter().map(|at| self.candidate(*at, now)).collect();
        let members = truechimers(&candidates, self.settings.selection.mindist);
        let is_sane = members.len() >= self.settings.selection.minsane;
        let survivors = if is_sane {
            cluster::survivors(&candidates, &members, self.settings.selection.minclock)
        } else {
            Vec::new()
        };
        let kept = &survivors[..survivors.len().min(self.settings.selection.maxclock)];
        let peer = self.choose(&candidates, kept, &fit);
        for association in &mut self.associations {
            association.selection = Selection::Rejected;
        }
        for (place, at) in fit.iter().enumerate() {
            self.associations[*at].selection = match () {
                () if peer == Some(place) => Selection::SystemPeer,
                () if kept.contains(&place) => Selection::Candidate,
                () if survivors.contains(&place) => Selection::Excess,
                () if members.contains(&place) => Selection::Outlier,
                () => Selection::Falseticker,
            };
        }
        self.is_view_new = true;
        self.tell_the_useless(&fit, peer.is_some());
        let Some(peer) = peer else {
            self.lose_sources(now);
            return None;
        };
        // `prefer`: if such sources survive, they alone count.
        let preferred: Vec<usize> =
            kept.iter().copied().filter(|place| candidates[*place].is_preferred).collect();
        let counted = if preferred.is_empty() { kept } else { &preferred };
        let combined = combine(&candidates, counted);
        let survivors = counted.iter().map(|place| fit[*place]).collect();
        Some(Survey { peer: fit[peer], survivors, combined })
    }

    /// Marks those that are no help to anybody. Without a majority nobody knows who is wrong; and who follows
    /// the system peer is as good as that one.
    fn tell_the_useless(&mut self, fit: &[usize], is_followed: bool) {
        for at in 0..self.associations.len() {
            let association = &self.associations[at];
            let is_far = !fit.contains(&at)
                && association.reach != 0
                && !association.options.noselect
                && !self.is_loop(association);
            let is_useless = is_followed && (is_far || association.selection == Selection::Falseticker);
            self.associations[at].is_useless = is_useless;
        }
    }

    /// The system peer: one that is preferred, or the one that was it before unless another is of a lower
    /// stratum, or the best.
    fn choose(&self, candidates: &[Candidate], kept: &[usize], fit: &[usize]) -> Option<usize> {
        let best = *kept.first()?;
        let preferred = kept.iter().copied().find(|place| candidates[*place].is_preferred);
        let before = kept.iter().copied().find(|place| {
            Some(self.associations[fit[*place]].id) == self.system.peer
                && candidates[*place].stratum <= candidates[best].stratum
        });
        preferred.or(before).or(Some(best))
    }

    fn lose_sources(&mut self, now: Now) {
        if self.system.peer.is_some() {
            self.actions.push_back(Action::Log(Notice::NoSource));
            self.system.note(SystemEvent::NoSystemPeer);
        }
        self.system.lose(now.monotonic);
    }

    /// RFC 5905 §11.2.1's and A.5.5.3's reasons not to look at a source at all.
    fn is_fit(&self, at: usize, now: Now) -> bool {
        let association = &self.associations[at];
        !association.options.noselect
            && association.reach != 0
            && association.estimator.samples() > 0
            && !association.history.is_empty()
            && association.server.stratum < 15
            && association.server.leap != LeapIndicator::Unsynchronised
            && !self.is_loop(association)
            && self.distance(association, now) <= self.settings.selection.maxdist
    }

    /// Whether the source takes its time from us, or from whom we take it too. Addresses of reference
    /// clocks and of orphans are the same everywhere and tell nothing.
    fn is_loop(&self, association: &Association) -> bool {
        let id = association.server.reference_id;
        if association.server.stratum < 2 || matches!(id.octets(), [127, 127, ..] | [127, 0, 0, 1]) {
            return false;
        }
        let mut own = self.settings.own_addresses.iter().copied().chain([association.local]);
        let is_ours = own.any(|address| !address.is_unspecified() && reference_id(address) == id);
        let is_peers =
            self.system.authority == Authority::Sources && self.system.variables.reference_id == id;
        is_ours || is_peers
    }

    /// Root distance: what the source's word can be off by at most, in seconds.
    fn distance(&self, association: &Association, now: Now) -> f64 {
        let server = &association.server;
        let estimate = association.estimator.estimate();
        let round_trips = short_seconds(server.root_delay) + association.history.delay();
        round_trips / 2.0
            + short_seconds(server.root_dispersion)
            + precision_seconds(self.settings.precision)
            + precision_seconds(server.precision)
            + PHI * association.age(now.monotonic)
            + estimate.error_variance.sqrt()
    }

    fn candidate(&self, at: usize, now: Now) -> Candidate {
        let association = &self.associations[at];
        let server = &association.server;
        Candidate {
            estimate: association.estimator.estimate(),
            has_frequency: association.estimator.samples() >= FREQUENCY_FROM,
            distance: self.distance(association, now),
            path: association.estimator.base_delay() + short_seconds(server.root_delay),
            dispersion: short_seconds(server.root_dispersion) + PHI * association.age(now.monotonic),
            jitter: association.estimator.noise().max(precision_seconds(self.settings.precision)),
            stratum: server.stratum,
            is_preferred: association.options.prefer,
            is_truechimer: association.options.truechimer,
        }
    }

    /// What is served after a correction.
    fn follow(&mut self, survey: &Survey, now: Now) {
        let flags: Vec<LeapIndicator> =
            survey.survivors.iter().map(|at| self.associations[*at].server.leap).collect();
        let announced = leap::due(self.day(now), self.settings.leap, flags.into_iter());
        self.announce(announced);
        let association = &mut self.associations[survey.peer];
        let Some(address) = association.address() else { return };
        let estimate = survey.combined.estimate;
        let server_error = precision_seconds(association.server.precision);
        let uncertainty = server_error
            + PHI * association.age(now.monotonic)
            + estimate.error_variance.sqrt()
            + survey.combined.jitter
            + self.discipline.remaining().abs();
        let mut following = Following {
            id: association.id,
            address,
            server: association.server,
            delay: association.history.delay(),
            uncertainty,
            leap: announced,
        };
        if self.discipline.control() == ClockControl::None && !is_inside(&following, estimate.error) {
            following.leap = LeapIndicator::Unsynchronised;
        }
        if self.system.peer != Some(association.id) {
            association.note(PeerEvent::SystemPeer);
            self.actions.push_back(Action::Log(Notice::SystemPeer(address, association.selection)));
            self.system.note(SystemEvent::ClockSync);
        }
        self.system.follow(&following, now);
        self.map_clock();
        self.is_system_new = true;
        self.kernel_told = None;
    }

    /// STA_UNSYNC and the rest, when something changed or enough time went by.
    pub(super) fn tell_kernel(&mut self, now: Now) {
        let is_ours = self.discipline.control() == ClockControl::Kernel && !self.settings.sources.is_empty();
        let is_due = self.kernel_told.is_none_or(|told| between(now.monotonic, told) >= KERNEL_REFRESH);
        if !is_ours || !is_due || self.system.authority == Authority::Ourselves {
            return;
        }
        self.kernel_told = Some(now.monotonic);
        let synchronised = self.system.is_synchronised(now);
        self.actions.push_back(Action::KernelStatus(KernelStatus {
            synchronised,
            leap: if synchronised { self.system.leap } else { LeapIndicator::None },
            maximum_error: self.system.distance(now).min(16.0),
            estimated_error: self.combined.estimate.error_variance.sqrt().min(16.0),
        }));
    }

    fn save_drift(&mut self, now: Now) {
        let is_known = self.discipline.control() != ClockControl::None
            && !self.discipline.is_acquiring()
            && self.combined.has_frequency
            && self.combined.estimate.frequency_variance < DRIFT_KNOWN * DRIFT_KNOWN;
        let is_due = self.drift_saved.is_none_or(|saved| between(now.monotonic, saved) >= DRIFT_REFRESH);
        if is_known && is_due {
            self.drift_saved = Some(now.monotonic);
            self.actions.push_back(Action::SaveDrift(self.discipline.rate().base_ppm));
        }
    }

    /// What is due at the end of the day changed.
    fn announce(&mut self, leap: LeapIndicator) {
        if self.system.leap == leap {
            return;
        }
        self.system.leap = leap;
        let is_armed = leap != LeapIndicator::None;
        self.system.note(if is_armed { SystemEvent::LeapArmed } else { SystemEvent::LeapDisarmed });
        self.actions.push_back(Action::Log(Notice::Leap(leap)));
        self.kernel_told = None;
    }

    /// After the leap second, or when the file says that one is due, without waiting for a sample.
    pub(super) fn leap_timer(&mut self, now: Now) {
        if self.system.authority != Authority::Sources {
            return;
        }
        let survivors = self.associations.iter().filter(|each| each.selection >= Selection::Candidate);
        let flags: Vec<LeapIndicator> = survivors.map(|each| each.server.leap).collect();
        let due = leap::due(self.day(now), self.settings.leap, flags.into_iter());
        if due == self.system.leap {
            return;
        }
        if due == LeapIndicator::None {
            self.leap_by_ourselves(now);
        }
        self.announce(due);
        if self.system.variables.leap != LeapIndicator::Unsynchronised {
            self.system.variables.leap = due;
        }
        self.is_system_new = true;
    }

    /// The time by which the day ends. The kernel takes a leap second at the first tick after midnight, and
    /// not at all if it is told before that none is due any more; its clock shows the new day at once.
    fn day(&self, now: Now) -> NtpTimestamp {
        match self.virtual_clock {
            Some(_) => now.realtime,
            None => now.realtime.offset_by(-units(KERNEL_TICK)),
        }
    }

    /// The day ended with a leap second due: the kernel has taken it if its clock is ours; a virtual one
    /// takes it now. It is no error, so no estimator hears of it.
    fn leap_by_ourselves(&mut self, now: Now) {
        let (seconds, _) = now.realtime.to_unix(NtpTimestamp::PIVOT);
        let is_midnight = seconds.rem_euclid(86_400) < 60;
        if let (Some(clock), true) = (&mut self.virtual_clock, is_midnight) {
            clock.step(if self.system.leap == LeapIndicator::Insert { -1.0 } else { 1.0 }, self.last);
            self.map_clock();
        }
    }

    /// When the day ends, if a leap second is due.
    pub(super) fn leap_wake(&self) -> Option<std::time::Duration> {
        let is_due = self.system.leap != LeapIndicator::None || self.settings.leap.is_some();
        if !is_due || self.system.authority != Authority::Sources {
            return None;
        }
        let now = self.virtual_clock.as_ref().map_or(self.last, |clock| clock.now(self.last));
        let day = self.day(now);
        let (seconds, nanoseconds) = day.to_unix(NtpTimestamp::PIVOT);
        let left = (leap::next_midnight(day) - seconds) as f64 - f64::from(nanoseconds) * 1e-9;
        // A little after it: before it there is nothing to be done.
        Some(after(now.monotonic, left.clamp(0.0, 43_200.0) + 1e-3))
    }

    /// Whether servers, kernel and packets under way may be on different sides of a leap second.
    pub(super) fn is_leaping(&self, now: Now) -> bool {
        let is_due = self.system.leap != LeapIndicator::None
            || self.settings.leap.is_some_and(|leap| {
                let (seconds, _) = now.realtime.to_unix(NtpTimestamp::PIVOT);
                (leap.at - seconds).abs() < 10
            })
            || self.associations.iter().any(|each| {
                matches!(each.server.leap, LeapIndicator::Insert | LeapIndicator::Delete)
                    && each.selection >= Selection::Candidate
            });
        is_due && leap::is_near(now.realtime)
    }

    /// Whether a jump of the machine's clock is the leap second that the kernel was told to take.
    pub(super) fn is_leap(&self, jump: f64, machine: Now) -> bool {
        let expected = match self.system.leap {
            LeapIndicator::Insert => -1.0,
            LeapIndicator::Delete => 1.0,
            _ => return false,
        };
        self.virtual_clock.is_none() && (jump - expected).abs() < 0.1 && leap::is_near(machine.realtime)
    }
}

/// `disable ntp`: whether the clock, which nobody corrects, is right all the same.
fn is_inside(following: &Following, error: f64) -> bool {
    let server = &following.server;
    let distance = (short_seconds(server.root_delay) + following.delay) / 2.0
        + short_seconds(server.root_dispersion)
        + following.uncertainty;
    error.abs() <= distance
}
