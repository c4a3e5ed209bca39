//! What the whole-daemon tests stand on: network namespaces, the daemon under test, real NTP clients, and
//! loud skips.

pub(crate) mod clients;
pub(crate) mod daemon;
pub(crate) mod namespace;
pub(crate) mod ntp;
pub(crate) mod scene;
pub(crate) mod seccomp;
pub(crate) mod skip;
pub(crate) mod terminal;
pub(crate) mod upstream;
