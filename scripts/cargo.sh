#!/usr/bin/env bash
# Cargo: the machine's own where it is new enough, else one in a small Debian system in the cache.
#
#   cargo.sh where      prints “machine” or “builder”
#   cargo.sh exec FILE ARGUMENT…   runs a program of ours where its C library is
#   cargo.sh ARGUMENT…  as cargo takes them
# DSMIL_RUST=builder takes the second one in any case.
. "$(dirname "$0")/lib.sh"

# The oldest compiler that our dependencies build with (Cargo.toml, rust-version).
wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml")

where() {
    local found guest
    found=$(cd "$ROOT" && cargo --version 2>/dev/null | cut -d' ' -f2 || true)
    # What is built here runs in the guest too, so the C library must not be newer than the guest's.
    guest=2.41
    if [ -z "${DSMIL_RUST:-}" ] && [ -n "$found" ] && printf '%s\n%s\n' "$wanted" "$found" | sort -VC &&
        printf '%s\n%s\n' "$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)" "$guest" | sort -VC; then
        say machine
    else
        say builder
    fi
}

place=$(where)
if [ "${1:-}" = where ]; then
    say "$place"
elif [ "${1:-}" = exec ]; then
    shift
    if [ "$place" = machine ]; then exec "$@"; else within "$BUILDER" "$@"; fi
elif [ "$place" = machine ]; then
    exec cargo "$@"
else
    mkdir -p "$CACHE/cargo"
    within "$BUILDER" env CARGO_HOME="$CACHE/cargo" CARGO_TARGET_DIR="$TARGET" TSS2_LOG=all+NONE \
        sh -c "cd '$ROOT' && exec cargo \"\$@\"" cargo "$@"
fi
