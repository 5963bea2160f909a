#!/usr/bin/env bash
# The laptop restarts in order while a change is pending in the kernel device: the old value stands at the next boot.
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
    read -r location old </persist/pending
    found=$(laptop-ctl peek "$location")
    [ "$found" = "$old" ] || { echo "FAIL location $location holds $found instead of $old"; exit 1; }
    echo "ok location $location holds $old"
' || die "the change that nobody confirmed is still there"
say "ok: undone before the restart"
