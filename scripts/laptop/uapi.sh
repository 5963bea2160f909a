#!/bin/bash
# The kernel device without the daemon: every ioctl, every refusal, every end of a change; loading and unloading.
#
#   uapi.sh                 leaves the machine as it was
#   uapi.sh confirm|undo    locks the kernel down at the end, with a change pending that is then confirmed or undone
set -e
# Through a pipe, so that children of its which still hold the device are waited for as well.
set -o pipefail
module=/usr/lib/modules/dsmil.ko
suite() { dsmil-uapi "$@" | cat; }

insmod $module read_rate=0 write_rate=0
suite
rmmod dsmil
insmod $module read_rate=20 read_burst=8 write_rate=4 write_burst=3
suite limits
rmmod dsmil
insmod $module
suite unload
[ "$(dsmil-direct list | wc -l)" -eq 84 ]
rmmod dsmil
if [ $# -gt 0 ]; then
    insmod $module read_rate=0 write_rate=0
    suite "$1"
fi
if dmesg | grep -E 'BUG:|WARNING:|Oops|general protection'; then exit 1; fi
echo "ok loaded and unloaded, nothing in the kernel's log"
