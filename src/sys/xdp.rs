//! XDP programs: loaded, put on interfaces, and run by the kernel's test-run; why it did not work in plain
//! words is for those who know what the program was for.

use std::error::Error;
use std::io;
use std::time::Duration;

use aya::maps::MapError;
use aya::programs::links::FdLink;
use aya::programs::{ProgramError, TestRun, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfError, EbpfLoader};

/// Where in the kernel a program runs.
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

/// Why a program cannot be had, or does not do what it is told.
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

    /// The error and all that is behind it, in one line: the verifier's reasons are long.
    pub fn in_a_line(&self) -> String {
        with_causes(self).lines().next().unwrap_or_default().to_owned()
    }
}

/// An error and all that is behind it.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A program on an interface. It is detached when this is dropped, or the process ends, in any way.
#[derive(Debug)]
pub struct Attachment {
    _link: FdLink,
}

/// The program of this name in an object.
///
/// # Errors
/// There is none, or it is no XDP program.
pub fn program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Xdp, LoadError> {
    Ok(ebpf.program_mut(name).ok_or(LoadError::Missing(name))?.try_into()?)
}

/// Puts a program that is loaded on an interface of the calling thread's network namespace.
///
/// # Errors
/// The interface has another program, its driver cannot, or this process may not.
pub fn attach(program: &mut Xdp, ifindex: u32, mode: Mode) -> Result<Attachment, LoadError> {
    let mode = match mode {
        Mode::Native => XdpMode::Driver,
        Mode::Generic => XdpMode::Skb,
    };
    let id = program.attach_to_if_index(ifindex, mode)?;
    let link = program.take_link(id)?;
    Ok(Attachment { _link: link.try_into().map_err(|_| LoadError::Missing("link"))? })
}

/// Loads one program of an object and puts it on an interface.
///
/// # Errors
/// As [`program`] and [`attach`]; or the kernel does not take it.
pub fn load_and_attach(object: &[u8], name: &'static str, ifindex: u32) -> Result<Attachment, LoadError> {
    let mut ebpf = EbpfLoader::new().load(object)?;
    let program = program(&mut ebpf, name)?;
    program.load()?;
    attach(program, ifindex, Mode::Native)
}

/// Runs a program on one frame that arrives on the loopback interface, without sending anything: the action,
/// and how long the frame is then, which is in `out`.
///
/// # Errors
/// This process may not, or the frame is shorter than Ethernet's header.
pub fn test(program: &Xdp, frame: &[u8], out: &mut [u8]) -> Result<(u32, usize), LoadError> {
    let options = TestRunOptions { data_in: Some(frame), data_out: Some(out), ..TestRunOptions::default() };
    let result = program.test_run(options)?;
    Ok((result.return_value, result.data_size_out as usize))
}

/// Runs a program again and again on the same memory, which begins as `frame`: the mean time of a run.
///
/// # Errors
/// As [`test`](fn@test).
pub fn time(program: &Xdp, frame: &[u8], repeat: u32) -> Result<Duration, LoadError> {
    let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
    Ok(program.test_run(options)?.duration)
}

/// Runs a program `repeat` times, each on a frame that begins as `frame` or as another run has left it, and
/// does with it what the program says: sends it, drops it, or receives it. The kernel works on `batch` frames
/// at a time, after each of which others may use the core.
///
/// # Errors
/// This process may not, or the kernel is older than Linux 5.18.
pub fn run_live(program: &Xdp, frame: &[u8], repeat: u32, batch: u32) -> Result<(), LoadError> {
    let attrs = TestRunAttrs::new().xdp_live_frames(batch);
    let options = TestRunOptions { data_in: Some(frame), repeat, attrs, ..TestRunOptions::default() };
    program.test_run(options)?;
    Ok(())
}
