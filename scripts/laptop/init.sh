#!/bin/bash
# Process 1 of the virtual laptop: brings firmware drivers, module and daemon up, runs the job, powers off.
# The job lies in /usr/lib/laptop/job: mode (command, shell or bare), command, environment; “systemd” where that is to be process 1,
# which then runs this again as a service, as “init.sh job”.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
job=/usr/lib/laptop/job
cd /root || exit

port() {
    local name
    for name in /sys/class/virtio-ports/*/name; do
        [ "$(cat "$name")" = "$1" ] && echo "/dev/$(basename "$(dirname "$name")")"
    done
}

finish() {
    echo "$1" >"$(port status)"
    sync
    # Once it has slept, QEMU's machine does not switch off any more; a restart ends it as well.
    [ ! -e /run/laptop/slept ] || echo b >/proc/sysrq-trigger
    echo o >/proc/sysrq-trigger
    sleep 60
}

broken() {
    echo "laptop: $*" >"$(port stderr)"
    finish 125
}

run_job() {
    mode=$(cat "$job/mode")
    if [ "$mode" != bare ]; then
        /usr/lib/laptop/up.sh >/run/laptop/up.log 2>&1 || {
            cat /run/laptop/up.log >"$(port stderr)"
            broken "module and daemon did not come up"
        }
    fi

    [ -f "$job/environment" ] && . "$job/environment"
    if [ "$mode" = shell ]; then
        setsid -c /usr/lib/laptop/shell.sh </dev/hvc0 >/dev/hvc0 2>&1
        status=$?
    else
        bash "$job/command" </dev/null >"$(port stdout)" 2>"$(port stderr)"
        status=$?
    fi
    /usr/lib/laptop/down.sh >/run/laptop/down.log 2>&1
    finish "$status"
}

[ "${1:-}" != job ] || run_job

mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p /dev/pts /dev/shm && mount -t devpts devpts /dev/pts && mount -t tmpfs tmpfs /dev/shm
mount -t securityfs securityfs /sys/kernel/security
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
hostname latitude
ip link set lo up
while read -r module; do
    insmod "/run/laptop/modules/$module" || echo "laptop: module $module did not load" >/dev/console
done </run/laptop/modules/late

# What lives longer than one boot: the laptop's second disk.
mkdir -p /persist
mount -t ext4 /dev/vdb /persist || broken "the laptop's disk does not mount"
mkdir -p /persist/dsmil /persist/srv /var/lib/dsmil
mount --bind /persist/dsmil /var/lib/dsmil
mount --bind /persist/srv /srv
# The repository, read-only, where the user left it.
mkdir -p /repo
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144,cache=loose repo /repo 2>/dev/null ||
    echo "laptop: the repository is not at hand in /repo" >/dev/console

systemd-sysusers /usr/lib/sysusers.d/dsmil.conf
getent passwd dsmil >/dev/null || useradd --system --gid dsmil --home-dir /var/lib/dsmil --shell /usr/sbin/nologin dsmil
getent passwd dsmil-agent >/dev/null || useradd --system --user-group --home-dir / --shell /usr/sbin/nologin dsmil-agent

[ ! -f "$job/systemd" ] || exec /usr/lib/laptop/systemd.sh
run_job
