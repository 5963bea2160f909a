#!/usr/bin/env bash
# Our own build: programs, module, firmware tables.
#
#   build.sh [RELEASE…]   the module for these stock kernels, else for the one that “make run” uses
. "$(dirname "$0")/lib.sh"

programs() { "$ROOT/scripts/cargo.sh" build --workspace --bins --examples; }
locked "build-$(cksum <<<"$TARGET" | cut -d' ' -f1)" step "programs" programs
for release in "${@:-$("$ROOT/scripts/kernel.sh" resolve "${KERNEL:-}")}"; do
    "$ROOT/scripts/module.sh" "$release"
done
