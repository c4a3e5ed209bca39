//! What /proc tells of processes and kernel threads.

use std::fs;
use std::time::Duration;

/// CPU time of all threads of a process that live, or `None` if it has gone.
pub(super) fn cpu_of(process: u32) -> Option<Duration> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let times = tasks.flatten().filter_map(|task| {
        let times = fs::read_to_string(task.path().join("schedstat")).ok()?;
        times.split_whitespace().next()?.parse::<u64>().ok()
    });
    Some(Duration::from_nanos(times.sum()))
}

/// Memory that a process holds, in KiB.
pub(super) fn resident_kib(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// A process and all that descend from it.
pub(super) fn tree(process: u32) -> Vec<u32> {
    let mut found = vec![process];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        next += 1;
        let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    found
}

/// Processes and kernel threads whose names begin so.
pub(super) fn named(prefix: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_named = |process: &u32| {
        fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|name| name.starts_with(prefix))
    };
    numbers.filter(is_named).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_child_belongs_to_the_tree_and_its_time_is_counted() {
        let mut child = Command::new("sleep").arg("10").spawn().unwrap();
        assert!(tree(std::process::id()).contains(&child.id()));
        assert_eq!(tree(child.id()), [child.id()]);
        assert!(cpu_of(std::process::id()).unwrap() > Duration::ZERO);
        assert!(resident_kib(std::process::id()).unwrap() > 100);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(cpu_of(child.id()), None);
    }
}
