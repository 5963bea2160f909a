#!/bin/bash
# The tour: one line through the whole machine. It is the end-to-end test as well, so each claim is checked with
# tools that are not ours. KILL=1 kills the daemon with SIGKILL after every step and starts it again.
set -u
number=0
total=12
work=/srv/work
began=$EPOCHREALTIME
export NO_COLOR=1

since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f s", b - a }'; }

title() {
    number=$((number + 1))
    step_began=$EPOCHREALTIME
    printf '\n%2d/%d  %s\n' "$number" "$total" "$1"
}

done_in() {
    printf '       ✓ %s  (%s)\n' "$1" "$(since "$step_began")"
    if [ -n "${KILL:-}" ] && [ -e /run/dsmild.pid ]; then
        /usr/lib/laptop/daemon.sh kill
        /usr/lib/laptop/daemon.sh start || wrong "dsmild did not come up again after SIGKILL"
        dsmil log verify >/dev/null || wrong "the log does not verify after SIGKILL"
        printf '       ✓ killed with SIGKILL, up again, the log holds\n'
    fi
}

wrong() {
    printf '\n       ✗ %s\n' "$*"
    [ -f /var/log/dsmild.log ] && tail -n 20 /var/log/dsmild.log
    exit 1
}

# show COMMAND: as a person would type it, with what it prints.
show() {
    printf '       $ %s\n' "$1"
    bash -c "$1" >/tmp/shown 2>&1
    local status=$?
    # Every reply says that the machine is emulated; here it is said once, by “status”.
    sed '/warning: this machine is emulated/d; s/^/         /' /tmp/shown
    return $status
}

# What is there, as the kernel tells it: kind, mode, owner, times, link, content (a folder's size is the file system's own). Looked at through a mount of its
# own of the folder above, in which a restore exchanges it, because looking would move the access times.
quiet=/run/quiet
picture() {
    (cd "$quiet/${work##*/}" && find . -printf '%P|%y|%m|%U|%G|%T@|%A@|%l\n' | LC_ALL=C sort &&
        find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
}

title "Boot: a stock Debian kernel takes the virtual machine for a Dell Latitude 5450"
show 'uname -r; cat /sys/class/dmi/id/{sys_vendor,product_name}' || wrong "no DMI"
[ "$(cat /sys/class/dmi/id/product_name)" = "Latitude 5450" ] || wrong "it is another machine"
[ -e /dev/wmi/dell-smbios ] || wrong "the firmware's WMI interface is not there"
done_in "up $(cut -d' ' -f1 /proc/uptime) s after power on"

title "Load the kernel module"
show 'insmod /usr/lib/modules/dsmil.ko && ls -l /dev/dsmil' || wrong "insmod failed: $(dmesg | tail -n 5)"
chgrp dsmil /dev/dsmil
done_in "/dev/dsmil is there"

title "The firmware's tokens appear as 84 devices"
dsmil-direct list >/tmp/devices || wrong "the devices cannot be listed: $(cat /tmp/devices)"
show 'dsmil-direct list | sed -n "1,3p;9,11p"; echo …'
[ "$(wc -l </tmp/devices)" -eq 84 ] || wrong "$(wc -l </tmp/devices) devices instead of 84"
done_in "84 devices"

title "The kernel refuses what must never be written, to root as well"
show 'dsmild seal && dsmil-direct write 0x8009 1' && wrong "a quarantined token was written"
grep -q quarantine /tmp/shown || wrong "it was refused for another reason"
done_in "refused in the kernel"

title "Start the daemon: TPM, log, gate"
mkdir -p "$work"
/usr/lib/laptop/daemon.sh start || wrong "dsmild did not start"
show 'dsmil status' || wrong "no status"
dsmil status --json | grep -q '"manufacturer"' || wrong "the TPM is not named"
[ "$(awk '/^Uid/ { print $2 }' "/proc/$(cat /run/dsmild.pid)/status")" -ne 0 ] || wrong "dsmild runs as root"
done_in "dsmild runs as uid $(awk '/^Uid/ { print $2 }' "/proc/$(cat /run/dsmild.pid)/status"), not as root"

title "The probes show live scheduler latency"
before=$(dsmil status --json | python3 -c 'import json,sys; print(sum(c["count"] for c in json.load(sys.stdin)["answer"]["scheduler"]))')
for _ in 1 2 3 4 5 6 7 8; do (: | cat >/dev/null) & done
wait
after=$(dsmil status --json | python3 -c 'import json,sys; print(sum(c["count"] for c in json.load(sys.stdin)["answer"]["scheduler"]))')
show 'dsmil status | grep -i cpu'
[ "$after" -gt "$before" ] || wrong "the histogram does not grow ($before, $after)"
done_in "$before waits before, $after after a little work"

title "Take a checkpoint named “before”, signed by the TPM"
mkdir -p "$work/letters" "$work/keys" "$work/empty"
printf 'Dear machine,\nplease stay as you are.\n' >"$work/letters/one.txt"
head -c 3000000 /dev/urandom >"$work/letters/photo.raw"
printf 'secret\n' >"$work/keys/id" && chmod 600 "$work/keys/id" && chown 1000:1000 "$work/keys/id"
ln -sf letters/one.txt "$work/link"
ln -f "$work/letters/one.txt" "$work/letters/same-file"
chmod 4750 "$work/letters/photo.raw"
touch -d '2024-02-29 12:34:56.789012345' "$work/letters/one.txt" "$work/empty"
touch -h -d '2001-09-09 01:46:40' "$work/link"
touch -d '2020-01-01' "$work/letters" "$work/keys"
mkdir -p "$quiet" && mount --bind "${work%/*}" "$quiet" && mount -o remount,bind,ro,noatime "$quiet" || wrong "no quiet view"
token_before=$(dsmil tokens get 0x8060 --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["answer"]["values"][0]["value"])')
picture >/tmp/before
show 'dsmil checkpoint create before' || wrong "no checkpoint"
show 'dsmil checkpoint verify before' || wrong "it does not verify"
done_in "kept, encrypted under a key that only this TPM unseals"

title "A process changes a permitted token and spoils, adds and deletes files"
cat >/tmp/agent.sh <<AGENT
dsmil tokens set 0x8060=$((token_before + 1))
echo garbage >>$work/letters/one.txt
dd if=/dev/zero of=$work/letters/photo.raw bs=1000 count=7 seek=100 conv=notrunc status=none
rm -r $work/keys $work/link
mkdir $work/loot && echo stolen >$work/loot/list
chmod 777 $work/empty && chown 65534 $work/empty
AGENT
show 'bash /tmp/agent.sh' || wrong "the token could not be set"
picture >/tmp/spoiled
cmp -s /tmp/before /tmp/spoiled && wrong "nothing is spoiled"
done_in "$(diff /tmp/before /tmp/spoiled | grep -c '^[<>]') lines of the picture differ"

title "The thermal zone is heated to 90 °C and the event appears"
laptop-ctl heat 90 || wrong "the zone cannot be heated"
for _ in $(seq 1 100); do
    dsmil log tail 2>/dev/null | grep -q 'is warning: 90' && break
    sleep 0.1
done
show 'dsmil log tail -n 3' && dsmil log tail 2>/dev/null | grep -q 'is warning: 90' || wrong "no event"
done_in "recorded as a fact"
laptop-ctl heat default

title "Bring the machine back to “before”"
show 'dsmil checkpoint plan before' || wrong "no plan"
show 'dsmil checkpoint restore before' || wrong "the restore failed"
picture >/tmp/after
diff /tmp/before /tmp/after >/tmp/difference || wrong "not everything is back: $(cat /tmp/difference)"
token_after=$(dsmil tokens get 0x8060 --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["answer"]["values"][0]["value"])')
[ "$token_after" = "$token_before" ] || wrong "the token holds $token_after instead of $token_before"
done_in "token and every file are back: content, mode, owner, times"

title "The log proves itself"
show 'dsmil log verify --key /var/lib/dsmil/log/key.pem' || wrong "it does not verify"
done_in "$(dsmil log tail --json -n 1 | python3 -c 'import json,sys; print(json.load(sys.stdin)["answer"]["size"])') facts"

title "One flipped byte in a copy is found and named"
rm -rf /tmp/copy && cp -r /var/lib/dsmil/log /tmp/copy
python3 - <<'PYTHON'
import glob
path = sorted(glob.glob("/tmp/copy/*.log"))[0]
with open(path, "r+b") as file:
    data = file.read()
    place = data.index(b"before")
    file.seek(place)
    file.write(b"B")
print(f"       byte {place} of {path} is another one now")
PYTHON
show 'dsmil log verify --dir /tmp/copy' && wrong "the change was not noticed"
grep -q 'entry [0-9]' /tmp/shown || wrong "the entry is not named"
done_in "found"

printf '\nThe tour took %s; every step was checked.\n' "$(since "$began")"
