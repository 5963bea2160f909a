#!/bin/bash
# The kernel device without the daemon: every ioctl, every refusal, every end of a change; loading and unloading.
#
#   uapi.sh                 leaves the machine as it was
#   uapi.sh confirm|undo    unloads by force and locks the kernel down at the end, with a change pending that is then
#                           confirmed or undone
#   uapi.sh short           only what makes few calls of the firmware, and each kind of operation
#   uapi.sh last confirm|undo   only what is at the end
set -e
# Through a pipe, so that children of its which still hold the device are waited for as well.
set -o pipefail
module=/usr/lib/modules/dsmil.ko
unlimited="read_rate=0 write_rate=0"
suite() { dsmil-uapi "$@" | cat; }
# with PARAMETERS ARGUMENT…: a part of the suite on a module that is loaded for it.
with() {
    local parameters=$1
    shift
    # shellcheck disable=SC2086
    insmod $module $parameters
    suite "$@"
    rmmod dsmil
}

# The kernel's own driver takes its two locks in another order when it is unbound than when it is called, which lockdep reports and
# after which it looks no further.
backend() {
    if grep -q __asan_load1 /proc/kallsyms; then
        echo "skipped: the kernel's WMI driver is not unbound under lockdep"
        return
    fi
    with "$unlimited" backend
}

whole() {
    local rates="read_rate=20 write_rate=4"
    with "$unlimited"
    # A firmware call takes a third of a second under a kernel that looks for mistakes, so what is limited must come back more slowly.
    if grep -q __asan_load1 /proc/kallsyms; then rates="read_rate=1 write_rate=1"; fi
    with "$rates read_burst=8 write_burst=3" limits
    backend
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
        with "$unlimited" sleep
    fi
}

last() {
    insmod $module
    suite force
    # Where the kernel does not do it by force, it is still there.
    rmmod dsmil 2>/dev/null || true
    with "$unlimited" "$1"
}

case ${1:-} in
    "") whole ;;
    confirm | undo) whole && last "$1" ;;
    short) with "$unlimited" short ;;
    last) last "${2:?uapi.sh last confirm|undo}" ;;
    *) echo "usage: uapi.sh [confirm | undo | short | last confirm|undo]" >&2; exit 2 ;;
esac
if dmesg | grep -E 'BUG:|WARNING:|Oops|general protection'; then exit 1; fi
echo "ok loaded and unloaded, nothing in the kernel's log"
