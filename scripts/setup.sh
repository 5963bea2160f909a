#!/usr/bin/env bash
# Everything that “make run” and “make test” need, in order; what is there already is not done again.
#
#   setup.sh            for one kernel (KERNEL=WISH, else the known good one)
#   setup.sh tests      for every series that the tests use, and what only tests need
. "$(dirname "$0")/lib.sh"

[ "$(uname -m)" = x86_64 ] || die "the virtual laptop is an x86-64 machine and its kernel is built natively: this machine is $(uname -m)."

prepare() {
    local what=$1 wish release
    shift
    # What a killed run left behind; nobody else is here, by the lock.
    rm -rf "$CACHE"/tmp/{toolchain,userland*,builder}.*
    "$ROOT/scripts/packages.sh" "$what"
    "$ROOT/scripts/toolchain.sh"
    [ -z "$what" ] || "$ROOT/scripts/toolchain.sh" systemd
    for wish in "$@"; do
        release=$("$ROOT/scripts/kernel.sh" resolve "$wish")
        [ -f "$CACHE/kernel/$release/.complete" ] || say "  kernel: $release"
        "$ROOT/scripts/kernel.sh" fetch "$release"
    done
}

case ${1:-} in
    "") locked setup prepare "" "${KERNEL:-}" ;;
    # Every series that the index has; the first is the one that everything runs on.
    tests) locked setup prepare tests "${KERNEL:-}" 7.3 ;;
    *) die "usage: setup.sh [tests]" ;;
esac
