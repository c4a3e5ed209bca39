//! What lines mean, and what is said about them. Tests are named after the rules of ntp.conf's semantics:
//! F1–F12, K4, C22.

mod access;
mod properties;
mod reading;
mod settings;
mod sources;

use std::collections::HashMap;
use std::io;
use std::path::Path;

use super::*;

/// The configuration of one file, and its findings without the file's name.
fn read(text: &str) -> (Config, Vec<String>) {
    read_files(&[("", text)])
}

/// The first file is the configuration, the others may be included.
fn read_files(files: &[(&str, &str)]) -> (Config, Vec<String>) {
    let (config, findings) = load_files(files);
    (config, findings.iter().map(|finding| finding.to_string().trim_start_matches(':').to_owned()).collect())
}

fn load_files(files: &[(&str, &str)]) -> (Config, Findings) {
    let contents: HashMap<&Path, &str> = files.iter().map(|(name, text)| (Path::new(*name), *text)).collect();
    let mut read = |path: &Path| {
        contents.get(path).map(|text| text.as_bytes().to_vec()).ok_or(io::ErrorKind::NotFound.into())
    };
    load(Path::new(files[0].0), &mut read).expect("the first file is there")
}

/// The configuration of a file without findings.
fn clean(text: &str) -> Config {
    let (config, findings) = read(text);
    assert!(findings.is_empty(), "{findings:#?}");
    config
}

/// The one finding of a text.
fn finding(text: &str) -> String {
    let (_, findings) = read(text);
    assert_eq!(findings.len(), 1, "{text:?}: {findings:#?}");
    findings.into_iter().next().unwrap_or_default()
}

/// The findings that are not about what is not active yet.
fn active_findings(text: &str) -> Vec<String> {
    let (_, findings) = read(text);
    findings.into_iter().filter(|finding| !finding.contains("not active yet")).collect()
}
