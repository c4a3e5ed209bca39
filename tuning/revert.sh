#!/usr/bin/env bash
# Takes back what apply.sh --yes changed, last change first, to exactly the values that it found.
set -euo pipefail

root=${NTPRING_TUNING_ROOT:-}                          # another tree of /proc and /sys, for tests
state=${NTPRING_TUNING_STATE:-/var/lib/ntpring/tuning} # what apply.sh wrote down
export PATH=$PATH:/usr/sbin:/sbin

say() { printf '%s\n' "$*"; }

case ${1:-} in
    '') ;;
    -h | --help) say "usage: revert.sh    takes back what apply.sh --yes changed; exit 0 done, or nothing to do; 1 something could not be taken back"; exit 0 ;;
    *) say "usage: revert.sh" >&2; exit 2 ;;
esac

if [ ! -e "$state/changes" ]; then
    say "nothing to take back: apply.sh has changed nothing ($state/changes is not there)"
    exit 0
fi
boot=$(cat "$root/proc/sys/kernel/random/boot_id" 2>/dev/null) || boot=unknown
if [ "$(head -n 1 "$state/changes")" != "boot"$'\t'"$boot" ]; then
    say "nothing to take back: this machine was started since, and what apply.sh changed is gone with that"
    rm "$state/changes"
    exit 0
fi

take_back() { # KIND WHAT [OLD]
    # The words of a command are names and numbers.
    # shellcheck disable=SC2086
    case $1 in
        file) { printf '%s\n' "$3" >"$root$2"; } 2>/dev/null ;;
        run) $2 >/dev/null ;;
    esac
}

kept=()
done=0
while IFS=$'\t' read -r kind what old; do
    [ "$kind" != boot ] || continue
    say "  $what${old:+: -> $old}"
    if take_back "$kind" "$what" "$old"; then
        done=$((done + 1))
    else
        say "  FAILED       it is still in $state/changes"
        kept=("$kind"$'\t'"$what${old:+$'\t'$old}" "${kept[@]}")
    fi
done < <(tac "$state/changes")

if [ ${#kept[@]} -eq 0 ]; then
    rm "$state/changes"
else
    printf '%s\n' "boot"$'\t'"$boot" "${kept[@]}" >"$state/changes"
fi
say "$done taken back, ${#kept[@]} failed"
[ ${#kept[@]} -eq 0 ]
