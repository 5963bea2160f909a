#!/bin/bash
# The node's owner, group and mode on an installed system: by the sysusers file and the udev rule that are shipped.
set -e
getent group dsmil >/dev/null || { echo "FAIL the sysusers file made no group dsmil"; exit 1; }

/usr/lib/systemd/systemd-udevd --daemon
insmod /usr/lib/modules/dsmil.ko
udevadm settle --timeout=20
found=$(stat -c '%U:%G %a %F' /dev/dsmil)
[ "$found" = "root:dsmil 660 character special file" ] || { echo "FAIL the node is $found"; exit 1; }

# as USER GROUP: whether somebody in that group alone may look.
as() { setpriv --reuid "$1" --regid "$2" --clear-groups dsmil-direct list >/tmp/looked 2>&1; }
as nobody dsmil || { echo "FAIL the group may not look: $(cat /tmp/looked)"; exit 1; }
if as nobody nogroup; then echo "FAIL others may look"; exit 1; fi
# Who may look may still change nothing.
if setpriv --reuid nobody --regid dsmil --clear-groups dsmil-direct write 0x8060 1 >/tmp/written 2>&1; then
    echo "FAIL the group may write"
    exit 1
fi
grep -q CAP_SYS_ADMIN /tmp/written || { echo "FAIL the group is refused for another reason: $(cat /tmp/written)"; exit 1; }
rmmod dsmil
udevadm control --exit
[ ! -e /dev/dsmil ]
echo "ok the node belongs to root and dsmil, who may look, and others may not"
