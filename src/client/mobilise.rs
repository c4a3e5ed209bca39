//! Which associations there are (RFC 5905 §9.1 mobilises them): lines of the configuration make them, names
//! and pools replace them.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use super::Client;
use super::association::Association;
use super::names::Line;
use super::seam::{Action, AssociationId, Notice};
use super::settings::{Host, Settings, Source, SourceOptions};
use super::units::after;
use crate::limits;
use crate::snapshot::Selection;

/// Sources begin to be asked within so many seconds of each other.
const START_SPREAD: f64 = 0.2;

impl Client {
    pub(super) fn add_line(&mut self, source: Source, now: Duration) {
        let id = self.next_line;
        self.next_line += 1;
        let mut line = Line::new(id, source, now);
        if line.source.is_pool {
            line.row = Some(self.free_id());
            // Its members come when its name is resolved, or are the one address that it has.
            if let Host::Address(address, scope) = line.source.host {
                self.lines.push(line);
                return self.add_members(self.lines.len() - 1, &[address], scope, now);
            }
        } else {
            let host = line.source.host.clone();
            if let Some(at) = self.add_association(id, line.source.options.clone()) {
                match host {
                    Host::Address(address, scope) => self.start(at, address, scope, now),
                    Host::Name(name, _) => self.associations[at].host = Some(name),
                }
            }
        }
        self.lines.push(line);
    }

    /// A new association of a line; none if there are as many as there may be.
    fn add_association(&mut self, origin: usize, options: SourceOptions) -> Option<usize> {
        if self.associations.len() >= limits::ASSOCIATIONS {
            return None;
        }
        let id = self.free_id();
        let drift_known = self.settings.drift_ppm.is_some();
        self.associations.push(Association::new(id, origin, options, drift_known));
        self.is_view_new = true;
        Some(self.associations.len() - 1)
    }

    /// The next id that nobody has. There are far fewer associations than ids.
    fn free_id(&mut self) -> AssociationId {
        loop {
            let id = AssociationId(self.next_id);
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
            let is_used = self.associations.iter().any(|each| each.id == id)
                || self.lines.iter().any(|line| line.row == Some(id));
            if !is_used {
                return id;
            }
        }
    }

    fn start(&mut self, at: usize, address: IpAddr, scope: u32, now: Duration) {
        let port = self.associations[at].options.port;
        let address = match address {
            IpAddr::V6(v6) => SocketAddr::V6(SocketAddrV6::new(v6, port, 0, scope)),
            IpAddr::V4(_) => SocketAddr::new(address, port),
        };
        let spread = ((self.random)() >> 11) as f64 / (1_u64 << 53) as f64 * START_SPREAD;
        self.associations[at].start(address, after(now, spread));
        self.is_view_new = true;
    }

    pub(super) fn resolved(&mut self, query: u32, addresses: &[IpAddr], now: Duration) {
        let Some(at) = self.lines.iter().position(|line| line.asked(query)) else { return };
        let found = match self.lines[at].resolved(addresses, now) {
            Ok(found) => found,
            Err(wait) => {
                if let Some((name, _)) = self.lines[at].name() {
                    self.actions.push_back(Action::Log(Notice::NotResolved(name.clone(), wait)));
                }
                return;
            }
        };
        if self.lines[at].source.is_pool {
            return self.add_members(at, &found, 0, now);
        }
        let origin = self.lines[at].id;
        let Some(each) = self.associations.iter().position(|each| each.origin == origin) else { return };
        let present = self.associations[each].address().map(|address| address.ip().to_canonical());
        let others = || found.iter().find(|address| Some(**address) != present && !self.is_used(**address));
        let next = match present {
            // It answers, or it is all there is.
            Some(_) if !self.associations[each].is_lost() => None,
            _ => others().or(found.first()).filter(|address| Some(**address) != present),
        };
        if let Some(address) = next.copied() {
            if present.is_some() {
                self.actions.push_back(Action::Close(self.associations[each].id));
                self.associations[each].forget(self.settings.drift_ppm.is_some());
            }
            self.start(each, address, 0, now);
        }
    }

    fn is_used(&self, address: IpAddr) -> bool {
        self.associations.iter().any(|each| each.address().is_some_and(|used| used.ip() == address))
    }

    /// Addresses of a pool become associations, as many as `tos maxclock` asks for.
    fn add_members(&mut self, line: usize, addresses: &[IpAddr], scope: u32, now: Duration) {
        let is_in_need = self.is_in_need();
        for address in addresses {
            if self.is_used(*address) || !self.lines[line].may_ask(*address, is_in_need, now) {
                continue;
            }
            if !self.has_room(now) {
                return;
            }
            let Line { id, source, .. } = &self.lines[line];
            let (origin, options) = (*id, source.options.clone());
            let Some(at) = self.add_association(origin, options) else { return };
            let member = &mut self.associations[at];
            member.is_pool_member = true;
            member.host = self.lines[line].name().map(|(name, _)| name.clone());
            self.start(at, *address, scope, now);
        }
    }

    /// Whether `tos maxclock` allows one more member of a pool. One that does not answer makes room.
    fn has_room(&mut self, now: Duration) -> bool {
        let members = self.associations.iter().filter(|each| each.is_pool_member).count();
        if members < self.settings.selection.maxclock {
            return true;
        }
        let lost = |at: &usize| self.associations[*at].is_lost() && self.is_replaceable(*at);
        let lost = (0..self.associations.len()).find(lost);
        lost.inspect(|at| self.pass_over(*at, now)).is_some()
    }

    /// Lines that are new begin, lines that are gone end, and the others do not notice.
    pub(super) fn reload(&mut self, settings: Settings, now: Duration) {
        let mut wanted = settings.sources.clone();
        let mut gone = Vec::new();
        self.lines.retain(|line| match wanted.iter().position(|source| *source == line.source) {
            Some(at) => {
                wanted.remove(at);
                true
            }
            None => {
                gone.push(line.id);
                false
            }
        });
        for at in (0..self.associations.len()).rev() {
            if gone.contains(&self.associations[at].origin) {
                self.remove(at, now);
            }
        }
        self.discipline.configure(settings.discipline);
        self.settings = settings;
        for source in wanted {
            self.add_line(source, now);
        }
        self.is_view_new = true;
    }

    pub(super) fn denied(&mut self, at: usize, address: IpAddr, now: Duration) {
        if let Some(line) = self.line_of(at) {
            line.refuse(address.to_canonical());
        }
        if self.is_replaceable(at) {
            self.remove(at, now);
        }
    }

    /// Members of pools that do not answer for long, or are wrong for long, go: a pool has others. While
    /// nobody answers it may be us who are cut off, and all stay.
    pub(super) fn pass_over_members(&mut self, now: Duration) {
        let answered = self.associations.iter().filter_map(Association::received_at).max();
        for at in (0..self.associations.len()).rev() {
            let member = &self.associations[at];
            if (member.is_dead(answered) || member.is_wrong()) && self.is_replaceable(at) {
                self.pass_over(at, now);
            }
        }
    }

    /// Whether it is a server of a pool that has a name to look others up by.
    fn is_replaceable(&self, at: usize) -> bool {
        self.associations[at].is_pool_member && self.associations[at].host.is_some()
    }

    fn pass_over(&mut self, at: usize, now: Duration) {
        let is_wrong = self.associations[at].is_wrong();
        if let Some(address) = self.associations[at].address() {
            self.actions.push_back(Action::Log(Notice::PassedOver(address, is_wrong)));
            if let Some(line) = self.line_of(at) {
                line.pass_over(address.ip().to_canonical(), now);
            }
        }
        self.remove(at, now);
    }

    /// Names are looked up again where that may help: the server that a name stood for does not answer, a
    /// pool has lost a member, or altogether too few sources are of use.
    pub(super) fn look_names_up(&mut self, now: Duration) {
        let is_in_need = self.is_in_need();
        let lost = self.associations.iter().filter(|each| each.is_lost());
        let lost: Vec<usize> = lost.map(|each| each.origin).collect();
        for line in &mut self.lines {
            let is_wanting = if line.source.is_pool {
                line.is_short() || (is_in_need && !line.source.options.noselect)
            } else {
                lost.contains(&line.id)
            };
            if is_wanting {
                line.want(now);
            } else {
                line.rest();
            }
            if let Some(question) = line.timer(self.next_query, now) {
                self.next_query = self.next_query.wrapping_add(1);
                self.actions.push_back(question);
            }
        }
    }

    /// Whether fewer sources agree than clustering would leave (`tos minclock`).
    fn is_in_need(&self) -> bool {
        let agreeing = self.associations.iter().filter(|each| each.selection > Selection::Falseticker);
        agreeing.count() < self.settings.selection.minclock.min(self.settings.selection.maxclock)
    }

    /// The line of the configuration that an association is of.
    fn line_of(&mut self, at: usize) -> Option<&mut Line> {
        let origin = self.associations[at].origin;
        self.lines.iter_mut().find(|line| line.id == origin)
    }

    fn remove(&mut self, at: usize, now: Duration) {
        let gone = self.associations.remove(at);
        self.actions.push_back(Action::Close(gone.id));
        if self.system.peer == Some(gone.id) {
            self.system.lose(now);
        }
        if let Some(line) = self.lines.iter_mut().find(|line| line.id == gone.origin) {
            line.lost_a_member();
        }
        self.is_view_new = true;
    }
}
