//! Loads the program and puts it on interfaces; says in plain words why it cannot.

use std::sync::Arc;

use aya::maps::{Map, MapError};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};

use super::XdpCounters;
use super::feed::{Feed, Maps};
use crate::sys::ethtool;
use crate::sys::link::LinkState;
use crate::sys::xdp::{self, Attachment, LoadError, Mode, with_causes};

/// The program as build.sh makes it of its sources: committed, so that nobody needs a compiler for it.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!("responder.bpf.o");

/// The function in it.
const FUNCTION: &str = "respond";

/// The program in the kernel, attached to nothing. Its attachments outlive it.
pub struct Program {
    ebpf: Ebpf,
    counters: XdpCounters,
}

impl Program {
    /// Loads the committed object; until it is fed it passes everything.
    pub fn load() -> Result<(Self, Feed), LoadError> {
        Self::load_object(OBJECT)
    }

    /// Loads another build of it.
    pub fn load_object(object: &[u8]) -> Result<(Self, Feed), LoadError> {
        let mut ebpf = EbpfLoader::new().load(object)?;
        xdp::program(&mut ebpf, FUNCTION)?.load()?;
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
        xdp::attach(xdp::program(&mut self.ebpf, FUNCTION)?, ifindex, mode)
    }

    /// Runs it on one frame that arrives on the loopback interface, without sending anything: the action, and
    /// the frame as it is then.
    pub fn test(&self, frame: &[u8], out: &mut [u8]) -> Result<(u32, usize), LoadError> {
        xdp::test(self.function()?, frame, out)
    }

    /// The object with all its programs, for those who measure its parts.
    pub fn into_object(self) -> Ebpf {
        self.ebpf
    }

    fn function(&self) -> Result<&Xdp, LoadError> {
        Ok(self.ebpf.program(FUNCTION).ok_or(LoadError::Missing(FUNCTION))?.try_into()?)
    }
}

/// Why the program could not be loaded, and what to do about it.
pub(super) fn why_not_loaded(error: &LoadError) -> String {
    match error.errno() {
        Some(libc::EPERM) => "not permitted: run as root, or sudo setcap cap_net_bind_service,cap_bpf,cap_net_admin=+ep $(command -v ntpring); in a container: --cap-add BPF --cap-add NET_ADMIN, and a seccomp profile that allows bpf".to_owned(),
        Some(libc::ENOSYS) => "this kernel was built without BPF, or a seccomp filter hides it".to_owned(),
        _ => format!("{}; Linux 6.1 or newer is needed", error.in_a_line()),
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

fn counted(map: Map) -> Result<aya::maps::PerCpuArray<aya::maps::MapData, super::CoreCounters>, MapError> {
    map.try_into()
}

#[cfg(test)]
mod tests {
    use std::io;

    use aya::programs::ProgramError;
    use aya::sys::SyscallError;

    use super::*;

    fn refused(errno: i32) -> LoadError {
        let io_error = io::Error::from_raw_os_error(errno);
        LoadError::Program(ProgramError::SyscallError(SyscallError { call: "bpf_link_create", io_error }))
    }

    #[test]
    fn each_obstacle_has_its_sentence() {
        let state = LinkState { index: 7, mac: [2; 6], mtu: 9000, loopback: false };
        let native = |errno| why_not_attached(&refused(errno), "lan", &state, Mode::Native);
        for (errno, words) in [
            (libc::EBUSY, "lan has another XDP program, which stays; the sockets serve it as before"),
            (libc::EEXIST, "lan has another XDP program, which stays"),
            (libc::EPERM, "not permitted any more: restart ntpring"),
            (libc::ENODEV, "the interface has just gone"),
            (libc::EOPNOTSUPP, "try --xdp generic, which gains less"),
            (libc::ERANGE, "the MTU (9000) is too large, or LRO is on: ip link set dev lan mtu 1500"),
            (libc::EINVAL, "ethtool -K lan lro off"),
        ] {
            let sentence = native(errno);
            assert!(sentence.contains(words), "{errno}: {sentence}");
            assert!(!sentence.contains('\n'), "{sentence:?}");
        }
        let generic = why_not_attached(&refused(libc::EOPNOTSUPP), "lan", &state, Mode::Generic);
        assert!(!generic.contains("try --xdp generic"), "{generic}");
    }

    #[test]
    fn a_kernel_that_does_not_load_it_is_told_from_one_that_must_not() {
        for (errno, words) in [
            (libc::EPERM, "--cap-add BPF --cap-add NET_ADMIN"),
            (libc::ENOSYS, "without BPF, or a seccomp filter hides it"),
            (libc::EINVAL, "Linux 6.1 or newer is needed"),
        ] {
            let sentence = why_not_loaded(&refused(errno));
            assert!(sentence.contains(words) && !sentence.contains('\n'), "{errno}: {sentence}");
        }
    }
}
