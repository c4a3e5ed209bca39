//! Who is compared, and how each is started: with its own rate limit and client list off, on a clock of its
//! own, in the foreground.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use bench::namespace::command;
use clap::ValueEnum;

use super::control::Control;
use super::packages::{Package, Program};
use super::rig::{SERVER, SOURCES};

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Contestant {
    Chronyd,
    Ntpsec,
    Openntpd,
    #[value(name = "ntpd-rs")]
    NtpdRs,
    #[value(name = "ntpring-io_uring")]
    NtpringIoUring,
    #[value(name = "ntpring-mmsg")]
    NtpringMmsg,
    #[value(name = "echo-io_uring")]
    EchoIoUring,
    #[value(name = "echo-mmsg")]
    EchoMmsg,
    PlainThread,
    NtpringXdp,
    /// With the rate limit that public servers have.
    NtpringXdpLimited,
    /// With 10 000 lines of access list.
    #[value(name = "ntpring-xdp-10k")]
    NtpringXdp10k,
    EchoXdp,
}

use Contestant::{
    Chronyd, EchoIoUring, EchoMmsg, EchoXdp, NtpdRs, NtpringIoUring, NtpringMmsg, NtpringXdp, NtpringXdp10k,
    NtpringXdpLimited, Ntpsec, Openntpd, PlainThread,
};

/// Where everything that is started lies.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// ntpring, ntpload and this program.
    pub(super) programs: PathBuf,
    /// Debian's packages, unpacked.
    pub(super) cache: PathBuf,
    /// Configurations and results of this run.
    pub(super) scratch: PathBuf,
}

/// Free of limits and of the list of clients, which only its own queries would read.
const CHRONYD: &str = "local stratum 3\nallow\ncmdport 0\nnoclientlog\n";

const NTPSEC: &str = "restrict default nomodify noquery\nunrestrict default limited kod\ndisable monitor\n\
                      disable ntp\nserver 127.127.1.0\nfudge 127.127.1.0 stratum 3\ntos orphan 4 orphanwait 1\n";

const NTPRING: &str = "restrict default nomodify noquery\nserver 127.127.1.0\nfudge 127.127.1.0 stratum 3\n";

/// As public servers have it.
const LIMITED: &str = "restrict default kod limited nomodify nopeer noquery\nserver 127.127.1.0\n\
                       fudge 127.127.1.0 stratum 3\n";

/// Lines of the long access list. Each allows what these requests need, inside of what they come from.
const LINES: usize = 10_000;

const NTPD_RS: &str = "[observability]\nlog-level = \"warn\"\n\n[synchronization]\nlocal-stratum = 3\n\n\
                       [[server]]\nlisten = \"0.0.0.0:123\"\n";

/// openntpd must become a user of its own and writes to directories of its own: both exist in its mount
/// namespace only.
const OPENNTPD: &str = "mount --bind passwd /etc/passwd && mount --bind group /etc/group \
                        && mount -t tmpfs none /var/lib \
                        && mkdir -p /var/lib/openntpd/run /var/lib/openntpd/db /var/lib/openntpd/empty \
                        && exec \"$0\" -d -f openntpd.conf";

impl Contestant {
    pub(super) const ALL: [Self; 13] = [
        Chronyd,
        Ntpsec,
        Openntpd,
        NtpdRs,
        NtpringIoUring,
        NtpringMmsg,
        NtpringXdp,
        NtpringXdpLimited,
        NtpringXdp10k,
        EchoIoUring,
        EchoMmsg,
        EchoXdp,
        PlainThread,
    ];

    /// The name in tables, on the command line and in JSON.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether its replies carry the time; a control's do not.
    pub(super) fn tells_time(self) -> bool {
        !matches!(self, EchoIoUring | EchoMmsg | EchoXdp)
    }

    /// Whether it answers in the network driver: its rate is more than sockets can ask for.
    pub(super) fn in_driver(self) -> bool {
        matches!(self, NtpringXdp | NtpringXdpLimited | NtpringXdp10k | EchoXdp)
    }

    /// Whether what it does depends on who asks, so that many must.
    pub(super) fn knows_sources(self) -> bool {
        matches!(self, NtpringXdpLimited | NtpringXdp10k)
    }

    /// Whether it prints a line of counters when it is asked to.
    pub(super) fn has_counters(self) -> bool {
        matches!(self, NtpringIoUring | NtpringMmsg | NtpringXdp | NtpringXdpLimited | NtpringXdp10k)
    }

    /// The command that runs it on `core`, to serve what comes over `link`.
    ///
    /// # Errors
    /// It is nowhere to be had.
    pub(super) fn command(self, places: &Places, core: usize, link: &str) -> Result<Command, String> {
        let mut command = match self {
            Chronyd => chronyd(places, core)?,
            Ntpsec => ntpsec(places, core)?,
            Openntpd => openntpd(places, core)?,
            NtpdRs => {
                let program = Package { package: "ntpd-rs", program: "ntp-daemon" }.installed();
                let program = program.ok_or("ntp-daemon is not installed")?;
                let mut ntp_daemon = command(Some(core), program);
                ntp_daemon.arg("--config").arg(write(places, "ntpd-rs.toml", NTPD_RS)?);
                ntp_daemon
            }
            NtpringIoUring => ntpring(places, core, "io_uring", NTPRING)?,
            NtpringMmsg => ntpring(places, core, "mmsg", NTPRING)?,
            NtpringXdp => in_driver(ntpring(places, core, "io_uring", NTPRING)?, link),
            NtpringXdpLimited => in_driver(ntpring(places, core, "io_uring", LIMITED)?, link),
            NtpringXdp10k => in_driver(ntpring(places, core, "io_uring", &long_list())?, link),
            EchoXdp => control(core, Control::EchoXdp)?,
            EchoIoUring => control(core, Control::EchoIoUring)?,
            EchoMmsg => control(core, Control::EchoMmsg)?,
            PlainThread => control(core, Control::Plain)?,
        };
        command.current_dir(&places.scratch);
        Ok(command)
    }
}

fn chronyd(places: &Places, core: usize) -> Result<Command, String> {
    let program = Package { package: "chrony", program: "chronyd" }.find(&places.cache)?;
    let own = |name: &str| places.scratch.join(name).display().to_string();
    let files = format!("pidfile {}\ndriftfile {}\n", own("chronyd.pid"), own("chronyd.drift"));
    let mut chronyd = unpacked(core, &program);
    // -x: it never touches the clock. -u root: Debian's user need not exist.
    chronyd.args(["-x", "-d", "-u", "root", "-f"]).arg(write(
        places,
        "chrony.conf",
        CHRONYD.to_owned() + &files,
    )?);
    Ok(chronyd)
}

fn ntpsec(places: &Places, core: usize) -> Result<Command, String> {
    let program = Package { package: "ntpsec", program: "ntpd" }.find(&places.cache)?;
    let drift = format!("driftfile {}\n", places.scratch.join("ntpsec.drift").display());
    let mut ntpd = unpacked(core, &program);
    ntpd.args(["-n", "-c"]).arg(write(places, "ntpsec.conf", NTPSEC.to_owned() + &drift)?);
    Ok(ntpd)
}

fn openntpd(places: &Places, core: usize) -> Result<Command, String> {
    let program = Package { package: "openntpd", program: "ntpd" }.find(&places.cache)?;
    let extended = |name: &str, line: &str| {
        let text = fs::read_to_string(Path::new("/etc").join(name)).unwrap_or_default();
        write(places, name, format!("{text}{line}\n"))
    };
    extended("passwd", "ntpd:x:65533:65533::/var/lib/openntpd/empty:/bin/false")?;
    extended("group", "ntpd:x:65533:")?;
    write(places, "openntpd.conf", format!("listen on {SERVER}\n"))?;
    let mut unshare = unpacked(core, &Program { path: "unshare".into(), libraries: program.libraries });
    unshare.args(["--mount", "sh", "-c", OPENNTPD]).arg(program.path);
    Ok(unshare)
}

fn ntpring(places: &Places, core: usize, datapath: &str, conf: &str) -> Result<Command, String> {
    let mut ntpring = command(Some(core), places.programs.join("ntpring"));
    ntpring.args(["serve", "-x", "--cpus", &core.to_string(), "--datapath", datapath, "-c"]);
    ntpring.arg(write(places, "ntpring.conf", conf)?);
    Ok(ntpring)
}

/// The same, answering in the driver of this link.
fn in_driver(mut ntpring: Command, link: &str) -> Command {
    ntpring.args(["--xdp", "native", "-i", link]);
    ntpring
}

/// A configuration with a line about each of many networks that requests come from, and hosts in them.
fn long_list() -> String {
    let mut random = fastrand::Rng::with_seed(1);
    let mut line = || {
        let length = random.u32(20..=32);
        let mask = u32::MAX << (32 - length);
        let network = SOURCES.0.to_bits() | random.u32(..) >> SOURCES.1;
        let [network, mask] = [network & mask, mask].map(Ipv4Addr::from_bits);
        format!("restrict {network} mask {mask} nomodify noquery\n")
    };
    (0..LINES).map(|_| line()).collect::<String>() + NTPRING
}

/// This program, as one of its own controls.
fn control(core: usize, control: Control) -> Result<Command, String> {
    let this = std::env::current_exe().map_err(|error| format!("this program's path: {error}"))?;
    let mut command = command(Some(core), this);
    command.args(["--control", control.name()]);
    Ok(command)
}

fn unpacked(core: usize, program: &Program) -> Command {
    let mut command = command(Some(core), &program.path);
    if let Some(libraries) = &program.libraries {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    command
}

fn write(places: &Places, name: &str, text: impl AsRef<[u8]>) -> Result<PathBuf, String> {
    let path = places.scratch.join(name);
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}
