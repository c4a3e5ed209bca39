//! The house rules that a machine can check: who imports whom, where `unsafe` may stand, which words have no
//! place in the hot room, and how long a file, a function and a line may be. Each finding is one line,
//! `file:line: rule`.

#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/tests.rs"]
mod tests;

use std::fs;
use std::path::Path;

use self::source::Source;

/// Every Rust file of the project below these.
const ROOTS: [&str; 4] = ["src", "loadgen", "bench", "tests"];

#[test]
fn the_house_rules_are_kept() {
    let mut sources = Vec::new();
    ROOTS.iter().for_each(|root| read_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join(root), &mut sources));
    assert!(sources.iter().any(|source| source.path == "src/lib.rs"), "the sources are found");
    let findings: Vec<String> =
        sources.iter().flat_map(rules::check).map(|finding| finding.to_string()).collect();
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

fn read_below(directory: &Path, sources: &mut Vec<Source>) {
    let mut entries: Vec<_> = fs::read_dir(directory).into_iter().flatten().flatten().collect();
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "target" {
            read_below(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file");
            let path = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).expect("below the root");
            sources.push(Source::new(&path.to_string_lossy(), &text));
        }
    }
}
