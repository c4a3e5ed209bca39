#!/bin/sh
# Installs what `cargo build --release --workspace` has built, or removes it. DESTDIR is put before every path, PREFIX is where
# programs and manual pages go; packages are made of what this puts below a DESTDIR.
set -eu
cd "$(dirname "$0")"

usage() {
    cat <<'USAGE'
usage: [DESTDIR=DIR] [PREFIX=/usr/local] [BUILT=target/release] ./install.sh [--uninstall]
  installs    PREFIX/bin: ntpring ntpload ntpq     PREFIX/sbin: ntpd     PREFIX/share/man
              PREFIX/lib/systemd/system: ntpring.service, with the alias ntpd.service
              PREFIX/lib/sysusers.d     /etc/ntp.conf if there is none     /var/lib/ntpring
  --uninstall removes all of it but /etc/ntp.conf, where it was changed, and /var/lib/ntpring, where it is not empty
USAGE
}

destdir=${DESTDIR:-}
prefix=${PREFIX:-/usr/local}
built=${BUILT:-${CARGO_TARGET_DIR:-target}/release}
bin=$destdir$prefix/bin sbin=$destdir$prefix/sbin man=$destdir$prefix/share/man
units=$destdir$prefix/lib/systemd/system sysusers=$destdir$prefix/lib/sysusers.d
conf=$destdir/etc/ntp.conf state=$destdir/var/lib/ntpring

die() { echo "install.sh: $*" >&2; exit 1; }

# Into the system that runs, not into a tree that becomes a package.
is_live() { [ -z "$destdir" ] && [ "$(id -u)" -eq 0 ]; }

do_install() {
    for program in ntpring ntpload; do
        [ -x "$built/$program" ] || die "there is no $built/$program: cargo build --release --workspace"
    done
    for name in ntpd ntpq; do
        for path in "$bin/$name" "$sbin/$name"; do
            if [ -e "$path" ] && [ ! -L "$path" ]; then
                die "$path is another program: remove its package first, or choose another PREFIX"
            fi
        done
    done
    install -d "$bin" "$sbin" "$man/man1" "$man/man5" "$man/man8" "$units/ntpring.service.d" "$sysusers" \
        "$destdir/etc" "$state"
    install -m 755 "$built/ntpring" "$built/ntpload" "$bin"
    ln -sf ntpring "$bin/ntpq"
    ln -sf ../bin/ntpring "$sbin/ntpd"
    install -m 644 packaging/man/ntpload.1 "$man/man1"
    install -m 644 packaging/man/ntpring.conf.5 "$man/man5"
    install -m 644 packaging/man/ntpring.8 "$man/man8"
    ln -sf ntpring.8 "$man/man8/ntpd.8"
    ln -sf ../man8/ntpring.8 "$man/man1/ntpq.1"
    # The unit as it is in tuning/, with the paths of this installation instead of its instructions; and -g, as everywhere:
    # a machine whose clock starts in 1970 is to be set, too.
    sed -e '/^# \(Install\|Undo\): /d' -e "s|^ExecStart=/usr/local/bin/ntpring serve|ExecStart=$prefix/bin/ntpring serve -g|" \
        tuning/ntpring.service >"$units/ntpring.service"
    chmod 644 "$units/ntpring.service"
    ln -sf ntpring.service "$units/ntpd.service"
    # The ntp.conf below follows servers, so the clock is to be set.
    install -m 644 tuning/clock.conf "$units/ntpring.service.d"
    install -m 644 packaging/sysusers.conf "$sysusers/ntpring.conf"
    [ -e "$conf" ] || install -m 644 packaging/ntp.conf "$conf"
    if is_live; then enter_system; fi
}

enter_system() {
    if command -v systemd-sysusers >/dev/null; then
        systemd-sysusers "$sysusers/ntpring.conf"
    elif ! getent passwd ntpring >/dev/null; then
        useradd --system --home-dir /var/lib/ntpring --shell /usr/sbin/nologin ntpring
    fi
    # Where systemd has moved it, it is a link, and systemd's to own.
    [ -L "$state" ] || chown ntpring "$state"
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload
        echo "start it: systemctl enable --now ntpring"
        for other in chrony chronyd ntp ntpsec systemd-timesyncd; do
            if systemctl --quiet is-active "$other"; then
                echo "stop what sets the clock now, first: systemctl disable --now $other"
            fi
        done
    else
        echo "start it: $prefix/sbin/ntpd -g -u ntpring"
    fi
}

uninstall() {
    if is_live && [ -d /run/systemd/system ]; then systemctl disable --now ntpring || true; fi
    for link in "$bin/ntpq" "$sbin/ntpd" "$man/man8/ntpd.8" "$man/man1/ntpq.1" "$units/ntpd.service"; do
        case $(readlink "$link" || true) in *ntpring*) rm -f "$link" ;; esac
    done
    rm -f "$bin/ntpring" "$bin/ntpload" "$man/man1/ntpload.1" "$man/man5/ntpring.conf.5" "$man/man8/ntpring.8" \
        "$units/ntpring.service" "$units/ntpring.service.d/clock.conf" "$sysusers/ntpring.conf"
    if cmp -s packaging/ntp.conf "$conf"; then rm "$conf"; fi
    rmdir "$units/ntpring.service.d" "$state" 2>/dev/null || true
    if is_live && [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
}

case ${1:-} in
    '') do_install ;;
    --uninstall) uninstall ;;
    -h | --help) usage ;;
    *) usage >&2; exit 2 ;;
esac
