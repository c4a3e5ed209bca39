//! Real NTP clients: unpacked by `./ci.sh test` (their packages conflict, so they are never installed), or
//! the machine's own.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::namespace::command;
use super::skip::skip;

/// Where programs live below a root: clients are not always on the PATH of a user.
const PROGRAMS: [&str; 7] =
    ["usr/bin", "usr/sbin", "bin", "sbin", "usr/lib/systemd", "lib/systemd", "usr/lib/nagios/plugins"];

/// A client program, without CAP_SYS_TIME, given 30 s to end; or None with a skip that names its facility.
pub(crate) fn client(facility: &str, program: &str) -> Option<Command> {
    let path = find(facility, program)?;
    let mut client = command("timeout");
    client.args(["--kill-after", "1", "30"]).arg(path);
    Some(with_libraries(client))
}

/// A client program that runs until the test ends it, without CAP_SYS_TIME; or None with a skip.
pub(crate) fn lasting_client(facility: &str, program: &str) -> Option<Command> {
    Some(with_libraries(command(find(facility, program)?)))
}

/// A Python program with the unpacked modules in reach, given 30 s to end; or None with a skip when it cannot
/// import `module`.
pub(crate) fn python(facility: &str, module: &str, script: &str) -> Option<Command> {
    // Debian's modules belong to Debian's Python, which need not be the first on the PATH.
    let python = if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" };
    let mut probe = with_libraries(Command::new(python));
    match probe.args(["-c", &format!("import {module}")]).output() {
        Ok(output) if output.status.success() => {
            let mut client = command("timeout");
            client.args(["--kill-after", "1", "30", python, "-c", script]);
            Some(with_libraries(client))
        }
        _ => {
            skip(facility, &format!("{python} cannot import {module}: run ./ci.sh test, which unpacks it"));
            None
        }
    }
}

/// The path of a client program, or None with a skip.
pub(crate) fn find(facility: &str, program: &str) -> Option<PathBuf> {
    let below = |root: PathBuf| PROGRAMS.iter().map(move |directory| root.join(directory).join(program));
    let found = below(unpacked()).chain(below(PathBuf::from("/"))).find(|path| path.is_file());
    if found.is_none() {
        skip(
            facility,
            &format!("{program} is neither unpacked nor installed: run ./ci.sh test, which unpacks it"),
        );
    }
    found
}

/// The path of strace where it may trace, or None with a skip.
pub(crate) fn strace() -> Option<PathBuf> {
    let strace = find("ptrace", "strace")?;
    let works =
        Command::new(&strace).args(["-o", "/dev/null", "true"]).status().is_ok_and(|end| end.success());
    if !works {
        skip("ptrace", "strace may not trace here: allow ptrace in the container's seccomp profile");
    }
    works.then_some(strace)
}

/// The directory that ./ci.sh unpacks clients into.
fn unpacked() -> PathBuf {
    let beside_tmp = || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("clients").join("root");
    env::var_os("NTPRING_CLIENTS").map_or_else(beside_tmp, PathBuf::from)
}

/// Gives a command the environment in which unpacked programs find their libraries, modules and each other.
pub(crate) fn with_libraries(mut client: Command) -> Command {
    let root = unpacked();
    let triplet = format!("{}-linux-gnu", env::consts::ARCH);
    let libraries = ["usr/lib", "lib"].map(|lib| root.join(lib).join(&triplet));
    let systemd = libraries.clone().map(|lib| lib.join("systemd"));
    let path = env::var_os("PATH").unwrap_or_default();
    let programs = PROGRAMS.iter().map(|directory| root.join(directory)).chain(env::split_paths(&path));
    client
        .env(
            "LD_LIBRARY_PATH",
            env::join_paths(libraries.iter().chain(&systemd)).expect("no colon in a path"),
        )
        .env("PYTHONPATH", root.join("usr/lib/python3/dist-packages"))
        .env("PATH", env::join_paths(programs).expect("no colon in a path"));
    client
}
