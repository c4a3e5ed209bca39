//! Which cores there are, and staying on one.

use core_affinity::CoreId;

/// The cores that this process may run on, ascending.
pub fn allowed_cores() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// Keeps the calling thread on `core`; false if the kernel refuses.
pub fn pin_to(core: usize) -> bool {
    core_affinity::set_for_current(CoreId { id: core })
}
