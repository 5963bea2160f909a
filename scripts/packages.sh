#!/usr/bin/env bash
# Installs the system packages that are missing; nothing else here needs root.
#
#   packages.sh         for everything
#   packages.sh tests   and what only tests need
. "$(dirname "$0")/lib.sh"

PACKAGES=(
    # our own build: C compiler, libtss2 (which the tests hold our TPM commands against), and what the vendored libbpf builds with
    build-essential pkg-config libtss2-dev clang autoconf automake autopoint flex bison gawk
    # the toolchain's root and the guest's disk
    mmdebstrap debian-archive-keyring squashfs-tools uidmap
    # the virtual laptop
    qemu-system-x86 swtpm acpica-tools busybox-static cpio zstd xz-utils kmod e2fsprogs
)
# The server that databases of servers are captured from; the tests start one of their own, and use no other.
[ "${1:-}" != tests ] || PACKAGES+=(postgresql)

missing() {
    dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' "${PACKAGES[@]}" 2>/dev/null |
        awk '$1 == "ii" { print $2 }' | sort -u | comm -13 - <(printf '%s\n' "${PACKAGES[@]}" | sort -u)
}

install() {
    as_root apt-get update -q &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}

command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
    die "set-up installs Debian packages, and this system has no apt: use Debian 12 or later, or Ubuntu 24.04 or later (a container of one will do)."

mapfile -t wanted < <(missing)
if [ "${#wanted[@]}" -gt 0 ]; then
    [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null ||
        die "these packages are missing and installing them needs root: run “apt-get install ${wanted[*]}” as root, then go on."
    step "system packages (${#wanted[@]})" install "${wanted[@]}"
fi
