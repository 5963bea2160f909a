#!/bin/bash
# Hands the prepared laptop over to systemd, which then runs the job as a service. Of what Debian starts at boot only the system
# bus stays: under emulation everything else would take longer than what is tried here.
set -e
units=/etc/systemd/system

# systemd would lay a file system of its own over what is in /run already.
mkdir /run.new
mount -t tmpfs -o mode=755 tmpfs /run.new
cp -a /run/laptop /run.new/
# Its own table of mounts would be looked for below the new folder.
mount --no-mtab --move /run.new /run
# Else this were its first boot, at which it enables what the distribution wants.
tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id

rm -rf "$units"/*.wants /usr/lib/systemd/system-generators
for unit in /usr/lib/systemd/system/{sysinit,local-fs,sockets,timers,multi-user,graphical}.target.wants/*; do
    case ${unit##*/} in
        dbus.* | "*") ;;
        *) ln -sf /dev/null "$units/${unit##*/}" ;;
    esac
done
cat >"$units/laptop.service" <<'UNIT'
[Unit]
After=basic.target dbus.socket
[Service]
ExecStart=/usr/lib/laptop/init.sh job
KillMode=process
StandardOutput=null
StandardError=file:/dev/console
UNIT
cat >"$units/laptop.target" <<'UNIT'
[Unit]
Requires=basic.target dbus.socket laptop.service
UNIT
# What the restore of services is tried on.
sed -i 's/^databases = .*/&\nservices = ["laptop-one.service", "laptop-t*.service", "laptop-*.timer"]/' /etc/dsmil/dsmild.toml
exec /usr/lib/systemd/systemd --system --unit=laptop.target --log-target=console --log-level=warning
