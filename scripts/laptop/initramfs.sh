#!/bin/busybox sh
# First program in the guest: finds the read-only userland, lays a writable layer over it, hands over to init.sh.
export PATH=/bin
/bin/busybox mkdir -p /proc /sys /dev /lower /upper /root
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev

fail() {
    echo "laptop: $*" >/dev/console
    sleep 1
    poweroff -f
}

while read -r module; do
    insmod "/modules/$module" || fail "module $module did not load"
done </modules/early

mount -t squashfs -o ro /dev/vda /lower || fail "no userland on the first disk"
mount -t tmpfs -o mode=755 tmpfs /upper
mkdir -p /upper/data /upper/work
# The writable layer starts with the build, the configuration and the job.
cp -a /stage/. /upper/data/
mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay /root || fail "no overlay"
mkdir -p /root/run/laptop
cp -a /modules /root/run/laptop/
mount -o move /proc /root/proc
mount -o move /sys /root/sys
mount -o move /dev /root/dev
exec switch_root /root /usr/lib/laptop/init.sh
