#!/usr/bin/env bash
# “make test”: set up, build, lint, and every test: unit, ABI, probes, software TPM, end to end in the laptop.
. "$(dirname "$0")/lib.sh"

results=$(mktemp)
trap 'rm -f "$results"' EXIT

# check TITLE COMMAND…: a test of its own; the others go on when it fails. Told in one piece, since two run at a time.
check() {
    local told status=0
    told=$( (step "$@") 2>&1) || status=$?
    printf '%s\n' "$told"
    if [ "$status" -eq 0 ]; then echo passed; else echo failed; fi >>"$results"
}

in_tree() { (cd "$ROOT" && "$@"); }
laptop() { "$ROOT/scripts/laptop.sh" "$@"; }
guest() { laptop script "$ROOT/scripts/laptop/$1.sh" "${@:2}"; }

# The tests of agents' cgroups, in a guest whose tree has controllers.
agents() {
    local program
    program=$(in_tree "$ROOT/scripts/cargo.sh" test -p sandbox --test sandbox --no-run --message-format=json 2>/dev/null |
        sed -n 's/.*"executable":"\([^"]*\/sandbox-[0-9a-f]*\)".*/\1/p')
    FILES="${program:?the tests of sandbox do not build} $TARGET/debug/examples/misbehave" guest agents
}

# The emulated laptop keeps one core busy, so two of them run beside each other.
lane_one() {
    # What a lockdown leaves pending ends in one of two ways: each is seen on one kernel.
    local release end=confirm
    for release in $releases; do
        KERNEL=$release BARE=1 check "$release: the tour" laptop command /usr/lib/laptop/tour.sh
        KERNEL=$release BARE=1 check "$release: every ioctl and its refusals" guest uapi "$end"
        end=undo
    done
    BARE=1 check "the tour with SIGKILL after each step" laptop command 'KILL=1 /usr/lib/laptop/tour.sh'
    check "the laptop killed and booted again" "$ROOT/scripts/power-cut.sh"
    LOOKS=2 check "the power goes, the disk loses what was not flushed" "$ROOT/scripts/power.sh" 1
    check "a restart undoes what is pending" "$ROOT/scripts/restart.sh"
    check "faults of the firmware" guest faults
    BARE=1 check "the kernel device fuzzed" guest fuzz --ops 10000
    check "token tables that are wrong" "$ROOT/scripts/tables.sh" duplicates shared tokens-2000
    INIT=systemd check "services under systemd" guest services
}
lane_two() {
    check "attacks on the daemon" guest attack
    check "logs that are archived, damaged, salvaged" guest odd-logs
    check "SIGKILL in writes, checkpoints, restores" guest kills
    check "what is sealed, and the ways to it" guest vault
    check "agents and workflows" guest fleet
    BARE=1 check "limits of agents, where the tree has controllers" agents
    check "checkpoints compared, restored, exported, mounted" guest checkpoints
}

say "Set-up:"
"$ROOT/scripts/setup.sh" tests
releases=$("$ROOT/scripts/kernel.sh" resolve "${KERNEL:-}")
# The next series is tested as well, where the package index has one.
newer=$("$ROOT/scripts/kernel.sh" resolve 7.3 2>/dev/null || true)
[ -z "$newer" ] || [ "$newer" = "$releases" ] || releases="$releases $newer"
unset KERNEL
say "Build:"
# shellcheck disable=SC2086
"$ROOT/scripts/build.sh" $releases
say "On this machine:"
check "formats and lints" "$ROOT/scripts/lint.sh"
check "unit, property, software TPM, probes, layers" \
    in_tree env TSS2_LOG=all+NONE "$ROOT/scripts/cargo.sh" test --workspace --no-fail-fast
say "In the virtual laptop, two at a time (some minutes):"
lane_one &
lane_two &
wait

passed=$(grep -c passed "$results" || true)
failed=$(grep -c failed "$results" || true)
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
