//! What the checks look at: the text below /proc and /sys, and what the kernel answered when it was asked.
//!
//! A machine is plain data over a root directory, so that tests make machines that nobody has at hand.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::finding::State;
use crate::daemon::owner::{self, Owner};
use crate::datapath::Uring;
use crate::sys::ethtool::{self, Flow, HashFields, Queues, Rings, Stamping};
use crate::sys::socket::{ServeSocket, SocketOptions};
use crate::sys::{clock, interfaces, netdev, thread};

/// What could not be read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unread(pub(super) String);

/// What a check found, or why it could not look.
pub(super) type Looked = Result<State, Unread>;

/// The machine under examination.
#[derive(Debug)]
pub(super) struct Machine {
    /// Where its files are: `/`, but for tests.
    pub(super) root: PathBuf,
    /// The cores that this process, and so the workers of a server started like it, may run on.
    pub(super) cores: Vec<usize>,
    /// Whether a worker's ring could be set up.
    pub(super) ring: io::Result<()>,
    /// The time it takes to read the clock.
    pub(super) clock_reading: Duration,
    /// Whether a socket has UDP port 123, and the process, if it shows.
    pub(super) port: PortState,
    /// Whether a datagram to UDP port 123 had an entry in the table of tracked connections.
    pub(super) tracked: io::Result<bool>,
    /// The interfaces that clients come in by.
    pub(super) links: Vec<Link>,
}

/// Who has the NTP port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PortState {
    Free,
    Taken(Option<Owner>),
}

/// One interface, as its driver answered.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) index: u32,
    pub(super) driver: io::Result<String>,
    pub(super) queues: io::Result<Queues>,
    pub(super) rings: io::Result<Rings>,
    pub(super) hash_v4: io::Result<HashFields>,
    pub(super) hash_v6: io::Result<HashFields>,
    pub(super) strips_vlan_tags: io::Result<bool>,
    pub(super) stamping: io::Result<Stamping>,
    /// Whether the driver runs XDP programs itself.
    pub(super) xdp: io::Result<bool>,
}

impl Machine {
    /// This machine, seen through the interfaces named, or through those that clients can come in by.
    ///
    /// # Errors
    /// A sentence, when an interface is not there.
    pub(super) fn here(named: &[String]) -> Result<Self, String> {
        let port = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 123));
        let mut machine = Self {
            root: "/".into(),
            cores: thread::allowed_cores(),
            ring: try_ring(),
            clock_reading: clock::reading_time(),
            port: if owner::is_taken(port) {
                PortState::Taken(owner::owner_of(port))
            } else {
                PortState::Free
            },
            tracked: try_tracking(),
            links: Vec::new(),
        };
        let all = interfaces::all().map_err(|error| format!("cannot list the interfaces: {error}"))?;
        if let Some(missing) = named.iter().find(|name| all.iter().all(|link| link.name != **name)) {
            let names: Vec<&str> = all.iter().map(|link| link.name.as_str()).collect();
            return Err(format!("no interface {missing} here; there are: {}", names.join(" ")));
        }
        let is_meant = |link: &interfaces::Interface| match named {
            [] => machine.lets_clients_in(&link.name),
            _ => named.contains(&link.name),
        };
        let links: Vec<Link> = all.iter().filter(|link| is_meant(link)).map(Link::ask).collect();
        machine.links = links;
        Ok(machine)
    }

    /// The machine in one line.
    pub(super) fn summary(&self) -> String {
        let links: Vec<String> = self
            .links
            .iter()
            .map(|link| match &link.driver {
                Ok(driver) => format!("{} ({driver})", link.name),
                Err(_) => link.name.clone(),
            })
            .collect();
        format!(
            "Linux {}, {} cores to serve on, {}",
            self.text("proc/sys/kernel/osrelease").unwrap_or_else(|_| "of an unknown version".to_owned()),
            self.cores.len(),
            if links.is_empty() { "no interface but loopback".to_owned() } else { links.join(", ") }
        )
    }

    /// The text of a file, without the blanks at its ends.
    pub(super) fn text(&self, path: &str) -> Result<String, Unread> {
        let read = fs::read_to_string(self.root.join(path));
        read.map(|text| text.trim().to_owned()).map_err(|error| unread(path, &error))
    }

    /// A number that a file holds.
    pub(super) fn number(&self, path: &str) -> Result<u64, Unread> {
        let text = self.text(path)?;
        text.parse().map_err(|_| Unread(format!("/{path} holds no number: {text}")))
    }

    /// The names in a directory, sorted, those that end in a number by it.
    pub(super) fn names(&self, path: &str) -> Result<Vec<String>, Unread> {
        let entries = fs::read_dir(self.root.join(path)).map_err(|error| unread(path, &error))?;
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.collect();
        names.sort_by_key(|name| {
            let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
            (name[..name.len() - digits].to_owned(), name[name.len() - digits..].parse::<u64>().ok())
        });
        Ok(names)
    }

    /// Whether there is such a file or directory.
    pub(super) fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// The directory of an interface in sysfs.
    pub(super) fn directory(&self, link: &Link) -> Result<String, Unread> {
        let directory = format!("sys/class/net/{}", link.name);
        // A process that was moved to another network namespace still has the sysfs of the one it came from.
        match self.number(&format!("{directory}/ifindex"))? {
            index if index == u64::from(link.index) => Ok(directory),
            _ => Err(Unread(format!("/{directory} is of another network namespace: mount its own /sys"))),
        }
    }

    /// Devices, and whatever has a default route.
    fn lets_clients_in(&self, name: &str) -> bool {
        self.has(&format!("sys/class/net/{name}/device")) || self.has_default_route(name)
    }

    fn has_default_route(&self, name: &str) -> bool {
        // Columns: interface, destination, …; in the other table destination, prefix length, …, interface.
        let v4 = self.text("proc/self/net/route").unwrap_or_default();
        let is_v4 = v4.lines().any(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            columns.first() == Some(&name) && columns.get(1) == Some(&"00000000")
        });
        let v6 = self.text("proc/self/net/ipv6_route").unwrap_or_default();
        let is_v6 = v6.lines().any(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            columns.get(1) == Some(&"00") && columns.last() == Some(&name) && name != "lo"
        });
        is_v4 || is_v6
    }
}

impl Link {
    fn ask(interface: &interfaces::Interface) -> Self {
        let name = interface.name.as_str();
        Self {
            index: interface.index,
            driver: ethtool::driver(name),
            queues: ethtool::queues(name),
            rings: ethtool::rings(name),
            hash_v4: ethtool::hash_fields(name, Flow::UdpV4),
            hash_v6: ethtool::hash_fields(name, Flow::UdpV6),
            strips_vlan_tags: ethtool::strips_vlan_tags(name),
            stamping: ethtool::stamping(name),
            xdp: netdev::runs_xdp(interface.index),
            name: interface.name.clone(),
        }
    }
}

/// What a driver answered, for a check that needs it.
pub(super) fn answer<'a, T>(question: &str, answer: &'a io::Result<T>) -> Result<&'a T, Unread> {
    answer.as_ref().map_err(|error| Unread(format!("{question}: {error}")))
}

fn unread(path: &str, error: &io::Error) -> Unread {
    Unread(format!("/{path}: {error}"))
}

/// The very ring of a worker, on a socket that nobody knows.
fn try_ring() -> io::Result<()> {
    let v4 = ServeSocket::open((Ipv4Addr::LOCALHOST, 0).into(), SocketOptions::default());
    let socket = v4.or_else(|_| ServeSocket::open((Ipv6Addr::LOCALHOST, 0).into(), SocketOptions::default()));
    Uring::new([socket?].into()).map(drop)
}

/// Sends an empty datagram to this machine's own NTP port, which any server ignores, and looks for it in the
/// table of tracked connections.
fn try_tracking() -> io::Result<bool> {
    let table = Path::new("/proc/self/net/nf_conntrack");
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.send_to(&[], (Ipv4Addr::LOCALHOST, 123))?;
    let port = format!("sport={} dport=123 ", socket.local_addr()?.port());
    Ok(fs::read_to_string(table)?.lines().any(|line| line.contains("udp") && line.contains(&port)))
}
