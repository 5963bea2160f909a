#!/usr/bin/env bash
# QEMU is killed in the middle of the tour, the same laptop boots again: same TPM identity, nothing acknowledged lost.
. "$(dirname "$0")/lib.sh"

LAPTOP=power-cut.$$
export LAPTOP
trap 'rm -rf "$TARGET/laptop/$LAPTOP.laptop"' EXIT

inside() { "$ROOT/scripts/laptop.sh" command "$1"; }

say "first boot: a checkpoint and a write are acknowledged, then the power is cut in the middle of a write"
inside '
    mkdir -p /srv/work && echo precious >/srv/work/file
    dsmil checkpoint create kept && dsmil tokens set 0x8060=12345 && dsmil status --json >/persist/first.json
    echo 54321 >/srv/work/file && sync
    laptop-ctl fault slow --value 3000 --on write --count 0
    (dsmil tokens set 0x8060=777 && touch /persist/acknowledged) &
    sleep 1.5
    echo b >/proc/sysrq-trigger; sleep 100
' && die "the laptop ended in order although its power was cut" || true

say "second boot: the same laptop"
inside '
    set -e
    python3 - <<PYTHON
import json
first = json.load(open("/persist/first.json"))["answer"]
import subprocess
now = json.loads(subprocess.check_output(["dsmil", "status", "--json"]))["answer"]
assert now["tpm"]["key"] == first["tpm"]["key"], "another key"
assert now["log"]["size"] > first["log"]["size"], "facts are lost"
value = json.loads(subprocess.check_output(["dsmil", "tokens", "get", "0x8060", "--json"]))["answer"]["values"][0]["value"]
assert value == 12345, f"the token holds {value} instead of 12345"
PYTHON
    test ! -e /persist/acknowledged
    dsmil log verify
    dsmil log tail -n 12
    dsmil checkpoint restore kept
    test "$(cat /srv/work/file)" = precious
' || die "something acknowledged is lost"
say "ok: key, log, checkpoint and token are those that were acknowledged"
