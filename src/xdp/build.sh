#!/usr/bin/env bash
# Builds an object that is committed beside its sources: src/xdp/build.sh [SOURCE.bpf.c [OUTPUT]], by default the
# responder's. Needs clang and llvm-strip; nobody needs either to build or run ntpring.
set -euo pipefail
root=$(realpath "$(dirname "$0")/../..")
source=$(realpath --relative-to="$root" "${1:-$root/src/xdp/responder.bpf.c}")
output=$(realpath -m "${2:-$root/${source%.c}.o}")
# From there, so that the object names its sources alike wherever it is built.
cd "$root"
# The digest is of the source and all that it includes, in that order.
sources=$(clang -MM -MT '' -I src/xdp "$source" | tr -d ':\\\n')
# Without quotes, so that each is a word.
# shellcheck disable=SC2086
digest=$(cat $sources | md5sum | cut -d ' ' -f 1)
# -mcpu=v3: what every kernel that has bpf_ktime_get_tai_ns in XDP understands. -g: the maps are described by BTF.
clang -target bpfel -mcpu=v3 -O2 -g -std=gnu11 -Wall -Wextra -Werror -Wno-unused-parameter -Wno-address-of-packed-member \
    -ffreestanding -fno-strict-aliasing -fdebug-prefix-map="$root"=. "-DSOURCES=\"$digest\"" -I src/xdp \
    -c "$source" -o "$output"
llvm-strip --strip-debug "$output"
