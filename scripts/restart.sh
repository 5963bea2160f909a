#!/usr/bin/env bash
# The laptop restarts in order while a change is pending in the kernel device: the old value stands at the next boot, and who began
# a change meanwhile was told that the machine goes down.
. "$(dirname "$0")/lib.sh"

LAPTOP=restart.$$
export LAPTOP BARE=1
trap 'rm -rf "$TARGET/laptop/$LAPTOP.laptop"' EXIT

inside() { "$ROOT/scripts/laptop.sh" command "$1"; }

say "first boot: a change is pending, and the machine restarts"
inside 'insmod /usr/lib/modules/dsmil.ko && dsmil-uapi restart /persist/pending' && die "the laptop did not restart" || true

say "second boot: the same laptop"
inside '
    set -e
    wanted=0
    while read -r location value; do
        found=$(laptop-ctl peek "$location")
        [ "$found" = "$value" ] || { echo "FAIL location $location holds $found instead of $value"; exit 1; }
        echo "ok location $location holds $value"
        wanted=$((wanted + 1))
    done </persist/pending
    [ "$wanted" -eq 2 ] || { echo "FAIL $wanted locations were named, not two"; exit 1; }
' || die "the change that nobody confirmed is still there, or nobody was refused because the machine went down"
say "ok: undone before the restart, and nothing begins meanwhile"
# As the fuzzer tells of it (scripts/survive.sh).
say "          1  BEGIN ESHUTDOWN CLOSING"
