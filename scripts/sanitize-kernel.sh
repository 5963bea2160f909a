#!/usr/bin/env bash
# The kernel of “make test-sanitize”: the stock kernel's source with KASAN, lockdep, kmemleak, UBSAN, KCOV and fault injection,
# in a folder of the cache that is shaped like a stock kernel's, so that KERNEL=sanitize works wherever KERNEL= does.
#
#   sanitize-kernel.sh     builds it if it is not there as it should be (15 to 25 min on two cores), prints nothing else
. "$(dirname "$0")/lib.sh"

FRAGMENT=$ROOT/tests/laptop/sanitize.config

base=$("$ROOT/scripts/kernel.sh" resolve "${KERNEL:-}")
release=sanitize-${base%%+*}
into=$CACHE/kernel/$release
key=$(cat "$FRAGMENT" "$0" | sha256sum | cut -c1-16)-$base

kernel_make() { "$ROOT/scripts/kernel.sh" make "$release" "$@"; }

# tinyconfig with the fragment's lines instead of its own.
configure() {
    kernel_make tinyconfig
    grep -vxFf <(taken_over "$into/build/.config") "$into/build/.config" >"$into/build/.config.new"
    cat "$FRAGMENT" >>"$into/build/.config.new"
    mv "$into/build/.config.new" "$into/build/.config"
    kernel_make olddefconfig
    local lost
    lost=$(not_taken "$into/build/.config")
    [ -z "$lost" ] ||
        die "the kernel's configuration did not take these lines of tests/laptop/sanitize.config: $lost; something that they depend on is missing or named otherwise in $base."
}

# The lines of a configuration about names that the fragment decides.
taken_over() {
    grep -wFf <(grep -o 'CONFIG_[A-Z0-9_]*' "$FRAGMENT" | sort -u) "$1" || true
}

# An option that Kconfig drops silently would make the run pass without looking.
not_taken() {
    local line name
    grep -E '^(# )?CONFIG_' "$FRAGMENT" | while read -r line; do
        name=$(grep -o 'CONFIG_[A-Z0-9_]*' <<<"$line")
        case $line in
            # An option that is not there at all is not set either.
            '# '*) if grep -q "^$name=" "$1"; then printf '%s ' "$name"; fi ;;
            *) grep -qxF -- "$line" "$1" || printf '%s ' "$name" ;;
        esac
    done
}

compile() { nice "$ROOT/scripts/kernel.sh" make "$release" "-j$(nproc)" bzImage modules; }

# Image and modules at the places where a stock kernel's packages have them.
install() {
    rm -rf "$into/pkg" "$into"/initramfs-*.cpio
    mkdir -p "$into/pkg/usr"
    kernel_make modules_install INSTALL_MOD_PATH="$into/pkg/usr" INSTALL_MOD_STRIP=1
    # modprobe then knows what is built in and needs no loading.
    in_toolchain depmod -b "$into/pkg/usr" "$(ls "$into/pkg/usr/lib/modules")"
    cp "$into/build/arch/x86/boot/bzImage" "$into/vmlinuz"
}

build() {
    [ "$(cat "$into/.complete" 2>/dev/null)" != "$key" ] || return 0
    room "$CACHE" 6000 "the sanitizing kernel"
    rm -f "$into/.complete"
    mkdir -p "$into/build"
    ln -sfn "../$base/source" "$into/source"
    say "  kernel: $release, built here once (15 to 25 min on two cores)"
    step "kernel $release: configure" configure
    step "kernel $release: compile" compile
    step "kernel $release: modules" install
    say "$key" >"$into/.complete"
}

"$ROOT/scripts/toolchain.sh" sanitizer
locked sanitize-kernel build
