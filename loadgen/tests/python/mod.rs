//! What others make of a result: programs in Python, with modules that know nothing of ntpload.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::skip::skip;

/// What `script` prints, which needs `module`; or None with a skip where Python lacks it.
///
/// # Panics
/// If the script fails, with what it said.
pub(crate) fn python(module: &str, script: &str, arguments: &[&str]) -> Option<String> {
    let python = |script: &str| {
        let mut python = Command::new("python3");
        python.env("PYTHONPATH", modules()).args(["-c", script]).args(arguments).output()
    };
    if !python(&format!("import {module}")).is_ok_and(|probe| probe.status.success()) {
        skip(
            module,
            &format!("python3 cannot import {module}: run ./ci.sh test, which installs it below target"),
        );
        return None;
    }
    let output = python(script).expect("python3 ran before");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    Some(String::from_utf8(output.stdout).expect("text"))
}

/// Where ./ci.sh puts modules, beside the NTP clients that it unpacks.
fn modules() -> PathBuf {
    let clients = env::var_os("NTPRING_CLIENTS").map_or_else(
        || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("clients").join("root"),
        PathBuf::from,
    );
    clients.with_file_name("python")
}
