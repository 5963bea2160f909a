#!/usr/bin/env bash
# Builds the kernel module: for the running kernel where its headers carry Rust metadata, else for a stock kernel.
#
#   module.sh [RELEASE]        RELEASE or KERNEL=WISH names a stock kernel; CLIPPY=1 lints as well
. "$(dirname "$0")/lib.sh"

native=/lib/modules/$(uname -r)/build

build_stock() {
    local out=$TARGET/module/$1
    mkdir -p "$out"
    "$ROOT/scripts/kernel.sh" make "$1" M="$ROOT" MO="$out" ${CLIPPY:+CLIPPY=1} modules
}

build_native() {
    mkdir -p "$TARGET/module/$(uname -r)"
    make -C "$native" M="$ROOT" MO="$TARGET/module/$(uname -r)" modules
}

if [ -z "${1:-}${KERNEL:-}" ] && [ -f "$native/rust/libkernel.rmeta" ]; then
    locked module step "module for the running kernel $(uname -r)" build_native
    say "  $TARGET/module/$(uname -r)/dsmil.ko"
    exit
fi
release=${1:-$("$ROOT/scripts/kernel.sh" resolve "${KERNEL:-}")}
[ -f "$CACHE/kernel/$release/.complete" ] || die "the kernel $release is not in the cache: run “make setup KERNEL=$release” first."
# Nothing newer than the module: make would only find that out in two seconds.
if [ -z "${CLIPPY:-}" ] && [ -f "$TARGET/module/$release/dsmil.ko" ] && [ -z "$(find "$ROOT/kmod" "$ROOT/include" "$ROOT/Kbuild" \
    "$CACHE/kernel/$release/.complete" -newer "$TARGET/module/$release/dsmil.ko" -print -quit)" ]; then
    exit
fi
# One make at a time in a kernel's output folder.
locked "module-$release" step "module for $release" build_stock "$release"
