#!/bin/bash
# The virtual firmware itself, through the kernel's driver: the administrator password, and faults at late calls.
set -u
failed=0
check() {
    local title=$1 wanted=$2 said=$3
    if [ "$said" = "$wanted" ]; then echo "ok $title"; else
        echo "FAIL $title: “$said”, not “$wanted”"
        failed=1
    fi
}
place=0x15
try() { "$@" 2>&1 | sed 's/.*status \(-*[0-9]*\).*/status \1/;s/.*No data available.*/no data/' || true; }

laptop-ctl poke $place 1
check "no password at first" "not set" "$(laptop-ctl password)"
laptop-ctl password on
check "the question says that one is set" "set" "$(laptop-ctl password)"
check "a write is refused with it" "status -1" "$(try laptop-ctl write $place 5)"
check "a read is not" 1 "$(laptop-ctl read $place)"
laptop-ctl password off
check "the question says that none is set" "not set" "$(laptop-ctl password)"
check "a write goes through without it" "" "$(try laptop-ctl write $place 6)"
check "and is stored" 6 "$(laptop-ctl read $place)"

# Short replies: none, up to the outputs, up to the status. The kernel's driver hands none of them on.
for bytes in 0 20 24 4095; do
    laptop-ctl fault short --on write --value "$bytes" --count 1
    check "a reply of $bytes bytes is an error" "no data" "$(try laptop-ctl write $place "$((100 + bytes))")"
    check "its write is done" "$((100 + bytes))" "$(laptop-ctl read $place)"
done

laptop-ctl fault slow --on write --value 2000 --count 1
began=$EPOCHREALTIME
check "a slow write is no error" "" "$(try laptop-ctl write $place 7)"
took=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { print int((b - a) * 1000) }')
if [ "$took" -ge 2000 ] && [ "$took" -lt 6000 ]; then echo "ok it takes two seconds: $took ms"; else
    echo "FAIL a write of 2000 ms took $took ms"
    failed=1
fi
check "it is done" 7 "$(laptop-ctl read $place)"

# Reads and writes by turns: the 201st call of both together is hit, and no other.
laptop-ctl fault error --on any --skip 200 --count 1
hit=
for call in $(seq 0 203); do
    if [ $((call % 2)) -eq 0 ]; then laptop-ctl read $place; else laptop-ctl write $place "$call"; fi >/dev/null 2>&1 || hit+="$call "
done
check "skip=200 on any hits call 200 alone" "200 " "$hit"
check "no fault stands" "" "$(laptop-ctl fault list)"
if dmesg | grep -E 'BUG:|WARNING:|Oops|general protection'; then failed=1; fi
exit $failed
