#!/bin/bash
# Memory that cannot be had, memory of user space that cannot be reached: one after the other, wherever the module's own code
# is on the stack. The commands may fail, the kernel must not.
#
#   failing.sh         all of it
#   failing.sh each    each call of a few commands fails once
#   failing.sh suite   one call in twenty of the whole suite
#   failing.sh told    each call of each request that needs memory fails once, and what is told is right
module=/usr/lib/modules/dsmil.ko
fault=/sys/kernel/debug
wrong=0

# Only below functions of modules; the kernel's own handling of failures is not what is tested here. Without an address of its
# own at each boot, this kernel ends below the first of these addresses and its modules lie behind it.
first=0xffffffffa0000000
placed=$(awk '$1 == "dell_smbios" { print $6 }' /proc/modules)
if [ $((placed)) -lt $((first)) ] || ! [ -d $fault/failslab ]; then echo "FAIL modules lie at $placed, not behind $first"; exit 1; fi
# Not inside the ACPI interpreter: it keeps a semaphore when memory fails it, and the next method of anybody waits for ever.
interpreter=($(awk '$3 == "acpi_evaluate_object" { print $1; found = $1; next } found && $1 != found { print $1; exit }' /proc/kallsyms))
[ ${#interpreter[@]} -eq 2 ] || { echo "FAIL acpi_evaluate_object is not in /proc/kallsyms"; exit 1; }

for kind in failslab fail_page_alloc fail_usercopy; do
    echo "0x${interpreter[1]}" >$fault/$kind/reject-end
    echo "0x${interpreter[0]}" >$fault/$kind/reject-start
    echo 0xffffffffff000000 >$fault/$kind/require-end
    echo $first >$fault/$kind/require-start
    echo 0 >$fault/$kind/verbose
    echo 1000000 >$fault/$kind/times
done
echo N >$fault/failslab/ignore-gfp-wait
echo N >$fault/fail_page_alloc/ignore-gfp-wait
echo N >$fault/fail_page_alloc/ignore-gfp-highmem
echo 0 >$fault/fail_page_alloc/min-order

# Each kind counts its failures down, also those that an allocation which may fail does not tell.
fired() { cat $fault/{failslab,fail_page_alloc,fail_usercopy}/times | awk '{ left += $1 } END { print -left }'; }

# each TITLE LIMIT COMMAND…: the command with one such call failing, until it makes no more of them: the first ones each, of the
# later ones every so many, others in each run. EVERY=1 takes all, which for a load are some hundred.
each() {
    local title=$1 limit=$2 n=1 before times=0
    shift 2
    while [ "$n" -le "$limit" ]; do
        before=$(fired)
        bash -c 'echo "$0" >/proc/self/fail-nth && exec "$@"' "$n" "$@" >/tmp/failing 2>&1
        [ "$(fired)" -ne "$before" ] || break
        times=$((times + 1))
        settle "$title, call $n"
        n=$((n + 1 + (${EVERY:-0} ? 0 : RANDOM % (n / 2 + 1))))
    done
    if [ "$times" -lt 2 ]; then echo "FAIL $title: only $times failures could be provoked"; wrong=1; fi
    echo "$title: $times failures among its first $n calls, $SECONDS s"
}

settle() { :; }
fail() { wrong=1; echo "FAIL $*"; }
unload() {
    local tries
    grep -q '^dsmil ' /proc/modules || return 0
    # An undo that failed is tried again, ever later.
    for tries in $(seq 600); do
        ! rmmod dsmil 2>/tmp/unloaded || return 0
        sleep 0.1
    done
    cat /tmp/unloaded
    fail "$1: it cannot be unloaded"
}

case ${1:-all} in each | all) calls=1 ;; *) calls=0 ;; esac
case ${1:-all} in suite | all) suite=1 ;; *) suite=0 ;; esac
case ${1:-all} in told | all) told=1 ;; *) told=0 ;; esac
[ $((calls + suite + told)) -gt 0 ] || { echo "usage: failing.sh [each | suite | told]"; exit 2; }

one_by_one() {
    settle() { unload "$1"; }
    each "load" 300 insmod $module read_rate=0 write_rate=0
    unload load

    insmod $module read_rate=0 write_rate=0 || exit 1
    settle() { [ -e /dev/dsmil ] || fail "$1: no /dev/dsmil"; }
    each "list" 300 dsmil-direct list
    each "read" 300 dsmil-direct read 0x8060 0x8061
    each "seal" 300 dsmild seal --config /etc/dsmil/dsmild.toml
    dsmild seal --config /etc/dsmil/dsmild.toml >/dev/null 2>&1
    value=$(dsmil-direct read 0x8060)
    settle() { [ "$(dsmil-direct read 0x8060)" = "$value" ] || fail "$1: the old value is not back"; }
    each "write" 300 dsmil-direct write 0x8060 4242
    rmmod dsmil || exit 1
}

# The whole suite, with one call in twenty failing. What it finds wrong is the failures' doing; that the kernel lives is the test.
whole_suite() {
    insmod $module read_rate=0 write_rate=0 || exit 1
    before=$(fired)
    for kind in failslab fail_page_alloc fail_usercopy; do
        echo Y >$fault/$kind/task-filter
        echo 5 >$fault/$kind/probability
    done
    # Not through a pipe: whoever it leaves behind when a failure ends it early would keep that open.
    bash -c 'echo 1 >/proc/self/make-it-fail && exec dsmil-uapi' >/tmp/suite 2>&1
    tail -n 1 /tmp/suite
    # Whoever it left behind has the device open.
    for left in /proc/[0-9]*; do
        [[ $(readlink "$left/exe") != */dsmil-uapi ]] || kill -KILL "${left#/proc/}"
    done
    for kind in failslab fail_page_alloc fail_usercopy; do echo 0 >$fault/$kind/probability; done
    echo "suite: $(($(fired) - before)) failures"
    [ "$(fired)" -gt "$before" ] || { echo "FAIL none could be provoked"; wrong=1; }
    # The module works on afterwards.
    dsmil-direct list >/dev/null || { echo "FAIL it does not work any more"; wrong=1; }
    unload "the suite"
}

what_is_told() {
    insmod $module read_rate=0 write_rate=0 || exit 1
    # As the fuzzer tells of it (scripts/survive.sh): it makes one allocation fail at a time, which a snapshot can do without.
    if dsmil-uapi memory; then echo "          1  SNAPSHOT ENOMEM MEMORY"; else wrong=1; fi
    unload "what is told"
}

[ "$calls" -eq 0 ] || one_by_one
[ "$told" -eq 0 ] || what_is_told
[ "$suite" -eq 0 ] || whole_suite
exit $wrong
