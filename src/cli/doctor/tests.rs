//! Machines that nobody has at hand: each test makes one and looks at what the doctor says.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::{env, fs, process};

use super::finding::Mend;
use super::machine::PortState;
use super::*;
use crate::daemon::owner::Owner;
use crate::sys::ethtool::{HashFields, Queues, Rings, Stamping};

/// A machine with eight cores and one interface, on which everything is as it should be.
struct Scene {
    machine: Machine,
}

const HASHED: HashFields =
    HashFields { source: true, destination: true, source_port: false, destination_port: false };

impl Scene {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("ntpring-doctor-{}-{}", process::id(), NUMBER.fetch_add(1, Relaxed));
        let root = env::temp_dir().join(name);
        let link = Link {
            name: "eth0".to_owned(),
            index: 2,
            driver: Ok("mlx5_core".to_owned()),
            queues: Ok(Queues { receive: 8, receive_max: 16, combined: true }),
            rings: Ok(Rings { receive: 1024, receive_max: 8192 }),
            hash_v4: Ok(HASHED),
            hash_v6: Ok(HASHED),
            strips_vlan_tags: Ok(true),
            stamping: Ok(Stamping {
                receive_software: true,
                send_software: true,
                receive_hardware: true,
                send_hardware: true,
                hardware_clock: Some(0),
            }),
            xdp: Ok(true),
        };
        let machine = Machine {
            root,
            cores: (0..8).collect(),
            ring: Ok(()),
            clock_reading: std::time::Duration::from_nanos(20),
            port: PortState::Free,
            tracked: Ok(false),
            links: vec![link],
        };
        let scene = Self { machine };
        for (path, text) in WELL {
            scene.file(path, text);
        }
        for core in 0..8 {
            let cpu = format!("sys/devices/system/cpu/cpu{core}");
            scene.file(&format!("{cpu}/cpufreq/scaling_governor"), "performance");
            for (state, latency) in [(0, 0), (1, 2), (2, 10)] {
                scene.file(&format!("{cpu}/cpuidle/state{state}/latency"), &latency.to_string());
                scene.file(&format!("{cpu}/cpuidle/state{state}/disable"), "0");
            }
            scene.file(&format!("sys/class/net/eth0/queues/rx-{core}/rps_cpus"), "00,00000000");
            scene.file(&format!("sys/class/net/eth0/device/msi_irqs/{}", 40 + core), "msix");
            scene.file(&format!("proc/irq/{}/smp_affinity_list", 40 + core), "0-7");
            scene.file(&format!("proc/irq/{}/effective_affinity_list", 40 + core), &core.to_string());
        }
        scene
    }

    fn file(&self, path: &str, text: &str) -> &Self {
        let path = self.machine.root.join(path);
        fs::create_dir_all(path.parent().expect("a path below the root")).expect("a directory");
        fs::write(path, format!("{text}\n")).expect("a file");
        self
    }

    fn remove(&self, path: &str) -> &Self {
        let path: PathBuf = self.machine.root.join(path);
        if path.is_dir() {
            fs::remove_dir_all(path).expect("it was there");
        } else {
            fs::remove_file(path).expect("it was there");
        }
        self
    }

    fn link(&mut self) -> &mut Link {
        &mut self.machine.links[0]
    }

    fn state(&self, check: &str) -> State {
        let found = examine(&self.machine).into_iter().find(|finding| finding.check == check);
        found.unwrap_or_else(|| panic!("no check {check}")).state
    }

    fn mend(&self, check: &str) -> Mend {
        match self.state(check) {
            State::Wrong { mend: Some(mend), .. } => mend,
            state => panic!("{check}: nothing to mend: {state:?}"),
        }
    }

    fn is_fine(&self, check: &str) {
        assert!(matches!(self.state(check), State::Fine { .. }), "{check}: {:?}", self.state(check));
    }

    fn says(&self, check: &str, part: &str) {
        let (State::Fine { found } | State::Wrong { found, .. } | State::Unknown { found }) =
            self.state(check);
        assert!(found.contains(part), "{check}: {found}");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.machine.root);
    }
}

const WELL: [(&str, &str); 23] = [
    ("proc/sys/kernel/osrelease", "6.18.2-generic"),
    ("proc/sys/kernel/io_uring_disabled", "0"),
    ("sys/devices/system/cpu/cpuidle/current_governor", "menu"),
    ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc"),
    ("sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet acpi_pm"),
    ("proc/self/status", "CapEff:\t000001ffffffffff\nNoNewPrivs:\t0\nSeccomp:\t0\nSeccomp_filters:\t0"),
    ("proc/self/cgroup", "0::/user.slice"),
    ("proc/sys/net/ipv4/ip_unprivileged_port_start", "1024"),
    ("proc/sys/net/core/rmem_max", "4194304"),
    ("proc/sys/net/core/netdev_max_backlog", "1000"),
    ("proc/sys/net/core/busy_read", "0"),
    (
        "proc/self/net/softnet_stat",
        "00132d9d 00000000 00000005 00000000\n000e0806 00000000 00000002 00000000",
    ),
    ("proc/sys/net/ipv4/conf/all/rp_filter", "0"),
    ("proc/sys/net/ipv4/conf/eth0/rp_filter", "1"),
    ("sys/class/net/eth0/ifindex", "2"),
    ("sys/class/net/eth0/mtu", "1500"),
    ("sys/class/net/eth0/statistics/rx_missed_errors", "0"),
    ("sys/class/net/eth0/statistics/rx_fifo_errors", "0"),
    ("sys/class/net/eth0/device/msi_irqs/30", "msix"),
    ("sys/class/net/eth0/device/msi_irqs/31", "msix"),
    ("proc/irq/30/smp_affinity_list", "0-7"),
    ("proc/sys/net/netfilter/nf_conntrack_count", "0"),
    (
        "proc/interrupts",
        "  30: 1 0  PCI-MSI 0-edge  mlx5_async0@pci:0000:01:00.0
  31: 1 0  PCI-MSI 1-edge  virtio0-output.0
  40: 1 0  PCI-MSI 2-edge  mlx5_comp0@pci:0000:01:00.0
  41: 1 0  PCI-MSI 2-edge  mlx5_comp1@pci:0000:01:00.0
  42: 1 0  PCI-MSI 2-edge  eth0-TxRx-2
  43: 1 0  PCI-MSI 2-edge  eth0-rx-3
  44: 1 0  PCI-MSI 2-edge  virtio2-input.4
  45: 1 0  PCI-MSI 2-edge  mlx5_comp5@pci:0000:01:00.0
  46: 1 0  PCI-MSI 2-edge  mlx5_comp6@pci:0000:01:00.0
  47: 1 0  PCI-MSI 2-edge  mlx5_comp7@pci:0000:01:00.0",
    ),
];

#[test]
fn a_machine_in_order_is_fine_in_every_check() {
    let scene = Scene::new();
    let findings = examine(&scene.machine);
    let bad: Vec<_> =
        findings.iter().filter(|finding| !matches!(finding.state, State::Fine { .. })).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(page(&scene.machine, &findings).ends_with("\n21 fine, 0 to mend, 0 not known\n"));
    scene.says("interrupts", "8 of receive queues, on cpu 0,1,2,3,4,5,6,7");
}

#[test]
fn a_machine_that_shows_nothing_is_not_known_and_not_wrong() {
    let mut scene = Scene::new();
    scene.machine.root = "/nonexistent".into();
    let link = scene.link();
    link.queues = Err(io::ErrorKind::Unsupported.into());
    link.rings = Err(io::ErrorKind::Unsupported.into());
    link.stamping = Err(io::ErrorKind::Unsupported.into());
    link.xdp = Err(io::ErrorKind::Unsupported.into());
    let findings = examine(&scene.machine);
    let wrong: Vec<_> =
        findings.iter().filter(|finding| matches!(finding.state, State::Wrong { .. })).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    for check in [
        "kernel",
        "governor",
        "idle states",
        "halt polling",
        "capabilities",
        "receive buffer",
        "queues",
        "RPS",
        "xdp",
    ] {
        assert!(matches!(scene.state(check), State::Unknown { .. }), "{check}: {:?}", scene.state(check));
    }
    scene.says("receive buffer", "/proc/sys/net/core/rmem_max: No such file");
}

#[test]
fn an_old_kernel_lacks_features_by_name() {
    let scene = Scene::new();
    scene.file("proc/sys/kernel/osrelease", "6.8.0-45-generic").is_fine("kernel");
    scene.says("kernel", "transmit stamps as ring completions (6.17)");
    scene.file("proc/sys/kernel/osrelease", "6.0.19");
    assert!(matches!(scene.state("kernel"), State::Wrong { .. }));
    scene.file("proc/sys/kernel/osrelease", "next");
    assert!(matches!(scene.state("kernel"), State::Unknown { .. }));
}

#[test]
fn io_uring_is_explained_by_how_it_was_refused() {
    let mut scene = Scene::new();
    let refused = |code| Err(io::Error::from_raw_os_error(code));
    // Allowed to this process as root, but not to workers, which have given their capabilities up.
    scene.file("proc/sys/kernel/io_uring_disabled", "1");
    assert_eq!(scene.mend("io_uring").command, "sysctl -w kernel.io_uring_disabled=0");
    scene.machine.ring = refused(libc::EPERM);
    scene.file("proc/sys/kernel/io_uring_disabled", "2");
    assert_eq!(scene.mend("io_uring").undo, "sysctl -w kernel.io_uring_disabled=2");
    scene.file("proc/sys/kernel/io_uring_disabled", "0");
    assert!(scene.mend("io_uring").command.contains("seccomp=tuning/seccomp.json"));
    scene.machine.ring = refused(libc::ENOSYS);
    assert!(matches!(scene.state("io_uring"), State::Wrong { mend: None, .. }));
}

#[test]
fn a_slow_clock_is_replaced_where_there_is_a_better_one() {
    const DIRECTORY: &str = "sys/devices/system/clocksource/clocksource0";
    let mut scene = Scene::new();
    scene.machine.clock_reading = std::time::Duration::from_nanos(1400);
    scene.file(&format!("{DIRECTORY}/current_clocksource"), "hpet");
    let mend = scene.mend("clocksource");
    assert_eq!(mend.command, format!("echo tsc > /{DIRECTORY}/current_clocksource"));
    assert_eq!(mend.undo, format!("echo hpet > /{DIRECTORY}/current_clocksource"));
    scene.file(&format!("{DIRECTORY}/available_clocksource"), "hpet acpi_pm");
    assert!(matches!(scene.state("clocksource"), State::Wrong { mend: None, .. }));
}

#[test]
fn governors_and_idle_states_are_set_core_by_core_and_taken_back() {
    let scene = Scene::new();
    let cpu = "sys/devices/system/cpu/cpu3";
    scene.file(&format!("{cpu}/cpufreq/scaling_governor"), "schedutil");
    let mend = scene.mend("governor");
    assert_eq!(mend.command, format!("echo performance > /{cpu}/cpufreq/scaling_governor"));
    assert_eq!(mend.undo, format!("echo schedutil > /{cpu}/cpufreq/scaling_governor"));

    scene.file(&format!("{cpu}/cpuidle/state2/latency"), "133");
    let mend = scene.mend("idle states");
    assert_eq!(mend.command, format!("echo 1 > /{cpu}/cpuidle/state2/disable"));
    assert_eq!(mend.undo, format!("echo 0 > /{cpu}/cpuidle/state2/disable"));
    scene.file(&format!("{cpu}/cpuidle/state2/disable"), "1").is_fine("idle states");
    // Cores that no worker may use do not matter.
    let mut scene = Scene::new();
    scene.file("sys/devices/system/cpu/cpu7/cpufreq/scaling_governor", "powersave");
    scene.machine.cores = vec![0, 1];
    scene.is_fine("governor");
}

#[test]
fn virtual_cores_that_halt_at_once_wait_a_little_instead() {
    const POLLING: &str = "sys/module/haltpoll/parameters/guest_halt_poll_ns";
    let scene = Scene::new();
    // Polling is for the governor of virtual machines only.
    scene.file(POLLING, "0").is_fine("halt polling");
    scene.file("sys/devices/system/cpu/cpuidle/current_governor", "haltpoll");
    let mend = scene.mend("halt polling");
    assert_eq!(mend.command, format!("echo 200000 > /{POLLING}"));
    assert_eq!(mend.undo, format!("echo 0 > /{POLLING}"));
    scene.file(POLLING, "50000").is_fine("halt polling");
    scene.says("halt polling", "50 µs");
    scene.remove(POLLING);
    assert!(matches!(scene.state("halt polling"), State::Unknown { .. }));
}

#[test]
fn who_has_port_123_decides_what_to_do_about_it() {
    let mut scene = Scene::new();
    let owned = |program: &str| PortState::Taken(Some(Owner { pid: 812, program: program.to_owned() }));
    scene.machine.port = owned("ntpring");
    scene.is_fine("port 123");
    scene.machine.port = owned("chronyd");
    assert_eq!(scene.mend("port 123").command, "kill 812");
    scene.file("proc/812/cgroup", "0::/system.slice/chrony.service");
    assert_eq!(scene.mend("port 123").command, "systemctl disable --now chrony.service");
    scene.machine.port = PortState::Taken(None);
    assert!(matches!(scene.state("port 123"), State::Unknown { .. }));
}

#[test]
fn the_right_to_port_123_is_a_capability_or_a_setting() {
    let scene = Scene::new();
    scene.file("proc/self/status", "CapEff:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t0");
    assert!(scene.mend("capabilities").command.contains("cap_net_bind_service=+ep"));
    scene.says("capabilities", "setting the clock: no, without CAP_SYS_TIME");
    scene.file("proc/self/status", "CapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t0");
    assert!(matches!(scene.state("capabilities"), State::Wrong { mend: None, .. }));
    scene.file("proc/sys/net/ipv4/ip_unprivileged_port_start", "0").is_fine("capabilities");
    // CAP_NET_BIND_SERVICE alone.
    scene.file("proc/self/status", "CapEff:\t0000000000000400").is_fine("capabilities");
    scene.says("capabilities", "XDP: no");
}

#[test]
fn a_container_is_known_by_what_its_runtime_leaves() {
    let scene = Scene::new();
    scene.says("sandbox", "no sign of a container; no system call is filtered");
    scene.file("proc/self/cgroup", "12:cpuset:/kubepods/burstable/pod1").says("sandbox", "its control group");
    scene.file("run/.containerenv", "").says("sandbox", "/run/.containerenv");
    scene.file("proc/self/status", "Seccomp:\t2").says("sandbox", "system calls are filtered");
}

#[test]
fn conntrack_is_wrong_only_where_it_tracks_port_123() {
    let mut scene = Scene::new();
    scene.machine.tracked = Err(io::ErrorKind::PermissionDenied.into());
    scene.is_fine("conntrack");
    scene.file("proc/sys/net/netfilter/nf_conntrack_count", "12");
    assert!(matches!(scene.state("conntrack"), State::Unknown { .. }));
    scene.machine.tracked = Ok(false);
    scene.is_fine("conntrack");
    scene.machine.tracked = Ok(true);
    let mend = scene.mend("conntrack");
    assert!(mend.command.starts_with("nft 'table inet ntpring {"), "{}", mend.command);
    assert_eq!(mend.undo, "nft delete table inet ntpring");
    scene.remove("proc/sys/net/netfilter").is_fine("conntrack");
}

#[test]
fn socket_buffers_and_backlogs_are_taken_back_to_what_they_were() {
    let scene = Scene::new();
    scene.file("proc/sys/net/core/rmem_max", "212992");
    let mend = scene.mend("receive buffer");
    assert_eq!(mend.command, "sysctl -w net.core.rmem_max=1048576");
    assert_eq!(mend.undo, "sysctl -w net.core.rmem_max=212992");
    scene.file("proc/self/net/softnet_stat", "00132d9d 00000000 00\n000e0806 0000001f 00");
    scene.says("backlog", "31 frames were dropped");
    assert_eq!(scene.mend("backlog").command, "sysctl -w net.core.netdev_max_backlog=10000");
    scene.file("proc/sys/net/core/busy_read", "50").is_fine("busy polling");
    scene.file("proc/sys/net/core/busy_read", "5000");
    assert_eq!(scene.mend("busy polling").undo, "sysctl -w net.core.busy_read=5000");
}

#[test]
fn strict_reverse_path_filtering_hurts_where_there_are_several_ways() {
    let mut scene = Scene::new();
    scene.is_fine("reverse path filter");
    let second = Link {
        name: "eth0.7".to_owned(),
        index: 3,
        driver: Ok("802.1Q VLAN Support".to_owned()),
        queues: Err(io::ErrorKind::Unsupported.into()),
        rings: Err(io::ErrorKind::Unsupported.into()),
        hash_v4: Ok(HASHED),
        hash_v6: Ok(HASHED),
        strips_vlan_tags: Ok(false),
        stamping: Err(io::ErrorKind::Unsupported.into()),
        xdp: Err(io::ErrorKind::Unsupported.into()),
    };
    scene.machine.links.push(second);
    scene.file("proc/sys/net/ipv4/conf/eth0.7/rp_filter", "2");
    assert_eq!(scene.mend("reverse path filter").command, "sysctl -w net.ipv4.conf.eth0.rp_filter=2");
    scene.file("proc/sys/net/ipv4/conf/eth0.7/rp_filter", "1");
    let mend = scene.mend("reverse path filter");
    assert_eq!(mend.undo, "sysctl -w net.ipv4.conf.eth0.rp_filter=1 net.ipv4.conf.eth0/7.rp_filter=1");
    scene.file("proc/sys/net/ipv4/conf/all/rp_filter", "2").is_fine("reverse path filter");
}

#[test]
fn queues_are_wanted_for_every_core_that_the_device_can_serve() {
    let mut scene = Scene::new();
    scene.link().queues = Ok(Queues { receive: 1, receive_max: 4, combined: true });
    let mend = scene.mend("queues");
    assert_eq!(
        (mend.command.as_str(), mend.undo.as_str()),
        ("ethtool -L eth0 combined 4", "ethtool -L eth0 combined 1")
    );
    scene.link().queues = Ok(Queues { receive: 2, receive_max: 63, combined: false });
    assert_eq!(scene.mend("queues").command, "ethtool -L eth0 rx 8");
    scene.link().queues = Ok(Queues { receive: 1, receive_max: 1, combined: true });
    scene.is_fine("queues");
}

#[test]
fn interrupts_that_share_a_core_are_spread_and_those_of_other_kinds_left_alone() {
    let scene = Scene::new();
    scene.file("proc/irq/41/effective_affinity_list", "0");
    let mend = scene.mend("interrupts");
    assert!(mend.command.contains("echo 1 > /proc/irq/41/smp_affinity_list"), "{}", mend.command);
    assert!(mend.undo.contains("echo 0-7 > /proc/irq/41/smp_affinity_list"), "{}", mend.undo);
    assert!(!mend.command.contains("/30/") && !mend.command.contains("/31/"), "{}", mend.command);
    scene.file("proc/99/comm", "irqbalance").says("interrupts", "irqbalance runs");
    // The interrupts of a virtio device are its parent's.
    let scene = Scene::new();
    scene.remove("sys/class/net/eth0/device");
    fs::create_dir_all(scene.machine.root.join("sys/bus/1/virtio2")).expect("a directory");
    std::os::unix::fs::symlink(
        "../../../bus/1/virtio2",
        scene.machine.root.join("sys/class/net/eth0/device"),
    )
    .expect("a link");
    scene.file("sys/bus/1/msi_irqs/44", "msix").says("interrupts", "1 of receive queues, on cpu 4");
}

#[test]
fn a_sysfs_of_another_network_namespace_is_not_taken_for_ours() {
    let scene = Scene::new();
    scene.file("sys/class/net/eth0/ifindex", "7");
    for check in ["interrupts", "receive ring", "RPS", "xdp"] {
        assert!(matches!(scene.state(check), State::Unknown { .. }), "{check}: {:?}", scene.state(check));
        scene.says(check, "another network namespace");
    }
}

#[test]
fn a_hash_without_the_source_address_is_mended_for_the_flow_that_lacks_it() {
    let mut scene = Scene::new();
    scene.link().hash_v6 = Ok(HashFields { source: false, destination_port: true, ..HASHED });
    let mend = scene.mend("flow hash");
    assert_eq!(mend.command, "ethtool -N eth0 rx-flow-hash udp6 sd");
    assert_eq!(mend.undo, "ethtool -N eth0 rx-flow-hash udp6 dn");
    scene.link().queues = Ok(Queues { receive: 1, receive_max: 1, combined: true });
    scene.is_fine("flow hash");
}

#[test]
fn a_ring_is_enlarged_to_enough_or_as_far_as_losses_say() {
    let mut scene = Scene::new();
    scene.link().rings = Ok(Rings { receive: 256, receive_max: 8192 });
    assert_eq!(scene.mend("receive ring").command, "ethtool -G eth0 rx 1024");
    scene.file("sys/class/net/eth0/statistics/rx_missed_errors", "17");
    let mend = scene.mend("receive ring");
    assert_eq!(
        (mend.command.as_str(), mend.undo.as_str()),
        ("ethtool -G eth0 rx 8192", "ethtool -G eth0 rx 256")
    );
    scene.link().rings = Ok(Rings { receive: 256, receive_max: 256 });
    scene.is_fine("receive ring");
}

#[test]
fn rps_is_wrong_where_the_device_spreads_frames_itself() {
    let mut scene = Scene::new();
    scene.file("sys/class/net/eth0/queues/rx-3/rps_cpus", "00,000000ff");
    let mend = scene.mend("RPS");
    assert_eq!(mend.command, "echo 0 > /sys/class/net/eth0/queues/rx-3/rps_cpus");
    assert_eq!(mend.undo, "echo 00,000000ff > /sys/class/net/eth0/queues/rx-3/rps_cpus");
    scene.machine.cores = (0..64).collect();
    scene.is_fine("RPS");
}

#[test]
fn xdp_wants_whole_frames_with_their_tags() {
    let mut scene = Scene::new();
    scene.file("sys/class/net/eth0/mtu", "9000");
    assert_eq!(scene.mend("xdp").undo, "ip link set dev eth0 mtu 9000");
    scene.file("sys/class/net/eth0/mtu", "1500");
    let table = "VLAN Dev name    | VLAN ID\nName-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD\neth0.7         | 7  | eth0";
    scene.file("proc/self/net/vlan/config", table);
    assert_eq!(scene.mend("xdp").command, "ethtool -K eth0 rxvlan off");
    scene.link().strips_vlan_tags = Ok(false);
    scene.is_fine("xdp");
    let unseen = "firewall rules, rp_filter and captures do not see what serve --xdp answers";
    scene.says("xdp", &format!("native; MTU 1500; {unseen}"));
    scene.link().xdp = Ok(false);
    scene.says("xdp", "not native");
    scene.says("xdp", unseen);
}

#[test]
fn lines_and_json_tell_the_same() {
    let scene = Scene::new();
    scene.file("proc/sys/net/core/rmem_max", "212992").remove("proc/sys/net/core/busy_read");
    let findings = examine(&scene.machine);
    let page = page(&scene.machine, &findings);
    let mend = "✗ receive buffer         net.core.rmem_max is 208 KiB";
    assert!(
        page.contains(mend) && page.contains("\n    mend  sysctl -w net.core.rmem_max=1048576\n"),
        "{page}"
    );
    assert!(page.contains("\n? busy polling           not known: /proc/sys/net/core/busy_read"), "{page}");
    assert!(page.ends_with("\n19 fine, 1 to mend, 1 not known\n"), "{page}");

    let document = document(&scene.machine, &findings);
    let of = |check: &str| {
        let list = document["findings"].as_array().expect("a list");
        list.iter().find(|finding| finding["check"] == check).cloned().expect("the check")
    };
    assert_eq!(of("receive buffer")["state"], "wrong");
    assert_eq!(of("receive buffer")["undo"], "sysctl -w net.core.rmem_max=212992");
    assert_eq!(
        (&of("busy polling")["state"], &of("busy polling")["mend"]),
        (&json!("unknown"), &Value::Null)
    );
    assert_eq!((&of("queues")["interface"], &of("kernel")["interface"]), (&json!("eth0"), &Value::Null));
}
