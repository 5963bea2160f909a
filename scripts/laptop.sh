#!/usr/bin/env bash
# Boots the virtual laptop and runs something in it.
#
#   laptop.sh command 'COMMAND'     runs it as root, gives back its output and exit status
#   laptop.sh script FILE [ARG…]    the same for a script
#   laptop.sh shell [FIRST]         a prompt on this terminal, after FIRST
#   laptop.sh accelerator           says how it will run
#
# LAPTOP=NAME     keeps disk and TPM under that name; without it each laptop is new
# KERNEL=WISH     another stock kernel, such as 7.3
# FAULT=SPEC      firmware faults from the start, see “laptop-ctl --help”; several separated by spaces
# TABLE=NAME      a token table that is wrong on purpose, of tests/laptop/tables
# BARE=1          neither module nor daemon is brought up
# INIT=systemd    systemd is process 1, and dsmild its unit; needs “toolchain.sh systemd” once
# EXTRA_MODULES=NAMES  puts these of the kernel's own modules into the guest's /usr/lib/modules, without loading them
# TIMEOUT=SECONDS gives up and kills the laptop (default 600 for commands, none for a shell)
# DSMIL_ACCEL=tcg or kvm instead of what fits this machine
# ICOUNT=1        one CPU whose clock goes by instructions: 1 ns and one count of the TSC each, idle time is skipped
# FILES='FILE…'   are put into /usr/lib/laptop/job/files of the guest
# WRITES=FILE     has QEMU log each write and flush of the laptop's disk there, in the form of dm-log-writes
# With LAPTOP=NAME the number of QEMU's process is in its folder, qemu.pid.
# Exit status 125: the laptop itself failed, what it said is shown; 124: it took too long.
. "$(dirname "$0")/lib.sh"

GUEST=$ROOT/scripts/laptop
EARLY=(virtio_blk squashfs overlay)
LATE=(ext4 9p 9pnet_virtio virtio_rng wmi dell-wmi-descriptor dcdbas dell-smbios fan)
# What of our build is at hand in the guest, as NAME=FILE below the target's debug folder.
BINARIES=(dsmild=dsmild dsmil=dsmil dsmil-agent=dsmil-agent laptop-ctl=laptop-ctl dsmil-direct=examples/direct dsmil-uapi=examples/uapi dsmil-coverage=examples/coverage laptop-survive=laptop-survive laptop-tables=laptop-tables laptop-fuzz=laptop-fuzz)

usage() {
    sed -n '2,/^\. /{/^\. /d;s/^# \{0,1\}//p}' "$0"
    exit 2
}

# The modules that a list of names needs, in the order of loading.
modules_for() {
    local name version
    version=$(ls "$kernel/pkg/usr/lib/modules")
    for name in "$@"; do
        in_toolchain modprobe -S "$version" -d "$kernel/pkg/usr" --show-depends "$name"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
}

# Kernel modules, busybox and the first script; made once per kernel.
make_initramfs() {
    local aside=$CACHE/tmp/initramfs.$$ file
    rm -rf "$aside"
    mkdir -p "$aside/bin" "$aside/modules"
    cp "$(command -v busybox)" "$aside/bin/busybox"
    cp "$GUEST/initramfs.sh" "$aside/init"
    local early late
    early=$(modules_for "${EARLY[@]}")
    # A kernel that has the early ones built in has none of them here.
    late=$(modules_for "${EARLY[@]}" "${LATE[@]}" | grep -vxF "${early:-none}")
    for file in $early $late; do
        xz -dc "$file" >"$aside/modules/$(basename "${file%.xz}")"
    done
    for file in $early; do basename "${file%.xz}"; done >"$aside/modules/early"
    for file in $late; do basename "${file%.xz}"; done >"$aside/modules/late"
    pack "$aside" "$1.$$"
    mv "$1.$$" "$1"
    rm -rf "$aside"
}

pack() { (cd "$1" && find . -print0 | cpio --null --quiet -o -H newc -R 0:0) >"$2"; }

# The build, the configuration and the job: the writable layer's first contents.
make_stage() {
    local stage=$run/root name
    mkdir -p "$stage/stage/usr/bin" "$stage/stage/usr/lib/modules" "$stage/stage/etc/dsmil"
    for name in "${BINARIES[@]}"; do
        [ -x "$TARGET/debug/${name#*=}" ] || die "${name#*=} is not built: run “make build” first."
        # Debugging information would only take the guest's memory.
        strip -s -o "$stage/stage/usr/bin/${name%%=*}" "$TARGET/debug/${name#*=}"
    done
    if [ -f "$TARGET/module/$release/dsmil.ko" ]; then
        cp "$TARGET/module/$release/dsmil.ko" "$stage/stage/usr/lib/modules/"
    fi
    # shellcheck disable=SC2086
    for name in $([ -z "${EXTRA_MODULES:-}" ] || modules_for $EXTRA_MODULES); do
        xz -dc "$name" >"$stage/stage/usr/lib/modules/$(basename "${name%.xz}")"
    done
    # The node's group and mode, as a package installs them.
    install -D -m 644 "$ROOT/kmod/udev/60-dsmil.rules" -t "$stage/stage/usr/lib/udev/rules.d"
    install -D -m 644 "$ROOT/kmod/udev/dsmil.sysusers" "$stage/stage/usr/lib/sysusers.d/dsmil.conf"
    mkdir -p "$stage/stage/usr/lib/laptop/job"
    cp "$GUEST"/*.sh "$stage/stage/usr/lib/laptop/"
    cp "$GUEST/dsmild.toml" "$stage/stage/etc/dsmil/"
    install -D -m 644 "$ROOT/supervisor/daemon/systemd/dsmild.service" -t "$stage/stage/usr/lib/systemd/system"
    cp "$state/firmware/expected.json" "$stage/stage/usr/lib/laptop/"
    cp -r "$job" "$stage/stage/usr/lib/laptop/"
    mkdir "$stage/stage/usr/lib/laptop/job/files"
    for name in ${FILES:-}; do cp "$name" "$stage/stage/usr/lib/laptop/job/files/"; done
    pack "$stage" "$run/stage.cpio"
    cat "$initramfs" "$run/stage.cpio" >"$run/initrd"
    rm -rf "$stage" "$run/stage.cpio"
}

make_firmware() {
    local out=$state/firmware arguments=() fault
    for fault in ${FAULT:-}; do arguments+=(--fault "$fault"); done
    if [ -n "${TABLE:-}" ]; then
        local table=$ROOT/tests/laptop/tables/$TABLE.toml
        [ -f "$table" ] || die "there is no table “$TABLE”: take one of $(cd "${table%/*}" && echo *.toml | sed 's/\.toml//g')."
        arguments+=(--table "$table")
    fi
    "$ROOT/scripts/cargo.sh" exec "$TARGET/debug/firmware" --machine "$ROOT/tests/laptop/latitude-5450.toml" --out "$out" \
        --storage "$state/tokens" "${arguments[@]}" \
        >"$run/firmware.log" 2>&1 || { cat "$run/firmware.log" >&2; exit 125; }
    mapfile -t firmware <"$out/qemu.args"
}

make_state() {
    mkdir -p "$state/tpm"
    if [ ! -f "$state/disk.img" ]; then
        truncate -s 512M "$state/disk.img.new"
        mke2fs -q -t ext4 -L persist "$state/disk.img.new"
        mv "$state/disk.img.new" "$state/disk.img"
    fi
}

# A loaded KVM module for this CPU: /dev/kvm alone proves nothing, nested ones cannot boot a stock kernel.
accelerator() {
    if [ -n "${ICOUNT:-}" ]; then
        # Only the emulator counts.
        say tcg
    elif [ -n "${DSMIL_ACCEL:-}" ]; then
        say "$DSMIL_ACCEL"
    elif [ -w /dev/kvm ] && { [ -d /sys/module/kvm_intel ] || [ -d /sys/module/kvm_amd ]; }; then
        say kvm
    else
        say tcg
    fi
}

start_tpm() {
    swtpm socket --tpm2 --tpmstate "dir=$state/tpm" --ctrl "type=unixio,path=$run/tpm.sock" \
        --flags startup-clear --terminate --log "file=$run/swtpm.log" &
    tpm=$!
    local try
    for try in $(seq 1 100); do
        [ -S "$run/tpm.sock" ] && return
        sleep 0.02
    done
    die "the software TPM did not start: $(tail -n 3 "$run/swtpm.log" 2>/dev/null)"
}

start_qemu() {
    # With a thread for each CPU, QEMU's emulation can run an instruction that another CPU is just patching, and the
    # guest's kernel dies of it now and then on a busy host. One thread is no slower for what runs here.
    local cpu=max accel=$1 cpus=2 count=() streams
    if [ -n "${ICOUNT:-}" ]; then
        # Each repetition of a string instruction counts; without ERMS the kernel copies by moves, one instruction each.
        cpu=max,-erms cpus=1 count=(-icount "shift=0,sleep=off")
    fi
    case $1 in
        kvm) cpu=host ;;
        tcg) accel=tcg,thread=single ;;
    esac
    if [ "$mode" = shell ]; then
        streams=(-chardev stdio,id=terminal,signal=off -device virtconsole,chardev=terminal)
    else
        streams=(-chardev "file,id=out,path=$run/stdout" -device virtserialport,chardev=out,name=stdout
            -chardev "file,id=err,path=$run/stderr" -device virtserialport,chardev=err,name=stderr)
    fi
    # The order of the devices is that of the disks' names in the guest.
    local disk=(-drive "if=none,id=disk,format=raw,file=$state/disk.img" -device virtio-blk-pci,drive=disk)
    if [ -n "${WRITES:-}" ]; then
        : >"$WRITES"
        # QEMU logs zeros and discards out of order while other writes are under way, so the guest gets neither.
        # What is in the log need not be on the host's own disk; a flush of the laptop's takes its time all the same.
        disk=(-blockdev "driver=blklogwrites,node-name=disk,log-sector-size=512,file.driver=file,file.filename=$state/disk.img,log.driver=file,log.filename=$WRITES,log.cache.no-flush=on"
            -device virtio-blk-pci,drive=disk,write-cache=on,discard=off,write-zeroes=off)
    fi
    local arguments=(
        -nodefaults -no-user-config -no-reboot -display none
        -machine q35 -accel "$accel" -cpu "$cpu" -smp "$cpus" -m 1G "${count[@]}"
        -kernel "$kernel/vmlinuz" -initrd "$run/initrd"
        -append "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off random.trust_cpu=on no_timer_check ${LAPTOP_APPEND:-}"
        -serial "file:$run/console" -monitor "unix:$run/monitor,server=on,wait=off"
        -pidfile "$state/qemu.pid"
        -drive "if=none,id=userland,format=raw,readonly=on,file=$userland" -device virtio-blk-pci,drive=userland
        "${disk[@]}"
        -fsdev "local,id=repo,path=$ROOT,security_model=none,readonly=on"
        -device virtio-9p-pci,fsdev=repo,mount_tag=repo
        -device virtio-rng-pci
        -chardev "socket,id=tpm,path=$run/tpm.sock" -tpmdev emulator,id=tpm0,chardev=tpm -device tpm-crb,tpmdev=tpm0
        -device virtio-serial-pci "${streams[@]}"
        -chardev "file,id=status,path=$run/status" -device virtserialport,chardev=status,name=status
        "${firmware[@]}"
    )
    printf '%s\n' "${arguments[@]}" >"$run/qemu.arguments"
    if [ "$mode" = shell ]; then
        qemu-system-x86_64 "${arguments[@]}"
    else
        qemu-system-x86_64 "${arguments[@]}" </dev/null 2>"$run/qemu.log" &
        qemu=$!
        watch_qemu "$1"
    fi
}

# A guest that says nothing under KVM is killed, so that the caller can go on without it.
watch_qemu() {
    local waited=0 limit=${TIMEOUT:-600}
    while kill -0 "$qemu" 2>/dev/null; do
        sleep 0.1
        waited=$((waited + 1))
        if [ "$1" = kvm ] && [ "$waited" -eq 100 ] && [ ! -s "$run/console" ] && [ ! -s "$run/status" ]; then
            kill -9 "$qemu"
            wait "$qemu" 2>/dev/null || true
            return 3
        fi
        if [ "$waited" -ge $((limit * 10)) ]; then
            kill -9 "$qemu"
            say "error: the laptop did not finish within $limit s (TIMEOUT=… gives it more); it was killed. Its console said:" >&2
            tail -n 60 "$run/console" | sed 's/^/    | /' >&2
            exit 124
        fi
    done
    wait "$qemu" || true
}

clean_up() {
    local status=$?
    trap - EXIT INT TERM
    kill -9 ${qemu:-} ${readers:-} 2>/dev/null || true
    kill ${tpm:-} 2>/dev/null || true
    wait 2>/dev/null || true
    [ -n "${KEEP_RUN:-}" ] && say "kept: $run" >&2 || rm -rf "$run"
    exit "$status"
}

if [ "${1:-}" = accelerator ]; then
    case $(accelerator) in
        kvm) say "with KVM" ;;
        *) say "emulated, since this machine offers no KVM that can boot it" ;;
    esac
    exit
fi
mode=${1:-}
[ -n "$mode" ] && shift || usage
release=$("$ROOT/scripts/kernel.sh" resolve "${KERNEL:-}")
kernel=$CACHE/kernel/$release
userland=$CACHE/userland.squashfs
case ${INIT:-} in
    "") ;;
    systemd)
        userland=$CACHE/userland-systemd.squashfs
        [ -f "$userland" ] || die "there is no userland with systemd: run “scripts/toolchain.sh systemd” first."
        ;;
    *) die "INIT is systemd or nothing: not “$INIT”." ;;
esac
[ -f "$kernel/.complete" ] && [ -f "$userland" ] || die "the laptop is not set up: run “make setup” first."

run=$(mktemp -d "${TMPDIR:-/tmp}/laptop.XXXXXX")
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
job=$run/job
mkdir -p "$job"
case $mode in
    command) printf '%s\n' "${1:?laptop.sh command COMMAND}" >"$job/command" ;;
    script)
        file=${1:?laptop.sh script FILE}
        [ -r "$file" ] || die "there is no script $file."
        shift
        cp "$file" "$job/script"
        chmod +x "$job/script"
        # A script keeps its own interpreter.
        printf 'exec %s/script' /usr/lib/laptop/job >"$job/command"
        # Without a word printf would make an empty one.
        [ $# -eq 0 ] || printf ' %q' "$@" >>"$job/command"
        ;;
    shell)
        [ -t 0 ] && [ -t 1 ] || die "a prompt needs a terminal; use CMD='…' or SCRIPT=file without one."
        printf 'export TERM=%q LAPTOP_ROWS=%q LAPTOP_COLUMNS=%q LAPTOP_FIRST=%q\n' "${TERM:-linux}" \
            "$(tput lines)" "$(tput cols)" "${1:-}" >"$job/environment"
        ;;
    *) usage ;;
esac
if [ -n "${BARE:-}" ]; then echo bare; elif [ "$mode" = shell ]; then echo shell; else echo command; fi >"$job/mode"
[ -z "${INIT:-}" ] || : >"$job/systemd"

if [ -n "${LAPTOP:-}" ]; then
    case $LAPTOP in *[!A-Za-z0-9._-]*) die "LAPTOP is a name of letters, digits, dot, dash: not “$LAPTOP”." ;; esac
    state=$TARGET/laptop/$LAPTOP.laptop
    mkdir -p "$state"
    exec {held}>"$state/lock"
    flock -n "$held" || die "the laptop “$LAPTOP” is running already: end it, or take another name."
else
    state=$run
fi
fingerprint=$(cat "$GUEST/initramfs.sh" "$0" | sha256sum | cut -c1-12)
initramfs=$kernel/initramfs-$fingerprint.cpio
[ -f "$initramfs" ] || locked initramfs make_initramfs "$initramfs"
make_firmware
make_state
make_stage
: >"$run/status"

if [ "$mode" != shell ]; then
    mkfifo "$run/stdout" "$run/stderr"
    cat "$run/stdout" & readers=$!
    cat "$run/stderr" >&2 & readers+=" $!"
fi
start_tpm
accel=$(accelerator)
start_qemu "$accel" || {
    if [ $? -eq 3 ]; then
        say "  KVM is there but cannot boot a stock kernel; going on with emulation." >&2
        start_tpm
        start_qemu tcg
    fi
}
if [ "$mode" != shell ]; then wait $readers || true; fi
status=$(tr -cd 0-9 <"$run/status")
if [ -z "$status" ]; then
    say "error: the laptop stopped before the command ended; its console said:" >&2
    tail -n 30 "$run/console" | sed 's/^/    | /' >&2
    sed 's/^/    | /' "$run/qemu.log" >&2 2>/dev/null || true
    exit 125
fi
exit "$status"
