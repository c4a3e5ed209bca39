//! The program in the kernel (load.bpf.c), its maps, and why it cannot be had.

use aya::maps::{Array, MapData, PerCpuArray, PerCpuValues, RingBuf};
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfLoader};
use ntpring::sys::link::LinkState;
use ntpring::sys::xdp::{self, Attachment, LoadError, Mode};
use ntpring::sys::{ethtool, netdev};

use super::frame::Mac;
use super::layout::{Plan, PlanWords, Received, ReceivedWords, Sample, Sender, SenderWords};

/// The program as src/xdp/build.sh makes it of its sources: committed, so that nobody needs a compiler for
/// it.
static OBJECT: &[u8] = aya::include_bytes_aligned!("load.bpf.o");

/// Frames that the kernel works on between two looks at whether others want the core. Replies are taken in
/// by one of those.
const BATCH: u32 = 64;

/// The function in it.
const FUNCTION: &str = "load";

/// The program, loaded; on the interface until this is dropped.
pub(super) struct Program {
    ebpf: Ebpf,
    /// As long as a request.
    frame: Vec<u8>,
    attachment: Option<Attachment>,
}

/// What both sides write to.
pub(super) struct Maps {
    plans: Array<MapData, PlanWords>,
    senders: PerCpuArray<MapData, SenderWords>,
    receivers: PerCpuArray<MapData, ReceivedWords>,
    peer: Array<MapData, u64>,
    samples: RingBuf<MapData>,
}

impl Program {
    /// Loads it for requests of one family, with so many slots in all.
    pub(super) fn load(ipv6: bool, slots: u32) -> Result<(Self, Maps), LoadError> {
        let mut ebpf = EbpfLoader::new().map_max_entries("slots", slots).load(OBJECT)?;
        xdp::program(&mut ebpf, FUNCTION)?.load()?;
        let mut map = |name: &'static str| ebpf.take_map(name).ok_or(LoadError::Missing(name));
        let maps = Maps {
            plans: map("plans")?.try_into()?,
            senders: map("senders")?.try_into()?,
            receivers: map("receivers")?.try_into()?,
            peer: map("peer")?.try_into()?,
            samples: map("samples")?.try_into()?,
        };
        let frame = vec![0; if ipv6 { 110 } else { 90 }];
        Ok((Self { ebpf, frame, attachment: None }, maps))
    }

    /// From now on the replies that come over this interface are taken in.
    pub(super) fn attach(&mut self, ifindex: u32) -> Result<(), LoadError> {
        let program = xdp::program(&mut self.ebpf, FUNCTION)?;
        self.attachment = Some(xdp::attach(program, ifindex, Mode::Native)?);
        Ok(())
    }

    /// Replies are no longer taken in when this returns.
    pub(super) fn detach(&mut self) {
        self.attachment = None;
    }

    /// Lets the calling thread's core send what is due, this many times.
    pub(super) fn send(&self, repeat: u32) -> Result<(), LoadError> {
        let program = self.ebpf.program(FUNCTION).ok_or(LoadError::Missing(FUNCTION))?.try_into()?;
        xdp::run_live(program, &self.frame, repeat, BATCH.min(repeat))
    }
}

impl Maps {
    pub(super) fn set_plan(&mut self, plan: &Plan) -> Result<(), LoadError> {
        Ok(self.plans.set(0, plan.words(), 0)?)
    }

    /// Tells each core what it sends, and forgets what was received.
    pub(super) fn begin(&mut self, of_core: impl Fn(usize) -> Sender) -> Result<(), LoadError> {
        let cores = nr_cpus().map_err(|(_, error)| aya::maps::MapError::IoError(error))?;
        let senders =
            PerCpuValues::try_from((0..cores).map(|core| of_core(core).words()).collect::<Vec<_>>());
        let nothing = PerCpuValues::try_from(vec![ReceivedWords::default(); cores]);
        let wrong = aya::maps::MapError::IoError;
        self.senders.set(0, senders.map_err(wrong)?, 0)?;
        self.receivers.set(0, nothing.map_err(wrong)?, 0)?;
        while self.samples.next().is_some() {}
        Ok(())
    }

    /// What each core has sent.
    pub(super) fn senders(&self) -> Result<Vec<Sender>, LoadError> {
        Ok(self.senders.get(&0, 0)?.iter().map(|words| Sender::read(*words)).collect())
    }

    /// What all have received.
    pub(super) fn received(&self) -> Result<Received, LoadError> {
        Ok(Received::sum(self.receivers.get(&0, 0)?.iter()))
    }

    /// Where the target's frames come from, once one has come.
    pub(super) fn peer(&self) -> Result<Option<Mac>, LoadError> {
        let [mac @ .., _, _] = self.peer.get(&0, 0)?.to_ne_bytes();
        Ok((mac != [0; 6]).then_some(mac))
    }

    /// The next answered request that there is to tell of.
    pub(super) fn sample(&mut self) -> Option<Sample> {
        self.samples.next().and_then(|octets| Sample::read(&octets))
    }
}

/// Why the program could not be loaded, and what to do about it.
pub(super) fn why_not_loaded(error: &LoadError) -> String {
    match error.errno() {
        Some(libc::EPERM) => {
            "--engine xdp: not permitted to load programs into the kernel: run ntpload as root".to_owned()
        }
        Some(libc::ENOSYS) => {
            "--engine xdp: this kernel was built without BPF, or a seccomp filter hides it".to_owned()
        }
        _ => format!("--engine xdp: {}; Linux 5.18 or newer is needed", error.in_a_line()),
    }
}

/// Why replies cannot be taken in on an interface.
pub(super) fn why_not_attached(error: &LoadError, interface: &str, state: &LinkState) -> String {
    let driver = driver(interface);
    match error.errno() {
        Some(libc::EBUSY | libc::EEXIST) => format!(
            "{interface} has another XDP program, which stays; to see it: ip -details link show dev {interface}"
        ),
        Some(libc::EPERM) => "--engine xdp: not permitted to attach programs: run ntpload as root".to_owned(),
        Some(libc::EOPNOTSUPP) => format!(
            "{interface}: its driver ({driver}) cannot run XDP programs: use --engine io_uring, or the interface of a veth"
        ),
        _ => format!(
            "{interface}: its driver ({driver}) refuses an XDP program as it is set up: {}; most often the MTU ({}) is too large",
            error.in_a_line(),
            state.mtu
        ),
    }
}

/// Whether frames can leave over an interface, or why not.
pub(super) fn check_sending(interface: &str, state: &LinkState) -> Result<(), String> {
    // Before Linux 6.3 there is nobody to ask; then silence will show it.
    if netdev::sends_frames(state.index).unwrap_or(true) {
        return Ok(());
    }
    let driver = driver(interface);
    Err(if driver == "veth" {
        format!(
            "{interface}: a veth takes frames from programs only while its other end has GRO on or an XDP program: there, ethtool -K PEER gro on"
        )
    } else {
        format!(
            "{interface}: its driver ({driver}) does not send frames that programs make: use --engine io_uring"
        )
    })
}

/// Why frames could not be sent.
pub(super) fn why_not_sent(error: &LoadError) -> String {
    match error.errno() {
        Some(libc::EINVAL) => {
            "--engine xdp: this kernel cannot send frames out of test-run: Linux 5.18 or newer is needed"
                .to_owned()
        }
        _ => format!("--engine xdp: frames cannot be sent: {}", error.in_a_line()),
    }
}

fn driver(interface: &str) -> String {
    ethtool::driver(interface).unwrap_or_else(|_| "no driver of its own".to_owned())
}
