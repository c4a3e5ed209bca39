//! `tuning/`: what apply.sh changes, revert.sh restores to the letter; what is shipped fits the daemon.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::doctor::{TRACKING, run, with_queues, with_sysfs};
use crate::support::clients::find;
use crate::support::namespace::{Finished, Namespace, command};
use crate::support::scene::SCRATCH;

const APPLY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tuning/apply.sh");
const REVERT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tuning/revert.sh");

/// A machine out of tune: two cores, a device with two queues that interrupt the same core.
const MACHINE: [(&str, &str); 21] = [
    ("proc/sys/kernel/random/boot_id", "1f2e"),
    ("proc/sys/kernel/io_uring_disabled", "2"),
    ("proc/sys/net/core/rmem_max", "212992"),
    (
        "proc/interrupts",
        "           CPU0 CPU1\n 40: 1 0 PCI-MSI 0-edge dev-config\n 41: 1 0 PCI-MSI 1-edge dev-rx-0\n 42: 0 1 PCI-MSI 2-edge dev-rx-1",
    ),
    ("proc/irq/40/smp_affinity_list", "0-1"),
    ("proc/irq/40/effective_affinity_list", "0"),
    ("proc/irq/41/smp_affinity_list", "0-1"),
    ("proc/irq/41/effective_affinity_list", "0"),
    ("proc/irq/42/smp_affinity_list", "0"),
    ("proc/irq/42/effective_affinity_list", "0"),
    ("sys/devices/system/cpu/online", "0-1"),
    ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave"),
    ("sys/devices/system/cpu/cpu0/cpuidle/state1/latency", "2"),
    ("sys/devices/system/cpu/cpu0/cpuidle/state1/disable", "0"),
    ("sys/devices/system/cpu/cpu0/cpuidle/state2/latency", "133"),
    ("sys/devices/system/cpu/cpu0/cpuidle/state2/disable", "0"),
    ("sys/devices/system/cpu/cpuidle/current_governor", "haltpoll"),
    ("sys/module/haltpoll/parameters/guest_halt_poll_ns", "0"),
    ("sys/class/net/absent0/queues/rx-0/rps_cpus", "00000000,00000003"),
    ("sys/class/net/absent0/queues/rx-1/rps_cpus", "00000000,00000000"),
    ("sys/class/net/absent0/device/msi_irqs/40", "msix"),
];

/// A machine made of files.
struct Tree {
    root: PathBuf,
    namespace: Namespace,
}

impl Tree {
    /// None with a skip; the namespace keeps the scripts away from this machine's own rules and devices.
    fn new(name: &str) -> Option<Self> {
        let tree = Self { root: Path::new(SCRATCH).join(name), namespace: Namespace::new()? };
        let _ = fs::remove_dir_all(&tree.root);
        for (path, text) in MACHINE {
            tree.write(path, text);
        }
        tree.write("sys/class/net/absent0/device/msi_irqs/41", "msix");
        tree.write("sys/class/net/absent0/device/msi_irqs/42", "msix");
        Some(tree)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("a directory");
        fs::write(path, format!("{text}\n")).expect("a file");
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).expect("a file").trim().to_owned()
    }

    fn run(&self, script: &str, arguments: &str) -> Finished {
        let mut command = command(script);
        command
            .args(arguments.split_whitespace())
            .env("NTPRING_TUNING_ROOT", &self.root)
            .env("NTPRING_TUNING_STATE", self.root.join("state"));
        self.namespace.run(command)
    }

    /// Every file but the state, with its text.
    fn files(&self) -> BTreeMap<PathBuf, String> {
        let mut files = BTreeMap::new();
        let mut open = vec![self.root.join("proc"), self.root.join("sys")];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(directory).expect("a directory").flatten() {
                match entry.path() {
                    path if path.is_dir() => open.push(path),
                    path => drop(files.insert(path.clone(), fs::read_to_string(path).expect("text"))),
                }
            }
        }
        files
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

#[test]
fn what_is_applied_is_reverted_to_the_letter() {
    let Some(tree) = Tree::new("tuning-exact") else { return };
    let before = tree.files();
    let all = "--shallow-idle --io-uring";

    let printed = tree.run(APPLY, all);
    assert_eq!(printed.code, Some(0), "{}", printed.text);
    assert!(printed.text.contains("/proc/sys/net/core/rmem_max: 212992 -> 1048576"), "{}", printed.text);
    assert_eq!(tree.files(), before, "printing changes nothing");

    let applied = tree.run(APPLY, &format!("--yes {all}"));
    assert_eq!(applied.code, Some(0), "{}", applied.text);
    for (path, value) in [
        ("proc/sys/kernel/io_uring_disabled", "0"),
        ("proc/sys/net/core/rmem_max", "1048576"),
        ("proc/irq/40/smp_affinity_list", "0-1"),
        ("proc/irq/41/smp_affinity_list", "0"),
        ("proc/irq/42/smp_affinity_list", "1"),
        ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance"),
        ("sys/devices/system/cpu/cpu0/cpuidle/state1/disable", "0"),
        ("sys/devices/system/cpu/cpu0/cpuidle/state2/disable", "1"),
        ("sys/module/haltpoll/parameters/guest_halt_poll_ns", "200000"),
        ("sys/class/net/absent0/queues/rx-0/rps_cpus", "0"),
    ] {
        assert_eq!(tree.read(path), value, "{path} after:\n{}", applied.text);
    }

    // The kernel moves interrupts where it is told; these files do not.
    tree.write("proc/irq/42/effective_affinity_list", "1");
    let again = tree.run(APPLY, &format!("--yes {all}"));
    assert_eq!(again.code, Some(0), "{}", again.text);
    assert!(again.text.contains("nothing: all is as wanted"), "{}", again.text);
    tree.write("proc/irq/42/effective_affinity_list", "0");

    let reverted = tree.run(REVERT, "");
    assert_eq!(reverted.code, Some(0), "{}", reverted.text);
    assert_eq!(tree.files(), before, "{}", reverted.text);
    assert!(!tree.root.join("state/changes").exists(), "nothing is left to take back");
}

#[test]
fn only_the_governor_that_polls_before_it_halts_is_told_to() {
    let Some(tree) = Tree::new("tuning-governor") else { return };
    tree.write("sys/devices/system/cpu/cpuidle/current_governor", "menu");
    assert_eq!(tree.run(APPLY, "--yes --shallow-idle").code, Some(0));
    assert_eq!(tree.read("sys/module/haltpoll/parameters/guest_halt_poll_ns"), "0");
}

#[test]
fn applied_in_steps_the_first_values_come_back() {
    let Some(tree) = Tree::new("tuning-steps") else { return };
    let before = tree.files();
    assert_eq!(tree.run(APPLY, "--yes").code, Some(0));
    assert_eq!(tree.read("sys/devices/system/cpu/cpu0/cpuidle/state2/disable"), "0", "only when asked for");
    // Somebody takes one back by hand, and applies again with more.
    tree.write("proc/sys/net/core/rmem_max", "300000");
    assert_eq!(tree.run(APPLY, "--yes --shallow-idle --io-uring").code, Some(0));
    assert_eq!(tree.run(REVERT, "").code, Some(0));
    assert_eq!(tree.files(), before);
}

#[test]
fn without_anything_applied_nothing_is_reverted() {
    let Some(tree) = Tree::new("tuning-nothing") else { return };
    let before = tree.files();
    let reverted = tree.run(REVERT, "");
    assert_eq!(reverted.code, Some(0));
    assert!(
        reverted.text.starts_with("nothing to take back: apply.sh has changed nothing"),
        "{}",
        reverted.text
    );
    // Applied before the machine was started last: the kernel has its own values again.
    assert_eq!(tree.run(APPLY, "--yes").code, Some(0));
    tree.write("proc/sys/kernel/random/boot_id", "3d4c");
    tree.write("proc/sys/net/core/rmem_max", "999");
    let reverted = tree.run(REVERT, "");
    assert_eq!(reverted.code, Some(0));
    assert!(reverted.text.contains("was started since"), "{}", reverted.text);
    assert_eq!(tree.read("proc/sys/net/core/rmem_max"), "999");
    assert_ne!(tree.files(), before);
}

#[test]
fn what_cannot_be_changed_is_said_and_the_rest_is_done() {
    let Some(tree) = Tree::new("tuning-failing") else { return };
    // A directory cannot be written, whoever tries; it reads as nothing.
    fs::remove_file(tree.root.join("proc/irq/41/smp_affinity_list")).expect("it was there");
    fs::remove_file(tree.root.join("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")).expect("it was");
    std::os::unix::fs::symlink("/proc/version", tree.root.join("proc/irq/41/smp_affinity_list"))
        .expect("a link to what nobody may write");
    let before = tree.files();
    let applied = tree.run(APPLY, "--yes");
    assert_eq!(applied.code, Some(1), "{}", applied.text);
    assert!(
        applied.text.contains("FAILED       /proc/irq/41/smp_affinity_list cannot be written"),
        "{}",
        applied.text
    );
    assert!(
        applied.text.contains("left alone   /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "{}",
        applied.text
    );
    assert_eq!(tree.read("proc/sys/net/core/rmem_max"), "1048576");
    let reverted = tree.run(REVERT, "");
    assert_eq!((reverted.code, tree.files()), (Some(0), before), "{}", reverted.text);

    let wrong = tree.run(APPLY, "--yes -i nosuch0");
    assert_eq!(wrong.code, Some(2), "{}", wrong.text);
    assert_eq!(tree.run(APPLY, "--please").code, Some(2));
    assert_eq!(tree.run(REVERT, "--please").code, Some(2));
}

#[test]
fn rules_and_queues_of_a_real_interface_are_applied_and_reverted() {
    let Some(namespace) = with_queues() else { return };
    let (Some(nft), Some(ethtool)) = (find("nft", "nft"), find("ethtool", "ethtool")) else { return };
    let [nft, ethtool] = [nft, ethtool].map(|path| path.to_str().expect("a path in UTF-8").to_owned());
    run(&namespace, &nft, &[TRACKING]);
    run(&namespace, &ethtool, &["-L", "v0", "rx", "1"]);
    // Something for the rules to track.
    let socket = namespace.socket("127.0.0.1:0");
    socket.send_to(&[], "127.0.0.1:9").expect("a datagram leaves");

    let show = |program: &str, arguments: &[&str]| {
        let mut command = with_sysfs(program);
        command.args(arguments);
        namespace.run(command).text
    };
    let look = || [show(&nft, &["list", "ruleset"]), show(&ethtool, &["-l", "v0"])];
    let state = Path::new(SCRATCH).join("tuning-real");
    let _ = fs::remove_dir_all(&state);
    let script = |script: &str, arguments: &[&str]| {
        let mut command = with_sysfs(script);
        command.args(arguments).env("NTPRING_TUNING_STATE", &state);
        namespace.run(command)
    };
    let before = look();
    let applied = script(APPLY, &["--yes", "-i", "v0"]);
    assert_eq!(applied.code, Some(0), "{}", applied.text);
    let after = look();
    assert!(after[0].contains("udp dport 123 notrack"), "{}", after[0]);
    assert_ne!(after[1], before[1]);
    let again = script(APPLY, &["--yes", "-i", "v0"]);
    assert!(again.text.contains("nothing: all is as wanted"), "{}", again.text);
    let reverted = script(REVERT, &[]);
    assert_eq!(reverted.code, Some(0), "{}", reverted.text);
    assert_eq!(look(), before);
    let _ = fs::remove_dir_all(&state);
}
