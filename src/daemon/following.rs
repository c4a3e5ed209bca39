//! What the daemon tells about the sources of time.

use crate::snapshot::{Association, Discipline};

/// A copy of what the client knows, published whenever it changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Following {
    /// The associations, in the order of the configuration.
    pub(super) associations: Vec<Association>,
    /// The clock discipline.
    pub(super) discipline: Discipline,
}
