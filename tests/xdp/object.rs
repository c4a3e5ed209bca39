//! The committed object is the one that its sources give.

use std::fs;
use std::path::Path;

use md5::{Digest, Md5};
use ntpring::xdp::OBJECT;

#[test]
fn the_object_was_built_from_the_sources_beside_it() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/xdp");
    let mut digest = Md5::new();
    for source in ["bpf.h", "responder.h", "responder.bpf.c"] {
        digest.update(fs::read(directory.join(source)).expect("a source"));
    }
    let expected: String = digest.finalize().iter().map(|octet| format!("{octet:02x}")).collect();
    let section = format!("{expected}\0");
    assert!(
        OBJECT.windows(section.len()).any(|window| window == section.as_bytes()),
        "responder.bpf.o is not of these sources, whose digest is {expected}: run src/xdp/build.sh"
    );
}
