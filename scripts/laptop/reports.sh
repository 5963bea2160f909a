# shellcheck shell=bash
# Sourced in the sanitizer's guest: runs a check and looks at what the kernel has to say about it.

failed=0
# What a kernel says when something is wrong: KASAN, UBSAN, lockdep, the allocators' and the scheduler's checks, Rust's panics,
# stalls, a test that failed.
REPORTS='BUG[: ]|WARNING:|UBSAN:|KASAN:|ODEBUG:|Oops|kernel BUG at|rust_kernel: panicked|general protection|Unable to handle'
REPORTS+='|INFO: (task|rcu|possible|trying|suspicious)|(soft|hard) lockup|self-detected stall|detected stalls|refcount_t:|list_(add|del) corruption'
REPORTS+='|suspected memory leak|kmemleak: .*(disabled|stopping)|\*\*\* DEADLOCK|Kernel panic|not ok [0-9]|lockdep.*turn(ing|ed) off|bad page'
# Bits of the kernel's taint that only a report sets: bad page or KASAN, died, warned, soft lockup.
TAINTS=$((1 << 5 | 1 << 7 | 1 << 9 | 1 << 14))

since_mark() { dmesg | tac | awk '{ print } /sanitize: >>> /{ exit }' | tac; }
mark() { echo "sanitize: >>> $*" >/dev/kmsg; }
plain() { sed -E 's/^\[ *[0-9.]+\] (\[ *[TC][0-9]+\] )?//'; }
tainted() { [ $(($(cat /proc/sys/kernel/tainted) & TAINTS)) -ne 0 ]; }

# check TITLE COMMAND…: fails if the command does or if the kernel reported anything meanwhile; the report is printed.
check() {
    local title=$1 began=$EPOCHREALTIME status=0 lines
    shift
    mark "$title"
    "$@" >/tmp/said 2>&1 || status=$?
    since_mark | plain >/tmp/kernel
    lines=$(grep -cE "$REPORTS" /tmp/kernel)
    [ "$status" -ne 0 ] || [ "$lines" -ne 0 ] || {
        printf 'ok   %s  (%s)\n' "$title" "$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f s", b - a }')"
        return 0
    }
    failed=1
    printf 'FAIL %s: status %d, %d lines of the kernel report something\n' "$title" "$status" "$lines"
    # What it says of itself first: it may have gone on for long.
    head -n -25 /tmp/said | grep -E '^ *FAIL|^error' | head -n 20 | sed 's/^/    | /'
    tail -n 25 /tmp/said | sed 's/^/    | /'
    if [ "$lines" -ne 0 ]; then
        grep -nE "$REPORTS" /tmp/kernel | head -n 20 | sed 's/^/    # /'
        # From the first report on, with its stacks.
        awk -v reports="$REPORTS" '!on && $0 ~ reports { on = 1 } on && n++ < 120 { print "    k " $0 }' /tmp/kernel
    fi
}

# Whether this boot was to have kmemleak.
kmemleak() { ! grep -q kmemleak=off /proc/cmdline; }

# Memory that nothing points to any more. kmemleak tells of an object only when two scans agree and it is five seconds old.
leaks() {
    local memleak=/sys/kernel/debug/kmemleak
    sleep 5.5
    echo scan >$memleak
    echo scan >$memleak
    cat $memleak
    ! grep -q 'unreferenced object' $memleak
}

# The module's KUnit tests ran at an insmod since the mark, those of all its five suites, and all of them passed.
kunit() {
    since_mark | plain | awk '
        /# Subtest: dsmil/      { inside = 1 }
        inside && /^ +ok [0-9]/ { passed++ }
        /^ok [0-9]+ dsmil/      { inside = 0; if (!($3 in seen)) suites++; seen[$3] = 1 }
        /not ok/                { bad = 1 }
        END { print passed + 0 " KUnit tests passed in " suites + 0 " suites"; exit !(suites == 5 && passed > 0 && !bad) }'
}

# A kernel whose instruments turned themselves off would pass everything.
instruments() {
    grep -q 'debug_locks: *1' /proc/lockdep_stats || { echo "lockdep is off"; return 1; }
    ! kmemleak || [ -w /sys/kernel/debug/kmemleak ] || { echo "no kmemleak"; return 1; }
    [ -e /sys/kernel/debug/kcov ] || { echo "no kcov"; return 1; }
    dmesg | grep -q 'KernelAddressSanitizer initialized' || { echo "no KASAN"; return 1; }
    grep -q kasan_multi_shot /proc/cmdline || { echo "KASAN would be silent after its first report"; return 1; }
    ! tainted || { echo "the kernel is tainted: $(cat /proc/sys/kernel/tainted)"; return 1; }
}
