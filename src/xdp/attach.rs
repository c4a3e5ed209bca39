//! Loads the program and puts it on interfaces; says in plain words why it cannot.

use std::error::Error;
use std::io;
use std::sync::Arc;

use aya::maps::{Map, MapError};
use aya::programs::links::FdLink;
use aya::programs::{ProgramError, TestRun, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfError, EbpfLoader};

use super::XdpCounters;
use super::feed::{Feed, Maps};
use crate::sys::ethtool;
use crate::sys::link::LinkState;

/// The program as build.sh makes it of its sources: committed, so that nobody needs a compiler for it.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!("responder.bpf.o");

/// The function in it.
const FUNCTION: &str = "respond";

/// Where in the kernel the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before the kernel makes a socket buffer of a frame.
    Native,
    /// After that, for drivers that cannot: works everywhere, and gains less.
    Generic,
}

impl Mode {
    /// The name in options, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// Why the program cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Object and kernel do not fit.
    #[error("the program cannot be loaded")]
    Ebpf(#[from] EbpfError),
    /// As above.
    #[error("the program cannot be loaded")]
    Program(#[from] ProgramError),
    /// A map is not what it should be, or cannot be had.
    #[error("the program's maps cannot be had")]
    Map(#[from] MapError),
    /// The object has no such part.
    #[error("the program has no {0}")]
    Missing(&'static str),
}

impl LoadError {
    /// The kernel's own error behind it.
    pub fn errno(&self) -> Option<i32> {
        let mut error: &(dyn Error + 'static) = self;
        loop {
            if let Some(io) = error.downcast_ref::<io::Error>() {
                return io.raw_os_error();
            }
            error = error.source()?;
        }
    }
}

/// The program in the kernel, attached to nothing. Its attachments outlive it.
pub struct Program {
    ebpf: Ebpf,
    counters: XdpCounters,
}

/// The program on an interface. It is detached when this is dropped, or the process ends, in any way.
#[derive(Debug)]
pub struct Attachment {
    _link: FdLink,
}

impl Program {
    /// Loads the committed object; until it is fed it passes everything.
    pub fn load() -> Result<(Self, Feed), LoadError> {
        Self::load_object(OBJECT)
    }

    /// Loads another build of it.
    pub fn load_object(object: &[u8]) -> Result<(Self, Feed), LoadError> {
        let mut ebpf = EbpfLoader::new().load(object)?;
        function(&mut ebpf)?.load()?;
        let mut map = |name: &'static str| ebpf.take_map(name).ok_or(LoadError::Missing(name));
        let feed = Feed::new(Maps {
            states: map("states")?,
            generation: map("generation")?,
            services: map("services")?,
            access4: map("access4")?,
            access6: map("access6")?,
        })?;
        let counters = XdpCounters(Arc::new(counted(map("counted")?)?));
        Ok((Self { ebpf, counters }, feed))
    }

    /// What it counts.
    pub fn counters(&self) -> XdpCounters {
        self.counters.clone()
    }

    /// Puts it on an interface of this network namespace.
    pub fn attach(&mut self, ifindex: u32, mode: Mode) -> Result<Attachment, LoadError> {
        let mode = match mode {
            Mode::Native => XdpMode::Driver,
            Mode::Generic => XdpMode::Skb,
        };
        let program = function(&mut self.ebpf)?;
        let id = program.attach_to_if_index(ifindex, mode)?;
        let link = program.take_link(id)?;
        Ok(Attachment { _link: link.try_into().map_err(|_| LoadError::Missing("link"))? })
    }

    /// Runs it on one frame that arrives on the loopback interface, without sending anything: the action, and
    /// the frame as it is then.
    pub fn test(&self, frame: &[u8], out: &mut [u8]) -> Result<(u32, usize), LoadError> {
        let program: &Xdp = self.ebpf.program(FUNCTION).ok_or(LoadError::Missing(FUNCTION))?.try_into()?;
        let options =
            TestRunOptions { data_in: Some(frame), data_out: Some(out), ..TestRunOptions::default() };
        let result = program.test_run(options)?;
        Ok((result.return_value, result.data_size_out as usize))
    }
}

/// An error and all that is behind it.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Why the program could not be loaded, and what to do about it.
pub(super) fn why_not_loaded(error: &LoadError) -> String {
    match error.errno() {
        Some(libc::EPERM) => "not permitted: run as root, or sudo setcap cap_net_bind_service,cap_bpf,cap_net_admin=+ep $(command -v ntpring); in a container: --cap-add BPF --cap-add NET_ADMIN, and a seccomp profile that allows bpf".to_owned(),
        Some(libc::ENOSYS) => "this kernel was built without BPF, or a seccomp filter hides it".to_owned(),
        // The verifier's reasons are long.
        _ => format!("{}; Linux 6.1 or newer is needed", with_causes(error).lines().next().unwrap_or_default()),
    }
}

/// Why the program could not be attached, and what to do about it.
pub(super) fn why_not_attached(error: &LoadError, interface: &str, state: &LinkState, mode: Mode) -> String {
    let driver = ethtool::driver(interface).unwrap_or_else(|_| "no driver of its own".to_owned());
    let sockets = "the sockets serve it as before";
    match error.errno() {
        Some(libc::EBUSY | libc::EEXIST) => format!(
            "{interface} has another XDP program, which stays; {sockets} (to see it: ip -details link show dev {interface})"
        ),
        Some(libc::EPERM) => {
            format!(
                "{interface}: not permitted any more: restart ntpring to have it answered in the driver again"
            )
        }
        Some(libc::ENODEV) => format!("{interface}: the interface has just gone"),
        Some(libc::EOPNOTSUPP) if mode == Mode::Native => format!(
            "{interface}: its driver ({driver}) cannot run XDP programs: leave --xdp away, or try --xdp generic, which gains less"
        ),
        _ => format!(
            "{interface}: its driver ({driver}) refuses an XDP program as it is set up: {}; most often the MTU ({}) is too large, or LRO is on: ip link set dev {interface} mtu 1500; ethtool -K {interface} lro off",
            with_causes(error),
            state.mtu
        ),
    }
}

fn function(ebpf: &mut Ebpf) -> Result<&mut Xdp, LoadError> {
    Ok(ebpf.program_mut(FUNCTION).ok_or(LoadError::Missing(FUNCTION))?.try_into()?)
}

fn counted(map: Map) -> Result<aya::maps::PerCpuArray<aya::maps::MapData, super::CoreCounters>, MapError> {
    map.try_into()
}
