#!/bin/bash
# Faults of the firmware at each call of a write by the daemon: the old value stands, or the failure is told; the next write
# works. Then a sample of what “make survive WHAT=faults” tries straight through the kernel module.
set -u
failed=0
value() { dsmil tokens get 0x8060 --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["answer"]["values"][0]["value"])'; }
for kind in "error --on any" "unsupported --on any" "garbage --value 77 --on any" "late-error --on any" "write-ignored --on write"; do
    for skip in 0 1 2 3; do
        before=$(value)
        # shellcheck disable=SC2086
        laptop-ctl fault $kind --skip "$skip" --count 1 >/dev/null || exit 1
        if dsmil tokens set "0x8060=$((before + 1))" >/tmp/said 2>&1; then wanted=$((before + 1)); else wanted=$before; fi
        laptop-ctl fault clear >/dev/null
        now=$(value)
        if [ "$now" = "$wanted" ]; then
            echo "ok $kind at call $skip: $(tail -n 1 /tmp/said)"
        else
            echo "FAIL $kind at call $skip: $now instead of $wanted: $(cat /tmp/said)"
            failed=1
        fi
        if ! dsmil tokens set "0x8060=$before" >/tmp/said 2>&1 && [ "$now" != "$before" ]; then
            echo "FAIL $kind at call $skip: then it cannot be set back: $(cat /tmp/said)"
            failed=1
        fi
    done
done
/usr/lib/laptop/survive.sh faults 10 || failed=1
exit $failed
