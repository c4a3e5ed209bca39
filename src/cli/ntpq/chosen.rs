//! The list of variables that `rl` and its like ask for and `writelist` sets: `addvars`, `rmvars`,
//! `clearvars`, `showvars`.

use super::commands::{Trouble, usage};
use crate::control::{Variable, parse};

/// As many as ntpq has room for.
const MAX: usize = 128;

/// In the order in which they were added.
#[derive(Clone, Debug, Default)]
pub(super) struct Chosen(Vec<Variable>);

impl Chosen {
    /// `addvars name[=value][,...]`; one that is there already gets the new value.
    pub(super) fn add(&mut self, arguments: &[&str]) -> Result<String, Trouble> {
        for variable in listed("addvars name[=value][,...]", arguments)? {
            match self.0.iter().position(|known| known.name == variable.name) {
                Some(place) => self.0[place] = variable,
                None if self.0.len() < MAX => self.0.push(variable),
                None => return Err(usage(&format!("***The list has room for {MAX} variables"))),
            }
        }
        Ok(String::new())
    }

    /// `rmvars name[,...]`
    pub(super) fn remove(&mut self, arguments: &[&str]) -> Result<String, Trouble> {
        for Variable { name, .. } in listed("rmvars name[,...]", arguments)? {
            let place = self.0.iter().position(|known| known.name == name);
            self.0.remove(place.ok_or_else(|| usage(&format!("***Variable `{name}' not found")))?);
        }
        Ok(String::new())
    }

    /// `clearvars`
    pub(super) fn clear(&mut self) -> String {
        self.0.clear();
        String::new()
    }

    /// `showvars`
    pub(super) fn show(&self) -> String {
        if self.0.is_empty() {
            return "No variables on list\n".to_owned();
        }
        self.0.iter().map(|variable| format!("{}\n", assignment(variable))).collect()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|variable| variable.name.as_str())
    }

    pub(super) fn variables(&self) -> &[Variable] {
        &self.0
    }
}

/// What stands behind a command, at least one.
pub(super) fn listed(syntax: &str, arguments: &[&str]) -> Result<Vec<Variable>, Trouble> {
    let variables = parse(arguments.join(" ").as_bytes());
    if variables.is_empty() { Err(usage(&format!("usage: {syntax}"))) } else { Ok(variables) }
}

/// As a request has it: `name=value`, or the name alone.
pub(super) fn assignment(variable: &Variable) -> String {
    let Variable { name, value, quoted } = variable;
    match (quoted, value.as_str()) {
        (true, value) => format!("{name}=\"{value}\""),
        (false, "") => name.clone(),
        (false, value) => format!("{name}={value}"),
    }
}
