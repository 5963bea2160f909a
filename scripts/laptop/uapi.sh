#!/bin/bash
# The kernel device without the daemon: every ioctl, every refusal, every end of a change; loading and unloading.
#
#   uapi.sh                 leaves the machine as it was
#   uapi.sh confirm|undo    unloads by force and locks the kernel down at the end, with a change pending that is then
#                           confirmed or undone
set -e
# Through a pipe, so that children of its which still hold the device are waited for as well.
set -o pipefail
module=/usr/lib/modules/dsmil.ko
suite() { dsmil-uapi "$@" | cat; }

insmod $module read_rate=0 write_rate=0
suite
rmmod dsmil
# A firmware call takes a third of a second under a kernel that looks for mistakes, so what is limited must come back more slowly.
if grep -q __asan_load1 /proc/kallsyms; then rates="read_rate=1 write_rate=1"; else rates="read_rate=20 write_rate=4"; fi
# shellcheck disable=SC2086
insmod $module $rates read_burst=8 write_burst=3
suite limits
rmmod dsmil
insmod $module
suite unload
[ "$(dsmil-direct list | wc -l)" -eq 84 ]
rmmod dsmil
/usr/lib/laptop/node.sh
# Real sleep: QEMU's machine comes back from it with this kernel, and with 7.3 it does not, with or without the module.
if [[ $(uname -r) == 7.2.*+deb* ]]; then
    # The folder of the host does not survive it.
    umount /repo 2>/dev/null || true
    touch /run/laptop/slept
    insmod $module read_rate=0 write_rate=0
    suite sleep
    rmmod dsmil
fi
if [ $# -gt 0 ]; then
    insmod $module
    suite force
    # Where the kernel does not do it by force, it is still there.
    rmmod dsmil 2>/dev/null || true
    insmod $module read_rate=0 write_rate=0
    suite "$1"
fi
if dmesg | grep -E 'BUG:|WARNING:|Oops|general protection'; then exit 1; fi
echo "ok loaded and unloaded, nothing in the kernel's log"
