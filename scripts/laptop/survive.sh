#!/bin/bash
# Kills or faults straight through the kernel module, without the daemon: survive.sh kills|faults [TIMES] [--seed N].
set -e
# What of the daemon is up goes; the next who needs it runs up.sh.
/usr/lib/laptop/daemon.sh stop
if [ -e /dev/dsmil ]; then rmmod dsmil; fi
# Thousands of changes: without the limits on calls to the firmware.
insmod /usr/lib/modules/dsmil.ko write_rate=0 read_rate=0
status=0
laptop-survive "$@" || status=$?
if dmesg | grep -E 'BUG:|WARNING:|Oops|general protection|UBSAN|KASAN'; then echo "error: the kernel reported, see above." >&2; status=1; fi
rmmod dsmil || { echo "error: the module cannot be unloaded after it all." >&2; status=1; }
exit $status
