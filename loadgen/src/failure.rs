//! Why a command ends without its result.

use std::fmt;

/// A sentence for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The command line asks for something that cannot be.
    Usage(String),
    /// The machine or the network refuses.
    RunTime(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::RunTime(text) => f.write_str(text),
        }
    }
}
