//! What the how-tos show is what the project has: their configurations are read without an error, those of
//! the five minutes are the well-known ones, and their links lead somewhere.

use std::fs;
use std::path::{Path, PathBuf};

use ntpring::config;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The blocks between ``` lines that name no language.
fn blocks(document: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in document.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => open = Some((language.is_empty(), String::new())),
            (Some((_, block)), None) => {
                block.push_str(line);
                block.push('\n');
            }
            (Some(_), Some(_)) => {
                blocks.extend(open.take().filter(|(is_plain, _)| *is_plain).map(|(_, block)| block));
            }
            (None, None) => {}
        }
    }
    blocks
}

fn without_comments(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn the_five_minutes_use_the_files_that_people_have() {
    let seeds = ["server", "client"].map(|side| text(&format!("tests/data/seed/{side}.ntp.conf")));
    let korean = blocks(&text("docs/five-minutes.ko.md"));
    let english = blocks(&text("docs/five-minutes.md"));
    for seed in &seeds {
        assert!(korean.iter().any(|block| block.trim_end() == seed.trim_end()), "byte for byte:\n{seed}");
        // The comments are translated, line by line, so that the line numbers of the findings hold.
        let same = |block: &&String| without_comments(block) == without_comments(seed.trim_end());
        let block = english.iter().find(same).unwrap_or_else(|| panic!("not there:\n{seed}"));
        assert_eq!(block.lines().count(), seed.trim_end().lines().count());
    }
    let shown = |blocks: Vec<String>| -> Vec<String> {
        blocks.into_iter().filter(|block| block.starts_with('[')).collect()
    };
    assert_eq!(shown(korean), shown(english), "the same commands and outputs in both languages");
}

#[test]
fn the_findings_of_the_five_minutes_are_those_of_today() {
    let screens = blocks(&text("docs/five-minutes.md")).concat();
    for side in ["server", "client"] {
        let seed = text(&format!("tests/data/seed/{side}.ntp.conf"));
        let mut read = |path: &Path| match path == Path::new("/etc/ntp.conf") {
            true => Ok(seed.clone().into_bytes()),
            false => Err(std::io::Error::from_raw_os_error(2)),
        };
        let (_, findings) = config::load(Path::new("/etc/ntp.conf"), &mut read).expect("it is in memory");
        for finding in &findings {
            assert!(screens.contains(&format!("{finding}\n")), "{side}: not shown: {finding}");
        }
    }
}

#[test]
fn the_configurations_of_the_how_tos_have_no_errors() {
    for document in ["docs/from-chrony.md", "docs/from-ntpd-rs.md"] {
        let blocks = blocks(&text(document));
        let ours: Vec<_> = blocks.iter().filter(|block| block.starts_with("# ntp.conf\n")).collect();
        assert_eq!(ours.len(), 1, "{document}");
        let mut read = |_: &Path| Ok(ours[0].clone().into_bytes());
        let (_, findings) = config::load(Path::new(document), &mut read).expect("it is in memory");
        let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(findings, [] as [String; 0]);
    }
}

#[test]
fn every_link_between_the_documents_leads_to_a_file() {
    let documents = fs::read_dir(Path::new(ROOT).join("docs")).expect("documents");
    let documents = documents.map(|entry| entry.expect("an entry").path());
    for document in documents.chain([PathBuf::from(ROOT).join("README.md")]) {
        let text = fs::read_to_string(&document).expect("UTF-8");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            let path = document.parent().expect("a directory").join(file);
            assert!(path.exists(), "{}: {target}", document.display());
        }
    }
}
