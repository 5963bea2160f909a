#!/bin/bash
# The module under a kernel that looks for mistakes (KASAN, UBSAN, lockdep, kmemleak, fault injection). Each line below is
# one check: what it runs must succeed, and the kernel must have reported nothing meanwhile.
#
#   sanitize.sh whole | long | table | COMMAND…   one of the lists at the end, or these commands, each as a check of its own
. /usr/lib/laptop/reports.sh
module=/usr/lib/modules/dsmil.ko

# Freshly loaded also where the check before this one failed and left it in.
load() {
    if grep -q '^dsmil ' /proc/modules; then rmmod dsmil || return 1; fi
    # Without its limits on calls: the checks ask more than anybody would.
    insmod $module read_rate=0 write_rate=0
}
loaded() { load && "$@" && rmmod dsmil; }
load_and_unload() {
    local round
    for round in $(seq 1 "$1"); do
        insmod $module && rmmod dsmil || { echo "round $round"; return 1; }
    done
}

# Somebody opens and asks all the time while the module comes and goes.
unload_while_used() {
    local reader readers=() round busy=0
    for reader in 1 2 3; do
        while [ ! -e /tmp/enough ]; do dsmil-direct list >/dev/null 2>&1; done &
        readers+=($!)
    done
    for round in $(seq 1 "$1"); do
        insmod $module || return 1
        until rmmod dsmil 2>/dev/null; do
            busy=$((busy + 1))
            [ "$busy" -lt 5000 ] || { echo "it is never free"; touch /tmp/enough; return 1; }
        done
    done
    touch /tmp/enough
    wait "${readers[@]}"
    rm /tmp/enough
    echo "$round rounds, $busy refusals while it was open"
}

# Without the module, also where the check before left it in.
unloaded() {
    if grep -q '^dsmil ' /proc/modules; then rmmod dsmil || return 1; fi
    "$@"
}

idle() {
    local tries
    for tries in $(seq 300); do
        ! grep -qx 'state 0' /sys/kernel/debug/dsmil/state || return 0
        sleep 0.1
    done
    return 1
}

# The firmware fails, lies or dawdles at each of a write's calls; afterwards the old value stands.
firmware_faults() {
    local kind skip before now wrong=0
    load && dsmild seal --config /etc/dsmil/dsmild.toml || return 1
    before=$(dsmil-direct read 0x8060) || return 1
    for kind in "error --on any" "unsupported --on any" "garbage --value 77 --on any" "late-error --on any" "write-ignored --on write"; do
        for skip in 0 1 2 3; do
            # shellcheck disable=SC2086
            laptop-ctl fault $kind --skip "$skip" --count 1 >/dev/null || return 1
            dsmil-direct write 0x8060 4242 >/tmp/written 2>&1
            laptop-ctl fault clear >/dev/null
            # An undo that failed is tried again after a second.
            idle || { echo "$kind at call $skip: the change is neither kept nor undone"; wrong=1; }
            now=$(dsmil-direct read 0x8060)
            [ "$now" = "$before" ] || { echo "$kind at call $skip: “$now” instead of “$before”"; cat /tmp/written; wrong=1; }
        done
    done
    rmmod dsmil && return $wrong
}

for_each() {
    local command
    # In this shell, so that the functions above are at hand.
    for command in "$@"; do check "$command" eval "$command"; done
}

check "every instrument is on" instruments
if kmemleak; then
    # What the kernel itself lost while it booted is not the module's.
    leaks >/tmp/boot-leaks || { echo "note: leaks of the boot, not ours:"; grep -A 8 unreferenced /tmp/boot-leaks | head -n 40; }
    echo clear >/sys/kernel/debug/kmemleak
fi
case ${1:-} in
    whole)
        check "KUnit tests at load" loaded kunit
        check "the kernel traces the module (KCOV)" loaded dsmil-coverage
        check "load and unload, 20 times" load_and_unload 20
        check "nothing is leaked by that" leaks
        check "unload while it is used" unload_while_used 20
        check "nothing is leaked by that" leaks
        check "faults of the firmware" firmware_faults
        check "memory that cannot be had" unloaded /usr/lib/laptop/failing.sh each
        check "what is told when there is none" unloaded /usr/lib/laptop/failing.sh told
        check "nothing is leaked by all this" leaks
        check "every kind of operation" unloaded /usr/lib/laptop/uapi.sh short
        check "nothing is leaked by that" leaks
        check "SIGKILL of who changes something" unloaded /usr/lib/laptop/survive.sh kills 16
        check "nothing is leaked by that" leaks
        check "the daemon on it, faults of the firmware" bash -c '/usr/lib/laptop/up.sh && /usr/lib/laptop/faults.sh && /usr/lib/laptop/daemon.sh stop && rmmod dsmil'
        check "nothing is leaked at the end" leaks
        ;;
    # Thousands of calls of the firmware, each with hundreds of allocations: for a kernel that does not fill each with a pattern
    # and keep it in a list. KASAN still tells what is used wrongly.
    long)
        check "every ioctl and its refusals" unloaded /usr/lib/laptop/uapi.sh
        check "memory that cannot be had, all along" unloaded /usr/lib/laptop/failing.sh suite
        check "fuzzed for a while" unloaded /usr/lib/laptop/fuzz.sh --seed 1 --ops 15000 --calls 6
        ;;
    table) check "a token table that is wrong" unloaded /usr/lib/laptop/tables.sh ;;
    *) for_each "$@" ;;
esac
check "every instrument is still on" instruments
# A kernel that is locked down hides its instruments.
[ "${1:-}" != long ] || check "a change that is pending when the kernel is locked down" unloaded /usr/lib/laptop/uapi.sh last confirm
exit $failed
