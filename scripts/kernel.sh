#!/usr/bin/env bash
# Stock Debian kernels with Rust: which one, fetched, and its source prepared for out-of-tree Rust modules.
#
#   kernel.sh resolve [WISH]   prints the release, such as 7.2.12+deb13; WISH is a prefix of one, or “sanitize” for our own
#   kernel.sh fetch RELEASE    everything for RELEASE into the cache
#   kernel.sh list             the releases that the package index has whole
. "$(dirname "$0")/lib.sh"

# Seen to work with all that is here; taken when the index has it.
KNOWN_GOOD=7.2.12+deb13

apt_in_toolchain() {
    local tool=$1
    shift
    in_toolchain "$tool" -o APT::Sandbox::User=root -o Dir::Etc::SourceParts=- "$@"
}

fetch_index() {
    apt_in_toolchain apt-get update -q -o APT::Update::Error-Mode=any ||
        die "the package index could not be fetched: check the network, or set DSMIL_MIRROR and remove $TOOLCHAIN/.complete, then run the same command again."
}

update_index() {
    # One look a day is enough; a release that has left the pool since is told by the download.
    if [ -z "$(find "$TOOLCHAIN/var/lib/apt/lists" -maxdepth 1 -name '*backports*Packages*' -mtime -1 2>/dev/null)" ]; then
        step "package index" fetch_index >&2
    fi
}

# Releases with headers, source, binary and modules, newest first.
releases() {
    apt_in_toolchain apt-cache pkgnames linux- | awk '
        match($0, /^linux-headers-[0-9.]+\+deb[0-9]+-amd64$/)          { v = substr($0, 15); sub(/-amd64$/, "", v); headers[v] = 1 }
        match($0, /^linux-modules-[0-9.]+\+deb[0-9]+-amd64$/)          { v = substr($0, 15); sub(/-amd64$/, "", v); modules[v] = 1 }
        match($0, /^linux-binary-(unsigned-)?[0-9.]+\+deb[0-9]+-amd64$/) { v = $0; sub(/^linux-binary-(unsigned-)?/, "", v); sub(/-amd64$/, "", v); binary[v] = 1 }
        match($0, /^linux-source-[0-9]+\.[0-9]+$/)                     { source[substr($0, 14)] = 1 }
        END { for (v in headers) { split(v, n, "."); if (modules[v] && binary[v] && source[n[1] "." n[2]] && n[1] >= 7 && !(n[1] == 7 && n[2] < 2)) print v } }
    ' | sort -rV
}

resolve() {
    local wish=${1:-} whole
    case $wish in sanitize*) resolve_sanitize "$wish"; return ;; esac
    # What the cache holds whole needs no index, so a filled cache works offline.
    whole=$(cd "$CACHE/kernel" 2>/dev/null && ls -d -- */.complete 2>/dev/null | sed 's,/.complete,,' | sort -rV || true)
    for candidate in ${wish:-$KNOWN_GOOD}; do
        for release in $whole; do
            case $release in "$candidate" | "$candidate"[.+]*) say "$release"; return ;; esac
        done
    done
    update_index
    local all
    all=$(releases)
    if [ -z "$wish" ]; then
        grep -Fx "$KNOWN_GOOD" <<<"$all" || head -n 1 <<<"$all"
    else
        local release
        for release in $all; do
            case $release in "$wish" | "$wish"[.+]*) say "$release"; return ;; esac
        done
        die "no stock kernel $wish with headers, source, binary and modules is in the package index; it has: $(tr '\n' ' ' <<<"$all")"
    fi
}

# The kernel of “make test-sanitize”: taken only when it is asked for by that name, and only from the cache.
resolve_sanitize() {
    local found
    found=$(cd "$CACHE/kernel" 2>/dev/null && ls -d -- "$1"*/.complete 2>/dev/null | sort -rV | head -n 1) || true
    [ -n "$found" ] || die "there is no kernel $1 in the cache: run “make test-sanitize” once, which builds it."
    say "${found%/.complete}"
}

# The package that a release's file comes from, as NAME=VERSION.
packages_of() {
    local release=$1 version series=${1%%+*}
    version=$(apt_in_toolchain apt-cache show "linux-headers-$release-amd64" | sed -n 's/^Version: //p' | head -n 1)
    series=$(cut -d. -f1,2 <<<"$series")
    say "linux-headers-$release-amd64=$version"
    say "linux-headers-$release-common=$version"
    say "linux-source-$series=$version"
    say "linux-modules-$release-amd64=$version"
    if apt_in_toolchain apt-cache show "linux-binary-$release-amd64" >/dev/null 2>&1; then
        say "linux-binary-$release-amd64"
    else
        say "linux-binary-unsigned-$release-amd64=$version"
    fi
}

download() {
    local release=$1 into=$2 package
    mkdir -p "$into"
    for package in $(packages_of "$release"); do
        ls "$into/${package%%=*}_"*.deb >/dev/null 2>&1 && continue
        rm -rf "$into/partial"
        mkdir -p "$into/partial"
        in_toolchain sh -c "cd '$into/partial' && apt-get -q -o APT::Sandbox::User=root download '$package'" ||
            die "$package could not be downloaded: check the network (or set DSMIL_MIRROR and remove $TOOLCHAIN/.complete) and run the same command again; what is there already is kept."
        mv "$into/partial"/*.deb "$into/"
    done
}

unpack() {
    local debs=$1 into=$2 deb
    rm -rf "$into/pkg" "$into/source"
    mkdir -p "$into/pkg" "$into/source"
    for deb in "$debs"/*.deb; do
        dpkg-deb -x "$deb" "$into/pkg"
    done
    tar -xf "$into"/pkg/usr/src/linux-source-*.tar.xz -C "$into/source" --strip-components=1
    rm -f "$into"/pkg/usr/src/linux-source-*.tar.xz
    mv -f "$into"/pkg/boot/vmlinuz* "$into/vmlinuz" 2>/dev/null ||
        cp "$into"/pkg/usr/lib/modules/*/vmlinuz* "$into/vmlinuz"
    in_toolchain depmod -b "$into/pkg/usr" "${into##*/}-amd64"
}

# The stock configuration with the stock compiler, so that every Rust export matches the stock kernel's.
prepare() {
    local into=$1 release=${1##*/} headers
    headers=$into/pkg/usr/src/linux-headers-$release-amd64
    rm -rf "$into/build"
    mkdir -p "$into/build"
    cp "$headers/.config" "$headers/Module.symvers" "$headers/vmlinux" "$into/build/"
    kernel_make "$into" olddefconfig
    kernel_make "$into" "-j$(nproc)" modules_prepare
    cmp -s "$headers/.config" "$into/build/.config" ||
        diff "$headers/.config" "$into/build/.config" || true
    grep -q '^CONFIG_RUST=y' "$into/build/.config" ||
        die "the kernel $release is built without Rust (CONFIG_RUST), so no Rust module can be built for it: choose another with KERNEL=, see “scripts/kernel.sh list”."
}

kernel_make() {
    local into=$1 name=${1##*/}-amd64
    local compiler=(CROSS_COMPILE=x86_64-linux-gnu- CC=x86_64-linux-gnu-gcc-14 HOSTCC=x86_64-linux-gnu-gcc-14)
    case $name in
        # KASAN and Rust together want clang, of the LLVM that rustc has inside. A name must begin with a digit for depmod.
        sanitize-*) compiler=(LLVM=-19) name=${1##*/sanitize-}-sanitize ;;
    esac
    shift
    in_toolchain make -C "$into/source" O="$into/build" ARCH=x86 "${compiler[@]}" KERNELRELEASE="$name" "$@"
}

fetch() {
    local release=$1 into=$CACHE/kernel/$1
    [ -f "$into/.complete" ] && return
    room "$CACHE" 5000 "the kernel $release with its source"
    mkdir -p "$into"
    update_index
    [ -f "$into/.unpacked" ] || {
        step "kernel $release: download" download "$release" "$CACHE/tmp/debs-$release"
        step "kernel $release: unpack" unpack "$CACHE/tmp/debs-$release" "$into"
        touch "$into/.unpacked"
        rm -rf "$CACHE/tmp/debs-$release"
    }
    step "kernel $release: prepare for Rust modules" prepare "$into"
    touch "$into/.complete"
}

case ${1:-} in
    resolve) resolve "${2:-}" ;;
    fetch) fetch "${2:?kernel.sh fetch RELEASE}" ;;
    list) update_index; releases ;;
    make) shift; into=$CACHE/kernel/$1; shift; kernel_make "$into" "$@" ;;
    *) die "usage: kernel.sh resolve [WISH] | fetch RELEASE | list" ;;
esac
