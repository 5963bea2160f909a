#!/usr/bin/env bash
# The laptop's power goes, and its disk loses what was not flushed; it boots again and everything acknowledged is there.
#
#   power.sh [TIMES]   so many cuts in a row (30)
#
# RESTORES=1: in the middle of restores.
# SEED=number makes other moments and losses. After each boot, LOOKS=number (6) earlier points of it are looked at without booting.
. "$(dirname "$0")/lib.sh"

[ "$("$ROOT/scripts/cargo.sh" where)" = machine ] ||
    die "power.sh boots laptops from a program of ours, so it needs Rust $(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml") or newer on the machine itself: install it, then go on."
for tool in mke2fs e2fsck debugfs; do
    command -v "$tool" >/dev/null || die "there is no $tool: install e2fsprogs, then go on."
done
room "$TARGET/laptop" 3000 "the laptop that loses power"
exec "$TARGET/debug/power" --script "$ROOT/scripts/laptop.sh" --laptops "$TARGET/laptop" --verifier "$TARGET/debug/dsmil" \
    ${RESTORES:+--restores} --seed "${SEED:-1}" --looks "${LOOKS:-6}" "${1:-30}"
