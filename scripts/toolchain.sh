#!/usr/bin/env bash
# Makes small Debian systems in the cache: the toolchain that the stock kernel was built with, the guest's userland
# as a read-only disk image, and, on a machine without a Rust that is new enough, one that has it.
#
#   toolchain.sh [sanitizer | systemd]   “sanitizer” adds the compiler that a kernel with KASAN and Rust needs,
#                                        “systemd” a second userland, which has it as first process
. "$(dirname "$0")/lib.sh"

SUITE=trixie
COMPILERS=gcc-14,gcc,make,bc,bison,flex,libelf-dev,libssl-dev,libdw-dev,dwarves,rustc,rust-src,rustfmt,rust-clippy,bindgen,kmod,python3,perl,cpio,zstd,xz-utils
USERLAND=kmod,python3-minimal,procps,iproute2,strace,tpm2-tools,libtss2-tcti-device0t64,less,util-linux,acl,attr,e2fsprogs,sqlite3,bash-completion,udev,systemd-standalone-sysusers
# Apart from the other, so that the usual laptop is none the larger for it.
WITH_SYSTEMD=${USERLAND/systemd-standalone-sysusers/systemd},dbus

# Rust itself comes from the backports.
RUST='cargo rustc rustfmt rust-clippy libstd-rust*'
BUILD=build-essential,pkg-config,libtss2-dev,clang,autoconf,automake,autopoint,flex,bison,gawk,swtpm,acpica-tools,ca-certificates,git,cargo,rustc,rustfmt,rust-clippy
# A kernel with KASAN has Rust only if clang of rustc's own LLVM compiles it; lockdown wants openssl. Needed for “make test-sanitize” alone.
SANITIZER='clang-19 lld-19 llvm-19 openssl'

# The Debian mirror of this machine's own apt sources; nothing on other systems, where mmdebstrap knows one.
mirror() {
    if [ -n "${DSMIL_MIRROR:-}" ]; then
        say "$DSMIL_MIRROR"
        return
    fi
    [ "$(. /etc/os-release && echo "$ID")" = debian ] || return 0
    {
        sed -n 's/^URIs:[[:space:]]*//p' /etc/apt/sources.list.d/*.sources 2>/dev/null | tr ' ' '\n'
        sed -n 's/^deb[[:space:]]\+\(\[[^]]*\][[:space:]]*\)\?\([^[:space:]]*\).*/\2/p' \
            /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null
    } | grep -E '/debian/?$' | head -n 1 || true
}

# Adds the backports of the same mirror before the index is fetched: the stock kernels with Rust and a newer Rust are there.
# Spelt out for mmdebstrap's shell, which may run as a user who cannot read this script.
BACKPORTS="--setup-hook=sed -n 's/^deb \\(.*\\) $SUITE main.*/deb \\1 $SUITE-backports main/p' \"\$1/etc/apt/sources.list\" \
    | head -n 1 >\"\$1/backports\" && cat \"\$1/backports\" >>\"\$1/etc/apt/sources.list\" && rm \"\$1/backports\""
PIN="--setup-hook=printf 'Package: $RUST\\nPin: release n=$SUITE-backports\\nPin-Priority: 600\\n' >\"\$1/etc/apt/preferences.d/rust\""

# bootstrap PACKAGES TARBALL [OPTION…]
bootstrap() {
    local packages=$1 tarball=$2 mirror
    shift 2
    mirror=$(mirror)
    mmdebstrap --variant=minbase --components=main --include="$packages" "$@" "$SUITE" "$tarball" ${mirror:+"$mirror"} ||
        die "the Debian packages of $SUITE could not be fetched${mirror:+ from $mirror}: set DSMIL_MIRROR to a mirror that can be reached and run the same command again."
}

# make_root PACKAGES FOLDER [OPTION…]: unpacked aside and renamed, so that a killed run leaves nothing that looks whole.
make_root() {
    local packages=$1 into=$2 aside=$CACHE/tmp/${2##*/}.$$
    shift 2
    mkdir -p "$aside/root"
    bootstrap "$packages" "$aside/root.tar" "$@"
    tar -xf "$aside/root.tar" -C "$aside/root" --exclude='./dev/*'
    say "$packages" >"$aside/root/.complete"
    rm -rf "$into"
    mv "$aside/root" "$into"
    rm -rf "$aside"
}

# make_userland NAME PACKAGES
make_userland() {
    local aside=$CACHE/tmp/$1.$$
    mkdir -p "$aside"
    bootstrap "$2" "$aside/root.tar"
    # Not compressed: the guest's CPU is emulated, the host's page cache is not.
    sqfstar -quiet -no-progress -noI -noD -noF -noX "$aside/userland.squashfs" <"$aside/root.tar"
    say "$2" >"$aside/userland.list"
    mv "$aside/userland.squashfs" "$CACHE/$1.squashfs"
    mv "$aside/userland.list" "$CACHE/$1.list"
    rm -rf "$aside"
}

# Into the toolchain itself: a second one of two gigabytes would differ in nothing else.
add_sanitizer() {
    local try
    for try in install update; do
        if [ "$try" = update ]; then
            apt_get update -q || break
        fi
        # shellcheck disable=SC2086
        if apt_get install -q -y --no-install-recommends $SANITIZER; then
            say "$SANITIZER" >"$TOOLCHAIN/.sanitizer"
            return
        fi
    done
    die "$SANITIZER could not be installed into $TOOLCHAIN: check the network, or set DSMIL_MIRROR and remove $TOOLCHAIN/.complete, then run the same command again."
}

apt_get() { in_toolchain apt-get -o APT::Sandbox::User=root -o Dir::Etc::SourceParts=- "$@"; }

current() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

if ! current "$TOOLCHAIN/.complete" "$COMPILERS"; then
    room "$CACHE" 6000 "the kernel's toolchain"
    step "kernel toolchain ($SUITE)" make_root "$COMPILERS" "$TOOLCHAIN" "$BACKPORTS"
fi
if ! current "$CACHE/userland.list" "$USERLAND"; then
    room "$CACHE" 1500 "the guest's userland"
    step "guest userland ($SUITE)" make_userland userland "$USERLAND"
fi
if [ "${1:-}" = systemd ] && ! current "$CACHE/userland-systemd.list" "$WITH_SYSTEMD"; then
    room "$CACHE" 1500 "the guest's userland with systemd"
    step "guest userland with systemd ($SUITE)" make_userland userland-systemd "$WITH_SYSTEMD"
fi
if [ "$("$ROOT/scripts/cargo.sh" where)" = builder ] && ! current "$BUILDER/.complete" "$BUILD"; then
    room "$CACHE" 4000 "a Rust toolchain"
    step "Rust toolchain ($SUITE-backports)" make_root "$BUILD" "$BUILDER" "$BACKPORTS" "$PIN"
fi
if [ "${1:-}" = sanitizer ] && ! current "$TOOLCHAIN/.sanitizer" "$SANITIZER"; then
    room "$CACHE" 1500 "the sanitizer's compiler"
    step "kernel toolchain: $SANITIZER" add_sanitizer
fi
