#!/bin/bash
# The orderly way down: the daemon signs its last head, the disk is flushed.
/usr/lib/laptop/daemon.sh stop
sync
umount /srv /var/lib/dsmil /persist 2>/dev/null || mount -o remount,ro /persist
