//! What a check came to, as lines and as JSON.

use std::fmt;

use serde_json::{Value, json};

use super::machine::{Looked, Unread};

/// The state of one thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing to mend.
    Fine {
        /// How it is.
        found: String,
    },
    /// Stands in the way of serving.
    Wrong {
        /// How it is.
        found: String,
        /// What mends it, where a command does.
        mend: Option<Mend>,
    },
    /// It could not be found out.
    Unknown {
        /// Why not.
        found: String,
    },
}

/// A command, and the one that takes it back to how it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mend {
    pub(super) command: String,
    pub(super) undo: String,
}

/// Nothing to mend.
pub(super) fn fine(found: impl Into<String>) -> Looked {
    Ok(State::Fine { found: found.into() })
}

/// To mend by `command`, which `undo` takes back.
pub(super) fn wrong(found: impl Into<String>, command: impl Into<String>, undo: impl Into<String>) -> Looked {
    let mend = Some(Mend { command: command.into(), undo: undo.into() });
    Ok(State::Wrong { found: found.into(), mend })
}

/// Wrong, and no command mends it.
pub(super) fn hopeless(found: impl Into<String>) -> Looked {
    Ok(State::Wrong { found: found.into(), mend: None })
}

/// One check of one thing.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    interface: Option<String>,
    why: &'static str,
    pub(super) state: State,
}

impl Finding {
    pub(super) fn new(
        check: &'static str,
        interface: Option<String>,
        why: &'static str,
        looked: Looked,
    ) -> Self {
        let state = looked.unwrap_or_else(|Unread(found)| State::Unknown { found });
        Self { check, interface, why, state }
    }

    pub(super) fn json(&self) -> Value {
        let (state, found, mend) = match &self.state {
            State::Fine { found } => ("fine", found, None),
            State::Wrong { found, mend } => ("wrong", found, mend.as_ref()),
            State::Unknown { found } => ("unknown", found, None),
        };
        json!({
            "check": self.check,
            "interface": self.interface,
            "state": state,
            "found": found,
            "why": self.why,
            "mend": mend.map(|mend| &mend.command),
            "undo": mend.map(|mend| &mend.undo),
        })
    }
}

impl fmt::Display for Finding {
    /// One line where all is well; below what is not, why it matters and what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAME: usize = 22;
        let name = match &self.interface {
            Some(interface) => format!("{} {interface}", self.check),
            None => self.check.to_owned(),
        };
        match &self.state {
            State::Fine { found } => writeln!(f, "✓ {name:<NAME$} {found}"),
            State::Unknown { found } => {
                writeln!(f, "? {name:<NAME$} not known: {found}")?;
                writeln!(f, "    why   {}", self.why)
            }
            State::Wrong { found, mend } => {
                writeln!(f, "✗ {name:<NAME$} {found}")?;
                writeln!(f, "    why   {}", self.why)?;
                match mend {
                    Some(Mend { command, undo }) => {
                        writeln!(f, "    mend  {command}\n    undo  {undo}")
                    }
                    None => Ok(()),
                }
            }
        }
    }
}
