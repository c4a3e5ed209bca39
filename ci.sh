#!/usr/bin/env bash
# Every check of the project, by name. CI runs the same jobs as a person does: there is no second list anywhere.
set -euo pipefail
cd "$(dirname "$0")"

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
guest=$target/guest                          # QEMU, a kernel and busybox, unpacked, never installed
clients=$target/clients                      # real NTP clients, unpacked, never installed: their packages conflict
python=$clients/python                       # Python modules that read what ntpload writes, installed nowhere else
tools=$target/tools                          # cargo subcommands that the jobs install for themselves
export PATH=$tools/bin:$PATH:/usr/sbin:/sbin
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}

usage() {
    cat <<'USAGE'
usage: ./ci.sh JOB...
  fmt          rustfmt, checked
  lint         clippy and rustdoc without warnings; shellcheck and cargo-deny where installed
  test         every test. As root it installs and unpacks what the tests need (apt); otherwise it says what is missing.
               The last line counts: "N passed, N failed, N skipped"
  bench-smoke  every benchmark runs once, nothing is measured
  fuzz         each fuzz target for FUZZ_SECONDS (600); not part of all
  sim          the client's accuracy beside that of its peers, simulated: SIM_SEEDS (100) random seeds per scenario; a run that
               diverges is named by its seed, and fails the job; not part of all
  guest        a virtual machine whose clock is stepped, slewed and given a leap second; not part of all
  package      a Debian package, installed into a test root, looked at, removed and purged; not part of all
  audit        known vulnerabilities of the dependencies, from the network; not part of all
  all          fmt lint bench-smoke test
environment:
  NTPRING_REQUIRE=netns,chrony,...   a test that would be skipped for want of one of these fails instead
USAGE
}

say() { printf '\n== %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

fmt() {
    say "fmt: rustfmt"
    cargo fmt --all --check
    if [ -f tests/fuzz/Cargo.toml ]; then cargo fmt --manifest-path tests/fuzz/Cargo.toml --check; fi
}

lint() {
    say "lint: clippy"
    cargo clippy --locked --workspace --all-targets -- -D warnings
    cargo clippy --locked --test guest -- -D warnings
    say "lint: rustdoc"
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
    say "lint: shellcheck"
    if have shellcheck; then
        git ls-files -z '*.sh' .ci/run | xargs -0 shellcheck
    else
        echo "not run: shellcheck is not installed (apt-get install shellcheck)"
    fi
    say "lint: cargo deny"
    if have cargo-deny; then
        cargo deny --workspace check bans licenses sources
    else
        echo "not run: cargo-deny is not installed (cargo install cargo-deny)"
    fi
}

# Programs the tests call by name, as "program package".
programs="ip iproute2
man man-db
netstat net-tools
ethtool ethtool
strace strace
nft nftables
ethtool ethtool
systemd-analyze systemd
setpriv util-linux
python3 python3
cc gcc"

# Clients that are unpacked under target/clients. One apt call each, because several conflict with each other.
packages="chrony ntpsec ntpstat ntpsec-ntpdig ntpsec-ntpdate python3-ntplib rdate monitoring-plugins-basic systemd-timesyncd"

install_programs() {
    local program package missing=()
    while read -r program package; do
        have "$program" || missing+=("$package")
    done <<<"$programs"
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" -eq 0 ] && have apt-get; then
        apt-get update -q || true
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" && return 0
    fi
    echo "missing, tests that need them are skipped: ${missing[*]} (as root: apt-get install ${missing[*]})"
}

# Downloads each client with the libraries this machine lacks, and unpacks them side by side. Needs no root where apt's lists are fresh.
unpack_clients() {
    local package deb library complete=yes
    [ "$(cat "$clients/packages" 2>/dev/null)" != "$packages" ] || return 0
    if ! have apt-get || ! have dpkg; then
        echo "no apt here: only the NTP clients that are installed already are used"
        return 0
    fi
    rm -rf "$clients" && mkdir -p "$clients/debs/partial" "$clients/root"
    [ "$(id -u)" -ne 0 ] || apt-get update -q -o Acquire::Retries=0 || true
    for package in $packages; do
        apt-get install -y -qq --no-install-recommends --download-only --reinstall -o APT::Sandbox::User=root \
            -o Debug::NoLocking=true -o Dir::Cache::archives="$clients/debs" "$package" && continue
        complete=no
        echo "cannot download $package: its tests are skipped unless it is installed"
        # Without a network every other one would take as long to fail.
        [ -n "$(find "$clients/debs" -name '*.deb')" ] || break
    done
    for deb in "$clients"/debs/*.deb; do
        if [ -e "$deb" ]; then dpkg -x "$deb" "$clients/root"; fi
    done
    # A libc beside the system's own loader would break every program that sees it.
    find "$clients/root" -name 'libc.so.6' -delete -o -name 'ld-linux*' -delete
    # ntpsec's Python modules look for their C half beside themselves, or at its installed place.
    library=$(find "$clients/root/usr/lib" -name libntpc.so 2>/dev/null | head -n 1) || true
    [ -z "$library" ] || ln -sf "$library" "$clients/root/usr/lib/python3/dist-packages/ntp/libntpc.so"
    [ $complete = no ] || echo "$packages" >"$clients/packages"
}

# Readers of ntpload's results that are none of ours.
install_modules() {
    have python3 || return 0
    PYTHONPATH=$python python3 -c 'import hdrh, jsonschema' 2>/dev/null && return 0
    PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --target "$python" hdrhistogram==0.10.8 jsonschema==4.26.0 ||
        echo "cannot install the Python modules hdrhistogram and jsonschema: tests that need them are skipped"
}

run_tests() {
    local inside=() log=$target/test.log skips=$target/skips.log status=0
    say "test: what the tests need"
    mkdir -p "$target"
    install_programs
    unpack_clients
    install_modules
    if [ "$(id -u)" -ne 0 ] && unshare --user --map-root-user --net true 2>/dev/null; then
        echo "not root: the tests run in a user namespace, where they may make network namespaces"
        inside=(unshare --user --map-root-user)
    fi

    say "test: cargo test"
    : >"$skips"
    NTPRING_SKIP_LOG=$skips NTPRING_CLIENTS=$clients/root \
        "${inside[@]}" cargo test --locked --workspace --no-fail-fast 2>&1 | tee "$log" || status=$?
    say "test: the count"
    sort -u "$skips" | awk -F '\t' '{ printf "skipped: %s: %s: %s\n", $1, $2, $3 }'
    # libtest calls a skipped test passed, and an ignored one ignored; each is counted as skipped here, once.
    awk -v skipped="$(cut -f 1 "$skips" | sort -u | wc -l)" -v status="$status" '
        /^test result: / { for (i = 2; i <= NF; i++) n[$i] += $(i - 1) }
        END {
            failed = n["failed;"]; if (status && !failed) failed = 1
            printf "%d passed, %d failed, %d skipped\n", n["passed;"] - skipped, failed, skipped + n["ignored;"]
        }' "$log"
    return "$status"
}

# The emulator, a kernel and a shell for it, unpacked side by side.
unpack_guest() {
    local kernel package deb
    [ ! -e "$guest/complete" ] || return 0
    have apt-get && have dpkg || return 1
    rm -rf "$guest" && mkdir -p "$guest/debs/partial" "$guest/root"
    [ "$(id -u)" -ne 0 ] || apt-get update -q -o Acquire::Retries=0 || true
    kernel=$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image-/ { print $2; exit }')
    [ -n "$kernel" ] || return 1
    for package in qemu-system-x86 busybox-static; do
        apt-get install -y -qq --no-install-recommends --download-only --reinstall -o APT::Sandbox::User=root \
            -o Debug::NoLocking=true -o Dir::Cache::archives="$guest/debs" "$package" || return 1
    done
    # Alone: what it depends on is for machines that boot from a disk.
    (cd "$guest/debs" && apt-get download -qq -o APT::Sandbox::User=root "$kernel") || return 1
    for deb in "$guest"/debs/*.deb; do dpkg -x "$deb" "$guest/root"; done
    # A libc beside the system's own loader would break every program that sees it.
    find "$guest/root" -name 'libc.so.6' -delete -o -name 'ld-linux*' -delete
    touch "$guest/complete"
}

run_guest() {
    say "guest: what it needs"
    if ! unpack_guest; then
        echo "SKIPPED guest: QEMU, a kernel or busybox cannot be had here (apt-get download qemu-system-x86 linux-image-amd64 busybox-static)"
        return 0
    fi
    say "guest: one boot after the other"
    NTPRING_GUEST=$guest/root cargo test --locked --test guest -- --test-threads 1
}

sim() {
    say "sim: the client on a simulated clock and network"
    cargo run --locked --quiet --profile sim --package simulation -- --seeds "${SIM_SEEDS:-100}"
}

install_tool() {
    have "$1" && return 0
    say "installing $1"
    cargo install --locked --root "$tools" "$1"
}

fuzz() {
    local name
    install_tool cargo-fuzz
    # Without a sanitizer the targets build on stable Rust. What is found interesting goes below target, not among the seeds.
    for name in packet responder client ntp_conf key_file control ntpq; do
        say "fuzz: $name for ${FUZZ_SECONDS:-600} s"
        mkdir -p "$target/corpus/$name"
        cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none "$name" "$target/corpus/$name" "tests/fuzz/seeds/$name" -- \
            -max_total_time="${FUZZ_SECONDS:-600}" -print_final_stats=1
    done
}

audit() {
    install_tool cargo-deny
    say "audit: known vulnerabilities of the dependencies"
    cargo deny --workspace check advisories
}

# Builds the Debian package of what install.sh lays out, and takes it through its life in a root of its own.
package() {
    local tree=target/package/tree root deb file
    say "package: build"
    [ -n "${BUILT:-}" ] || cargo build --locked --release --package ntpring --package ntpload
    rm -rf target/package && mkdir -p "$tree"
    DESTDIR=$PWD/$tree PREFIX=/usr BUILT=${BUILT:-$target/release} ./install.sh
    install_tool cargo-deb
    cargo deb --no-build --no-strip --quiet --output target/package
    deb=$(echo target/package/*.deb)
    dpkg-deb --info "$deb"
    dpkg-deb --contents "$deb"

    say "package: install, remove and purge in a test root"
    if ! have dpkg || ! have fakeroot; then echo "missing: dpkg, fakeroot (apt-get install fakeroot)"; return 1; fi
    root=$(mktemp -d)
    mkdir -p "$root/var/lib/dpkg/updates" "$root/var/lib/dpkg/info" "$root/etc"
    touch "$root/var/lib/dpkg/status" "$root/var/lib/dpkg/available"
    printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
    printf 'root:x:0:\n' >"$root/etc/group"
    # Scripts run on this machine's programs (DPKG_ROOT tells them), and what is depended on is not there.
    in_root() { fakeroot dpkg --root="$root" --force-script-chrootless --force-depends --log=/dev/null "$@"; }
    in_root --install "$deb"
    for file in usr/bin/ntpring usr/bin/ntpload usr/bin/ntpq usr/sbin/ntpd lib/systemd/system/ntpd.service etc/ntp.conf; do
        [ -e "$root/$file" ] || { echo "FAILED: no $file"; return 1; }
    done
    "$root/usr/sbin/ntpd" --version
    "$root/usr/bin/ntpq" --version
    "$root/usr/bin/ntpring" check --strict -c "$root/etc/ntp.conf"
    grep '^ntpring:' "$root/etc/passwd" || echo "no user ntpring: systemd-sysusers is not here to make it"
    in_root --remove ntpring
    [ -e "$root/etc/ntp.conf" ] || { echo "FAILED: removal took /etc/ntp.conf"; return 1; }
    in_root --purge ntpring
    file=$(find "$root" -path "$root/var/lib/dpkg" -prune -o ! -type d -name '*ntp*' -print)
    [ -z "$file" ] || { echo "FAILED: left behind: $file"; return 1; }
    rm -rf "$root"
    echo "package: $deb: installed, removed, purged"
}

bench_smoke() {
    say "bench-smoke: every benchmark once"
    cargo test --locked --package bench --benches
}

[ $# -gt 0 ] || { usage; exit 2; }
for job; do
    case $job in
        fmt) fmt ;;
        lint) lint ;;
        test) run_tests ;;
        fuzz) fuzz ;;
        sim) sim ;;
        guest) run_guest ;;
        audit) audit ;;
        package) package ;;
        bench-smoke) bench_smoke ;;
        all) fmt; lint; bench_smoke; run_tests ;;
        -h | --help) usage ;;
        *) usage >&2; exit 2 ;;
    esac
done
