#!/usr/bin/env bash
# “make test”: set up, build, lint, and every test: unit, ABI, probes, software TPM, end to end in the laptop.
. "$(dirname "$0")/lib.sh"

passed=0
failed=0

# check TITLE COMMAND…: a test of its own; the others go on when it fails.
check() {
    if (step "$@"); then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

in_tree() { (cd "$ROOT" && "$@"); }

say "Set-up:"
"$ROOT/scripts/setup.sh" tests
releases=$("$ROOT/scripts/kernel.sh" resolve "${KERNEL:-}")
# The next series is tested as well, where the package index has one.
newer=$("$ROOT/scripts/kernel.sh" resolve 7.3 2>/dev/null || true)
[ -z "$newer" ] || [ "$newer" = "$releases" ] || releases="$releases $newer"
say "Build:"
# shellcheck disable=SC2086
"$ROOT/scripts/build.sh" $releases
say "Lints:"
check "lints" "$ROOT/scripts/lint.sh"
say "Tests on this machine:"
check "unit, property, software TPM, probes, layers" \
    in_tree env TSS2_LOG=all+NONE "$ROOT/scripts/cargo.sh" test --workspace --no-fail-fast
say "Tests in the virtual laptop:"
for release in $releases; do
    export KERNEL=$release
    BARE=1 check "$release: the tour" "$ROOT/scripts/laptop.sh" command /usr/lib/laptop/tour.sh
    BARE=1 check "$release: every ioctl and its refusals" "$ROOT/scripts/laptop.sh" script "$ROOT/scripts/laptop/uapi.sh"
done
unset KERNEL
BARE=1 KILL=1 check "the tour with SIGKILL after each step" "$ROOT/scripts/laptop.sh" command 'KILL=1 /usr/lib/laptop/tour.sh'
check "SIGKILL in the middle of writes, checkpoints, restores" "$ROOT/scripts/laptop.sh" script "$ROOT/scripts/laptop/kills.sh"
check "the laptop killed and booted again" "$ROOT/scripts/power-cut.sh"
check "faults of the firmware" "$ROOT/scripts/laptop.sh" script "$ROOT/scripts/laptop/faults.sh"

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
