//! Two namespaces and the wire between them. Each end's receive work is done by a thread of the kernel
//! (threaded NAPI) that is pinned to that end's core, so that a server pays for its requests and the
//! generator for its replies; otherwise a veth charges whoever sends.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bench::namespace::Namespace;
use bench::xdp::Attachable;
use ntpring::sys::xdp::Attachment;

use super::packages;
use super::process;

/// The server's address; the wire has no other end than the generator.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const GENERATOR: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
/// What requests come from where many must ask: addresses behind the generator, and their prefix's length.
pub(super) const SOURCES: (Ipv4Addr, u32) = (Ipv4Addr::new(10, 128, 0, 0), 9);

/// How a receive thread shares its core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receive {
    /// Before everything else, as the interrupt of a network card does.
    AsInterrupt,
    /// In turn with everything else, as the kernel's ksoftirqd does once interrupts have become too many.
    AsThread,
}

/// What everything is measured on.
pub(super) struct Rig {
    pub(super) server: Namespace,
    pub(super) generator: Namespace,
    /// The core of the server, and that of the generator.
    pub(super) cores: [usize; 2],
    /// The server's end of the wire, and the generator's.
    pub(super) links: [String; 2],
    /// The receive thread of the server's end.
    receiver: u32,
}

impl Rig {
    /// Builds it. Whatever happens after, nothing of it outlives this process.
    pub(super) fn build(ethtool: &Path, cores: [usize; 2]) -> io::Result<Self> {
        let (server, generator) = (Namespace::new()?, Namespace::new()?);
        // Names of kernel threads are short, and other runs may be under way.
        let tag = std::process::id() & 0xFFFF;
        let [here, there] = [format!("s{tag:x}"), format!("g{tag:x}")];
        server.connect(&here, &generator, &there)?;
        for (namespace, link, address) in [(&server, &here, SERVER), (&generator, &there, GENERATOR)] {
            namespace.ip(&format!("addr add {address}/24 dev {link}"))?;
            namespace.ip(&format!("link set {link} up"))?;
        }
        for (namespace, link) in [(&server, &here), (&generator, &there)] {
            // A veth hands datagrams to NAPI only if it may merge them (GRO), and if the sender does not
            // merge itself (TSO).
            let mut features = Command::new(ethtool);
            features.args(["-K", link, "gro", "on", "tso", "off"]);
            namespace.run(features)?;
            thread_napi(namespace, link)?;
        }
        let (network, length) = SOURCES;
        generator.ip(&format!("route add local {network}/{length} dev lo"))?;
        server.ip(&format!("route add {network}/{length} via {GENERATOR}"))?;
        let receiver = receive_thread(&here)?;
        let replies = receive_thread(&there)?;
        let rig = Self { server, generator, cores, links: [here, there], receiver };
        let [server_core, generator_core] = cores;
        pin(rig.receiver, server_core)?;
        pin(replies, generator_core)?;
        // The generator never sleeps; replies must not wait for its time slice to end.
        schedule(replies, Receive::AsInterrupt)?;
        rig.receive(Receive::AsInterrupt)?;
        Ok(rig)
    }

    /// Chooses how the server's receive thread shares the server's core.
    pub(super) fn receive(&self, receive: Receive) -> io::Result<()> {
        schedule(self.receiver, receive)
    }

    /// Lets sockets at the generator's end receive what a driver sends, until the result is dropped.
    pub(super) fn pass_everything(&self) -> io::Result<Attachment> {
        let link = self.links[1].clone();
        self.generator.inside(move || Attachable::Pass.attach(&link))
    }

    /// CPU time of the receive thread of the server's end.
    pub(super) fn receiver_cpu(&self) -> Result<Duration, String> {
        process::cpu_of(self.receiver).ok_or_else(|| "the receive thread of the server's link is gone".into())
    }
}

/// Makes the kernel receive on a thread. /sys shows the links of the namespace that it was mounted in.
fn thread_napi(namespace: &Namespace, link: &str) -> io::Result<()> {
    let mut shell = Command::new("unshare");
    let script = format!("mount -t sysfs sysfs /sys && echo 1 > /sys/class/net/{link}/threaded");
    shell.args(["--mount", "sh", "-c", &script]);
    namespace.run(shell).map_err(|error| {
        io::Error::new(error.kind(), format!("no threaded NAPI on {link} (Linux 5.12 or later): {error}"))
    })
}

/// The kernel thread that receives for `link`, which appears a moment after it was asked for.
fn receive_thread(link: &str) -> io::Result<u32> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let prefix = format!("napi/{link}-");
    let start = Instant::now();
    loop {
        let threads = process::named(&prefix);
        match threads[..] {
            [thread] => return Ok(thread),
            _ if start.elapsed() < PATIENCE => sleep(Duration::from_millis(5)),
            _ => {
                let count = threads.len();
                return Err(io::Error::other(format!("{count} threads named {prefix}, instead of one")));
            }
        }
    }
}

fn pin(thread: u32, core: usize) -> io::Result<()> {
    let mut taskset = Command::new("taskset");
    taskset.args(["--cpu-list", "--pid", &core.to_string(), &thread.to_string()]);
    packages::run(&mut taskset).map_err(io::Error::other)
}

fn schedule(thread: u32, receive: Receive) -> io::Result<()> {
    let mut chrt = Command::new("chrt");
    match receive {
        Receive::AsInterrupt => chrt.args(["--fifo", "--pid", "50"]),
        Receive::AsThread => chrt.args(["--other", "--pid", "0"]),
    };
    packages::run(chrt.arg(thread.to_string())).map_err(io::Error::other)
}
