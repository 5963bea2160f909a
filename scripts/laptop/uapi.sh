#!/bin/bash
# The kernel device without the daemon: every ioctl, every refusal, and unloading while it is in use.
set -e
insmod /usr/lib/modules/dsmil.ko
# Through a pipe, so that children of its which still hold the device are waited for as well.
set -o pipefail
dsmil-uapi /dev/dsmil | cat
# An open file keeps the module in; after it is closed the module goes, and comes again.
exec 9</dev/dsmil
if rmmod dsmil 2>/dev/null; then echo "FAIL the module was unloaded under an open file"; exit 1; fi
exec 9<&-
rmmod dsmil
insmod /usr/lib/modules/dsmil.ko
[ "$(dsmil-direct list | wc -l)" -eq 84 ]
rmmod dsmil
if dmesg | grep -E 'BUG:|WARNING:|Oops|general protection'; then exit 1; fi
echo "ok loaded and unloaded twice, refused while open, nothing in the kernel's log"
