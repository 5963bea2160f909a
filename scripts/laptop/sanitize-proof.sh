#!/bin/bash
# Mistakes on purpose, by the kernel's own test modules: a check that lets one pass would let ours pass too. Booted for this
# alone, since a kernel that has reported something is not the same afterwards.
. /usr/lib/laptop/reports.sh
modules=/usr/lib/modules
missed=0

# caught WHAT REPORT COMMAND…: the check around the command must fail, and must print that report.
caught() {
    local what=$1 report=$2
    shift 2
    failed=0
    check "$what" "$@" >/tmp/told
    if [ "$failed" -ne 0 ] && grep -qE "$report" /tmp/told; then
        printf 'ok   caught: %s: %s\n' "$what" "$(grep -oEm 1 "$report.*" /tmp/told)"
    else
        printf 'FAIL not caught: %s\n' "$what"
        sed 's/^/    | /' /tmp/told
        missed=1
    fi
}

# also WHAT REPORT: the last mistake was reported as this one, too.
also() {
    if grep -qE "$2" /tmp/told; then
        printf 'ok   caught: %s: %s\n' "$1" "$(grep -oEm 1 "$2.*" /tmp/told)"
    else
        printf 'FAIL not caught: %s\n' "$1"
        missed=1
    fi
}

# A process that is killed by its mistake is not the check's failure; the kernel's report must be.
provoke() { (echo "$1" >/sys/kernel/debug/provoke-crash/DIRECT) || true; }
lost_memory() { insmod $modules/kmemleak-test.ko && rmmod kmemleak_test && leaks; }
# The watchdog waits for twice this many seconds.
busy_cpu() { echo 2 >/proc/sys/kernel/watchdog_thresh && insmod $modules/test_lockup.ko iterations=1 time_secs=12 disable_preempt=1 || true; }

instruments || exit 1
insmod $modules/lkdtm.ko || exit 1
# lockdep looks no further after the first report of anybody, so it comes first.
caught "a lock kept" 'WARNING: lock held when returning to user space' provoke SPINLOCKUP
also "sleeping while atomic" 'BUG: (scheduling while atomic|sleeping function)'
caught "use after free" 'KASAN: (slab-)?use-after-free' provoke READ_AFTER_FREE
caught "write past the end" 'KASAN: ' provoke SLAB_LINEAR_OVERFLOW
caught "a warning" 'WARNING: .*lkdtm' provoke WARNING
caught "a shift too far" 'UBSAN: ' insmod $modules/test_ubsan.ko
caught "a corrupted list" 'list_add corruption' provoke CORRUPT_LIST_ADD
caught "memory lost" 'unreferenced object|suspected memory leak' lost_memory
caught "a CPU that is kept busy" 'BUG: soft lockup' busy_cpu
caught "instruments that are off" 'lockdep is off|tainted' instruments
exit $missed
