//! The daemon's own binary, and chronyd beside it, in a simulator that is none of ours: clknetsim, which
//! stands in for the C library's calls and with which chrony tests itself.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::outside_scenario::Outside;
use crate::run::Record;
use crate::statistics::Summary;

/// How long a run may take, on the real clock.
const PATIENCE: Duration = Duration::from_secs(300);

/// Whose client it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Ours.
    Ntpring,
    /// chronyd, with the same lines.
    Chrony,
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Places {
    /// A checkout of clknetsim, built.
    pub clknetsim: PathBuf,
    /// The daemon.
    pub ntpring: PathBuf,
    /// The root of unpacked clients, with usr/sbin/chronyd below.
    pub clients: PathBuf,
    /// Where each run has a directory of its own.
    pub scratch: PathBuf,
}

impl Places {
    /// One run; the seed decides everything that is left to chance, but for what programs ask the kernel for.
    ///
    /// # Errors
    /// What did not start, and what a program said before the simulator ended early.
    pub fn run(&self, scenario: &Outside, program: Program, seed: u64) -> io::Result<Summary> {
        let name =
            format!("{}-{program:?}-{seed}", scenario.name.replace(|c: char| !c.is_alphanumeric(), "-"));
        let directory = self.scratch.join(name);
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
        let nodes = Nodes { places: self, scenario, seed, directory: &directory };
        let record = nodes.run(program)?;
        Ok(Summary::of(&record, seed))
    }

    fn chronyd(&self) -> PathBuf {
        self.clients.join("usr/sbin/chronyd")
    }
}

/// The programs of one run, each on a node of the simulated network: servers first, the client last.
struct Nodes<'a> {
    places: &'a Places,
    scenario: &'a Outside,
    seed: u64,
    directory: &'a Path,
}

/// A program that ends with the run.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Nodes<'_> {
    fn run(&self, program: Program) -> io::Result<Record> {
        let client = self.scenario.servers + 1;
        fs::write(self.file("conf"), self.scenario.network())?;
        let mut running = Vec::new();
        for server in 1..client {
            running.push(self.server(server)?);
        }
        running.push(match program {
            Program::Ntpring => self.ntpring(client)?,
            Program::Chrony => self.chrony(client)?,
        });
        self.simulate(client)?;
        drop(running);
        self.read(client)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn server(&self, node: usize) -> io::Result<Running> {
        let conf = self.file(&format!("server{node}"));
        let pid = self.file(&format!("pid{node}"));
        fs::write(&conf, format!("pidfile {}\ncmdport 0\nlocal stratum 1\nallow\n", pid.display()))?;
        self.start(node, &self.places.chronyd(), &["-d", "-x", "-F", "0", "-f"], &conf)
    }

    fn chrony(&self, node: usize) -> io::Result<Running> {
        let conf = self.file("client");
        let pid = self.file(&format!("pid{node}"));
        let lines = self.scenario.lines();
        // chrony's own way to what we do at the start: the same threshold, at the first updates only.
        let text = format!("pidfile {}\ncmdport 0\nmakestep 0.128 3\n{lines}", pid.display());
        fs::write(&conf, text)?;
        self.start(node, &self.places.chronyd(), &["-d", "-F", "0", "-f"], &conf)
    }

    fn ntpring(&self, node: usize) -> io::Result<Running> {
        let conf = self.file("client");
        fs::write(&conf, self.scenario.lines())?;
        self.start(node, &self.places.ntpring, &["serve", "--workers", "0", "-g", "-c"], &conf)
    }

    /// Starts a program on a node, without the right to set this machine's clock: where the simulator should
    /// fail to stand in for a call, nothing happens.
    fn start(&self, node: usize, program: &Path, arguments: &[&str], conf: &Path) -> io::Result<Running> {
        let libraries =
            self.places.clients.join("usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
        let log = File::create(self.file(&format!("log{node}")))?;
        let mut command = without_the_clock();
        command.arg("env");
        command.arg(format!("LD_PRELOAD={}", self.places.clknetsim.join("clknetsim.so").display()));
        if program != self.places.ntpring {
            command.arg(format!("LD_LIBRARY_PATH={}", libraries.display()));
        }
        command.arg(format!("CLKNETSIM_SOCKET={}", self.file("socket").display()));
        command.arg(format!("CLKNETSIM_NODE={node}"));
        command.arg(format!("CLKNETSIM_RANDOM_SEED={}", self.seed));
        command.arg(format!("CLKNETSIM_START_DATE={}", self.scenario.epoch));
        command.arg(program).args(arguments).arg(conf);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.spawn().map(Running)
    }

    fn simulate(&self, client: usize) -> io::Result<()> {
        let mut command = Command::new(self.places.clknetsim.join("clknetsim"));
        for (flag, name) in [("-s", "socket"), ("-o", "offsets"), ("-f", "rates"), ("-p", "packets")] {
            command.arg(flag).arg(self.file(name));
        }
        command
            .args(["-l", &self.scenario.seconds.to_string()])
            .arg(self.file("conf"))
            .arg(client.to_string());
        command.env("CLKNETSIM_RANDOM_SEED", self.seed.to_string());
        let log = File::create(self.file("statistics"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut simulator = Running(command.spawn()?);
        let since = Instant::now();
        while simulator.0.try_wait()?.is_none() {
            if since.elapsed() > PATIENCE {
                return Err(self.failure(client, "it did not end"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn read(&self, client: usize) -> io::Result<Record> {
        // A column per node in one file, a line per packet in the other: when, from, to.
        let column = |name| self.table(name, |fields| fields.get(client - 1)?.parse().ok());
        let sent = self.table("packets", |fields| {
            let (from, to): (usize, usize) = (fields.get(1)?.parse().ok()?, fields.get(2)?.parse().ok()?);
            (from == client).then_some((fields[0].parse().ok()?, to - 1))
        })?;
        let record =
            Record { errors: column("offsets")?, rates: column("rates")?, sent, ..Record::default() };
        if record.errors.len() < self.scenario.seconds {
            let what = format!("it ended after {} s", record.errors.len());
            return Err(self.failure(client, &what));
        }
        Ok(record)
    }

    fn table<T>(&self, name: &str, line: impl Fn(&[&str]) -> Option<T>) -> io::Result<Vec<T>> {
        let text = fs::read_to_string(self.file(name)).unwrap_or_default();
        Ok(text.lines().filter_map(|text| line(&text.split_whitespace().collect::<Vec<_>>())).collect())
    }

    fn failure(&self, client: usize, what: &str) -> io::Error {
        let said = fs::read_to_string(self.file(&format!("log{client}"))).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(5).collect();
        io::Error::other(format!("{}: {what}; the client's last lines: {last:?}", self.directory.display()))
    }
}

/// A command that gives up CAP_SYS_TIME for good, where there is one to give up.
fn without_the_clock() -> Command {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap_or_default();
    let capabilities = u64::from_str_radix(line.trim(), 16).unwrap_or(u64::MAX);
    if capabilities >> 25 & 1 == 0 {
        return Command::new("env");
    }
    let mut command = Command::new("setpriv");
    command.args(["--inh-caps", "-sys_time", "--bounding-set", "-sys_time", "--"]);
    command
}
