//! Our ntpq at a terminal, and somebody who types.

use serde_json::json;

use super::clients::python;
use super::namespace::{Finished, Namespace};

/// Types each text once its prompt has come, and prints all that the terminal showed.
const SCRIPT: &str = r#"
import json, os, pty, select, sys, time
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[1], sys.argv[1:-1])
shown, seen = b"", 0
def read():
    global shown
    ready, _, _ = select.select([terminal], [], [], 15)
    try:
        got = os.read(terminal, 4096) if ready else b""
    except OSError:
        got = b""
    shown += got
    return got
for prompt, text in json.loads(sys.argv[-1]):
    while prompt.encode() not in shown[seen:] and read():
        pass
    seen = len(shown)
    # The terminal's echo goes off a moment after the prompt for a password.
    time.sleep(0.3)
    os.write(terminal, text.encode())
while read():
    pass
sys.stdout.write(shown.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;

/// The key that interrupts, as a terminal shows it.
pub(crate) const CONTROL_C: &str = "\x03";
/// The key that ends input.
pub(crate) const CONTROL_D: &str = "\x04";

/// What the terminal of `ntpring` with these arguments has shown in the end, when each text was typed at the
/// prompt before it; or None with a skip.
pub(crate) fn converse(
    namespace: &Namespace,
    arguments: &[&str],
    typed: &[(&str, &str)],
) -> Option<Finished> {
    let mut terminal = python("python", "pty", SCRIPT)?;
    terminal.arg(env!("CARGO_BIN_EXE_ntpring")).args(arguments).arg(json!(typed).to_string());
    let Finished { code, text } = namespace.run(terminal);
    Some(Finished { code, text: text.replace('\r', "") })
}
