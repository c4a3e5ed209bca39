//! Each committed object is the one that its sources give.

use std::fs;
use std::path::Path;

use md5::{Digest, Md5};

/// What an object's digest is of, as build.sh has it: its source, and what that includes.
const OBJECTS: [&[&str]; 3] = [
    &["src/xdp/responder.bpf.c", "src/xdp/responder.h", "src/xdp/bpf.h"],
    &["bench/src/xdp/programs.bpf.c", "src/xdp/responder.bpf.c", "src/xdp/responder.h", "src/xdp/bpf.h"],
    &["loadgen/src/xdp/load.bpf.c", "loadgen/src/xdp/load.h", "src/xdp/bpf.h"],
];

#[test]
fn each_object_was_built_from_the_sources_beside_it() {
    let read = |path: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    for sources in OBJECTS {
        let mut digest = Md5::new();
        sources.iter().for_each(|source| digest.update(read(source)));
        let expected: String = digest.finalize().iter().map(|octet| format!("{octet:02x}")).collect();
        let source = sources[0];
        let object = read(&source.replace(".bpf.c", ".bpf.o"));
        let section = format!("{expected}\0");
        assert!(
            object.windows(section.len()).any(|window| window == section.as_bytes()),
            "the object beside {source} is not of it, whose digest is {expected}: src/xdp/build.sh {source}"
        );
    }
}
