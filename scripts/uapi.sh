#!/usr/bin/env bash
# Generates include/uapi/dsmil.rs from include/uapi/dsmil.h, with the toolchain's bindgen.
#
#   uapi.sh            writes it
#   uapi.sh --check    fails if the committed file is not what the header says now
. "$(dirname "$0")/lib.sh"

header=$ROOT/include/uapi/dsmil.h
output=$ROOT/include/uapi/dsmil.rs

generate() {
    printf '// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note\n'
    printf '// Generated from dsmil.h by scripts/uapi.sh: change that header, then run the script.\n\n'
    in_toolchain bindgen "$header" \
        --disable-header-comment --use-core --ctypes-prefix ::core::ffi --rust-target 1.82 --rust-edition 2021 \
        --allowlist-item '(dsmil|DSMIL)_.*' --default-enum-style consts --no-prepend-enum-name \
        --with-derive-default --with-derive-eq --no-doc-comments -- -target x86_64-linux-gnu
}

case ${1:-} in
    '')
        generate >"$output.new"
        mv "$output.new" "$output"
        ;;
    --check)
        generate | cmp -s - "$output" ||
            die "include/uapi/dsmil.rs is not what dsmil.h says: run “scripts/uapi.sh” and commit what it writes."
        ;;
    *) sed -n '2,/^\. /{/^\. /d;s/^# \{0,1\}//p}' "$0"; exit 2 ;;
esac
