#!/usr/bin/env bash
# Tunes this machine for serving NTP: prints what it would change, and changes it with --yes. README.md says why each.
# Every old value is written down before it is changed; revert.sh restores exactly those.
set -euo pipefail

root=${NTPRING_TUNING_ROOT:-}                          # another tree of /proc and /sys, for tests
state=${NTPRING_TUNING_STATE:-/var/lib/ntpring/tuning} # what revert.sh reads
export PATH=$PATH:/usr/sbin:/sbin
self=$(realpath "$0") state=$(realpath -m "$state")
cd "$(dirname "$self")"

usage() {
    cat <<'USAGE'
usage: apply.sh [--yes] [-i IFACE]... [--shallow-idle] [--io-uring]
  --yes           do it; without, it is only printed
  -i IFACE        an interface that clients come in by; may be repeated (default: every network device)
  --shallow-idle  keep cores out of idle states that take more than 20 µs to leave, and virtual ones from halting at
                  once: better stamps, more power
  --io-uring      allow io_uring where kernel.io_uring_disabled forbids it, to every program
exit: 0 done, or nothing to do; 1 something could not be changed; 2 wrong usage
USAGE
}

yes=no shallow=no uring=no interfaces=()
while [ $# -gt 0 ]; do
    case $1 in
        --yes) yes=yes ;;
        -i | --interface) [ $# -gt 1 ] || { usage >&2; exit 2; }; interfaces+=("$2"); shift ;;
        --shallow-idle) shallow=yes ;;
        --io-uring) uring=yes ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done

changed=0 failed=0

say() { printf '%s\n' "$*"; }
left() { say "  left alone   $*"; }
have() { command -v "$1" >/dev/null 2>&1; }

# Writes down how to take a change back, before it is made: KIND, and what that kind needs, separated by tabs.
record() {
    local IFS=$'\t'
    printf '%s\n' "$*" >>"$state/changes"
}

forget_last() { sed -i '$d' "$state/changes"; }

# Counts the outcome of a change that was recorded.
made() { # OK TEXT
    if [ "$1" = 0 ]; then
        changed=$((changed + 1))
    else
        forget_last
        failed=$((failed + 1))
        say "  FAILED       $2"
    fi
}

# A file of /proc or /sys.
set_file() { # PATH VALUE
    local path=$1 value=$2 old status=0
    [ -e "$root$path" ] || { left "$path is not here"; return; }
    old=$(cat "$root$path" 2>/dev/null) || { left "$path cannot be read"; return; }
    [ "$old" != "$value" ] || return 0
    say "  $path: $old -> $value"
    [ "$yes" = yes ] || { changed=$((changed + 1)); return; }
    record file "$path" "$old"
    { printf '%s\n' "$value" >"$root$path"; } 2>/dev/null || status=1
    made "$status" "$path cannot be written"
}

# A command, and the one that takes it back.
set_by() { # COMMAND UNDO
    local status=0 output
    say "  $1"
    [ "$yes" = yes ] || { changed=$((changed + 1)); return; }
    record run "$2"
    # The words of both commands are names and numbers.
    # shellcheck disable=SC2086
    output=$($1 2>&1) || status=1
    made "$status" "$1: $output"
}

# Numbers and ranges, one number a line: 0-2,5 -> 0 1 2 5
expand() {
    local part
    for part in ${1//,/ }; do seq "${part%-*}" "${part#*-}"; done
}

# Settings of 90-ntpring.conf; a buffer or queue that is larger already stays so.
sysctls() {
    local name value path now
    while read -r name _ value; do
        [[ $name == net.* ]] || continue
        path=/proc/sys/${name//.//}
        now=$(cat "$root$path" 2>/dev/null) || now=0
        [ "$now" -ge "$value" ] || set_file "$path" "$value"
    done <90-ntpring.conf
    [ "$uring" = no ] || set_file /proc/sys/kernel/io_uring_disabled 0
}

connection_tracking() {
    local count=$root/proc/sys/net/netfilter/nf_conntrack_count
    # Where nothing is tracked, the rules would only cost.
    [ -e "$count" ] && [ "$(cat "$count")" -gt 0 ] || return 0
    have nft || { left "connection tracking: nft is not installed (apt-get install nftables)"; return; }
    ! nft list table inet ntpring >/dev/null 2>&1 || return 0
    set_by "nft -f notrack.nft" "nft delete table inet ntpring"
}

cores_awake() {
    local core directory
    for core in "${cores[@]}"; do
        directory=/sys/devices/system/cpu/cpu$core
        [ ! -e "$root$directory/cpufreq" ] || set_file "$directory/cpufreq/scaling_governor" performance
        [ "$shallow" = no ] || shallow_idle "$directory/cpuidle"
    done
    [ "$shallow" = no ] || poll_before_halting
}

shallow_idle() {
    local path
    for path in "$root$1"/state*; do
        if [ -e "$path/latency" ] && [ "$(cat "$path/latency")" -gt 20 ]; then
            set_file "${path#"$root"}/disable" 1
        fi
    done
}

# Without polling a virtual core is woken by the host for every lone request.
poll_before_halting() {
    local file=/sys/module/haltpoll/parameters/guest_halt_poll_ns governor=/sys/devices/system/cpu/cpuidle/current_governor
    [ "$(cat "$root$governor" 2>/dev/null)" = haltpoll ] || return 0
    if [ -e "$root$file" ] && [ "$(cat "$root$file")" -eq 0 ]; then
        set_file "$file" 200000
    fi
}

# The Nth number that follows a word in ethtool's output: first what is possible, then what is set.
number() { awk -v word="$2:" -v n="$3" '$1 == word && ++seen == n { print ($2 ~ /^[0-9]+$/) ? $2 : 0 }' <<<"$1"; }

# As many receive queues as there are cores, and room for 1024 frames in each.
queues_and_rings() {
    local link=$1 text kind max now wanted
    have ethtool || { left "queues, rings and hash of $link: ethtool is not installed (apt-get install ethtool)"; return; }
    if text=$(ethtool -l "$link" 2>/dev/null); then
        for kind in Combined RX; do
            max=$(number "$text" $kind 1) now=$(number "$text" $kind 2)
            wanted=$((max < ${#cores[@]} ? max : ${#cores[@]}))
            [ "${max:-0}" -eq 0 ] || [ "$now" -eq 0 ] || [ "$now" -ge "$wanted" ] ||
                set_by "ethtool -L $link ${kind,,} $wanted" "ethtool -L $link ${kind,,} $now"
        done
    fi
    if text=$(ethtool -g "$link" 2>/dev/null); then
        max=$(number "$text" RX 1) now=$(number "$text" RX 2)
        wanted=$((max < 1024 ? max : 1024))
        [ "$now" -ge "$wanted" ] || set_by "ethtool -G $link rx $wanted" "ethtool -G $link rx $now"
    fi
}

flow_hash() {
    local link=$1 flow text letters
    have ethtool || return 0
    for flow in udp4 udp6; do
        text=$(ethtool -n "$link" rx-flow-hash $flow 2>/dev/null) || continue
        letters=$(awk '/^IP SA/ { printf "s" } /^IP DA/ { printf "d" } /^L4 bytes 0/ { printf "f" } /^L4 bytes 2/ { printf "n" }' <<<"$text")
        case $letters in
            *s* | '') ;; # '' is a device with one queue, or one whose old setting could not be restored
            *) set_by "ethtool -N $link rx-flow-hash $flow sd" "ethtool -N $link rx-flow-hash $flow $letters" ;;
        esac
    done
}

# The interrupts of a device's receive queues, by their names.
receive_interrupts() {
    local directory=$root/sys/class/net/$1/device number
    # A virtio device has no interrupts of its own: its parent does.
    [ -d "$directory/msi_irqs" ] || directory=$directory/..
    [ -d "$directory/msi_irqs" ] || return 0
    for number in $(find "$directory/msi_irqs/" -mindepth 1 -printf '%f\n' | sort -n); do
        awk -v irq="$number:" '$1 == irq && tolower($NF) !~ /output|-tx-|config|control|async|misc|event|mbx|fdir/ { print irq + 0 }' \
            "$root/proc/interrupts"
    done
}

# One core each, unless they are spread already.
interrupts() {
    local irqs irq used at=0 wanted
    mapfile -t irqs < <(receive_interrupts "$1")
    [ ${#irqs[@]} -gt 0 ] || return 0
    used=$(for irq in "${irqs[@]}"; do cat "$root/proc/irq/$irq/effective_affinity_list"; done | sort -u | wc -l)
    wanted=$((${#irqs[@]} < ${#cores[@]} ? ${#irqs[@]} : ${#cores[@]}))
    [ "$used" -lt "$wanted" ] || return 0
    for irq in "${irqs[@]}"; do
        set_file "/proc/irq/$irq/smp_affinity_list" "${cores[at++ % ${#cores[@]}]}"
    done
    ! have pidof || ! pidof irqbalance >/dev/null || say "  note         irqbalance runs and may move them: systemctl disable --now irqbalance"
}

# The kernel's own spreading is needless where the device has a queue for every core.
packet_steering() {
    local queue queues=("$root/sys/class/net/$1"/queues/rx-*)
    [ "${#queues[@]}" -ge "${#cores[@]}" ] || return 0
    for queue in "${queues[@]}"; do
        if [ -e "$queue/rps_cpus" ] && grep -q '[1-9a-f]' "$queue/rps_cpus"; then
            set_file "${queue#"$root"}/rps_cpus" 0
        fi
    done
}

network_devices() {
    local path
    for path in "$root"/sys/class/net/*/device; do
        [ ! -e "$path" ] || basename "$(dirname "$path")"
    done
}

# State of before the machine was started last says nothing any more.
prepare_state() {
    local boot
    boot=$(cat "$root/proc/sys/kernel/random/boot_id" 2>/dev/null) || boot=unknown
    if ! mkdir -p "$state" 2>/dev/null || [ ! -w "$state" ]; then
        say "apply.sh: cannot write to $state: run it as root: sudo $self --yes" >&2
        exit 1
    fi
    if [ -e "$state/changes" ] && [ "$(head -n 1 "$state/changes")" != "boot"$'\t'"$boot" ]; then
        say "what was applied before the last start of this machine is gone with it"
        rm "$state/changes"
    fi
    [ -e "$state/changes" ] || record boot "$boot"
}

mapfile -t cores < <(expand "$(cat "$root/sys/devices/system/cpu/online" 2>/dev/null || echo 0)")
[ ${#interfaces[@]} -gt 0 ] || mapfile -t interfaces < <(network_devices)
for link in "${interfaces[@]}"; do
    [ -e "$root/sys/class/net/$link" ] || { say "apply.sh: no interface $link here: ip link" >&2; exit 2; }
done
if [ "$yes" = yes ]; then
    prepare_state
    say "changes (revert.sh takes them back):"
else
    say "would change (apply.sh --yes does it):"
fi
sysctls
connection_tracking
cores_awake
for link in "${interfaces[@]}"; do
    queues_and_rings "$link"
    flow_hash "$link"
    interrupts "$link"
    packet_steering "$link"
done
if [ $((changed + failed)) -eq 0 ]; then
    say "  nothing: all is as wanted"
fi
if [ "$yes" = yes ]; then
    say "$changed changed, $failed failed"
    # Without a change there is nothing to take back.
    [ "$(wc -l <"$state/changes")" -gt 1 ] || rm "$state/changes"
fi
[ "$failed" -eq 0 ]
