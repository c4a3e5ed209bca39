//! Giving up what serving does not need.

use std::io;

use super::Failure;
use crate::sys::sandbox::{self, Identity};

/// Finds the user and group of `-u USER[:GROUP]`.
pub(super) fn resolve(user: Option<&str>) -> Result<Option<Identity>, Failure> {
    let Some(text) = user else { return Ok(None) };
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let mut identity = sandbox::find_user(user).ok_or_else(|| {
        Failure::Usage(format!(
            "unknown user \"{user}\": useradd --system {user}, or choose another with --user"
        ))
    })?;
    if let Some(group) = group {
        identity.group = sandbox::find_group(group).ok_or_else(|| {
            Failure::Usage(format!("unknown group \"{group}\": groupadd --system {group}, or choose another"))
        })?;
    }
    if !sandbox::is_root() {
        return Err(Failure::RunTime(io::Error::other(format!(
            "cannot become user \"{user}\": only root can: start as root, or leave --user away"
        ))));
    }
    Ok(Some(identity))
}

/// After this the process has the sockets it opened and no capability: serving the machine's own clock needs
/// none.
pub(super) fn give_up(identity: Option<&Identity>) -> io::Result<()> {
    sandbox::give_up_privileges(identity, &[])
        .map_err(|error| io::Error::new(error.kind(), format!("cannot give up privileges: {error}")))
}
