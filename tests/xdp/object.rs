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

fn read(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn object_of(source: &str) -> Vec<u8> {
    read(&source.replace(".bpf.c", ".bpf.o"))
}

#[test]
fn no_object_tells_where_it_was_built() {
    for source in OBJECTS.map(|sources| sources[0]) {
        let object = object_of(source);
        let texts = object.split(|octet| *octet == 0).filter_map(|text| std::str::from_utf8(text).ok());
        let paths: Vec<&str> = texts.filter(|text| text.ends_with(".h") || text.ends_with(".c")).collect();
        assert!(!paths.is_empty(), "{source}: its debug information names no file");
        assert!(paths.iter().all(|path| path.starts_with("./")), "{source}: {paths:?}");
    }
}

#[test]
fn each_object_was_built_from_the_sources_beside_it() {
    for sources in OBJECTS {
        let mut digest = Md5::new();
        sources.iter().for_each(|source| digest.update(read(source)));
        let expected: String = digest.finalize().iter().map(|octet| format!("{octet:02x}")).collect();
        let source = sources[0];
        let object = object_of(source);
        let section = format!("{expected}\0");
        assert!(
            object.windows(section.len()).any(|window| window == section.as_bytes()),
            "the object beside {source} is not of it, whose digest is {expected}: src/xdp/build.sh {source}"
        );
    }
}
