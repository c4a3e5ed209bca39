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

/// After this the process has the sockets it opened, the right to adjust the clock if that is what it is for,
/// and no other capability.
pub(super) fn give_up(identity: Option<&Identity>, adjusts_the_clock: bool) -> io::Result<()> {
    let keep: &[_] = if adjusts_the_clock { &[sandbox::CAP_SYS_TIME] } else { &[] };
    sandbox::give_up_privileges(identity, keep)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot give up privileges: {error}")))
}
