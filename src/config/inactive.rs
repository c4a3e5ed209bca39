//! What is read and checked, but not obeyed yet. Each is reported once, at its first use. Whoever makes a
//! feature work deletes its constant here, and the compiler shows the words that ask for it.

/// Something that ntp.conf can ask for and that is not active yet.
#[derive(Debug)]
pub(super) struct Feature {
    /// Tells features apart.
    pub(super) name: &'static str,
    /// What happens as long as it is not active.
    pub(super) meanwhile: &'static str,
}

const fn feature(name: &'static str, meanwhile: &'static str) -> Feature {
    Feature { name, meanwhile }
}

pub(super) static TIME1: Feature = feature("time1", "the local clock is served without the correction");
pub(super) static LEAP_SMEAR: Feature = feature("leap smear", "leap seconds are not smeared");
pub(super) static STATISTICS: Feature = feature("statistics", "statistics files are not written");
