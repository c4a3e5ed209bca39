//! The usual scene: a server and a client, one link between them, IPv4 and IPv6.

use super::namespace::Namespace;

/// The server's addresses, one per family.
pub(crate) const SERVER: [&str; 2] = ["192.168.0.1", "fd00::1"];
/// The client's addresses, in the same order.
pub(crate) const CLIENT: [&str; 2] = ["192.168.0.2", "fd00::2"];
/// Where a test may write files; names carry the test.
pub(crate) const SCRATCH: &str = env!("CARGO_TARGET_TMPDIR");
/// The configuration of the server that everybody starts from.
pub(crate) const SEED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/seed/server.ntp.conf");
/// The configuration of the client in the same how-to.
pub(crate) const CLIENT_CONF: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/seed/client.ntp.conf");

/// Two machines on one link.
#[derive(Debug)]
pub(crate) struct Scene {
    /// Where the daemon runs.
    pub(crate) server: Namespace,
    /// Where its clients run.
    pub(crate) client: Namespace,
}

impl Scene {
    /// The two namespaces with their link and addresses, or None with a skip.
    pub(crate) fn new() -> Option<Self> {
        let scene = Self { server: Namespace::new()?, client: Namespace::new()? };
        scene.server.connect("lan", &scene.client, "lan");
        for (namespace, [v4, v6]) in [(&scene.server, SERVER), (&scene.client, CLIENT)] {
            namespace.address("lan", &format!("{v4}/24"));
            namespace.address("lan", &format!("{v6}/64"));
        }
        Some(scene)
    }
}
