#!/usr/bin/env bash
# Builds the object that is committed beside its sources: src/xdp/build.sh [OUTPUT]. Needs clang and llvm-strip;
# nobody needs either to build or run ntpring.
set -euo pipefail
cd "$(dirname "$0")"
output=${1:-responder.bpf.o}
sources=$(cat bpf.h responder.h responder.bpf.c | md5sum | cut -d ' ' -f 1)
# -mcpu=v3: what every kernel that has bpf_ktime_get_tai_ns in XDP understands. -g: the maps are described by BTF.
clang -target bpfel -mcpu=v3 -O2 -g -std=gnu11 -Wall -Wextra -Werror -Wno-unused-parameter -Wno-address-of-packed-member \
    -ffreestanding -fno-strict-aliasing -fdebug-prefix-map="$PWD"=. "-DSOURCES=\"$sources\"" -c responder.bpf.c -o "$output"
llvm-strip --strip-debug "$output"
