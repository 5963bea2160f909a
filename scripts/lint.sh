#!/usr/bin/env bash
# Formats and lints of everything: user space, kernel module, ABI, scripts.
. "$(dirname "$0")/lib.sh"

in_tree() { (cd "$ROOT" && "$@"); }
kernel_format() {
    in_toolchain sh -c "cd '$ROOT/kmod' && rustfmt --check --edition 2021 --config-path '$1/source/.rustfmt.toml' dsmil.rs"
}
kernel_clippy() {
    local log=$CACHE/log/clippy-$2
    rm -rf "$TARGET/clippy"
    mkdir -p "$TARGET/clippy"
    "$ROOT/scripts/kernel.sh" make "$2" M="$ROOT" MO="$TARGET/clippy" CLIPPY=1 modules >"$log" 2>&1 || { cat "$log"; return 1; }
    ! grep -E '^(warning|error)' -A 12 "$log"
}

release=$("$ROOT/scripts/kernel.sh" resolve "${KERNEL:-}")
step "format: user space" in_tree cargo fmt --all --check
step "format: kernel module" kernel_format "$CACHE/kernel/$release"
step "lints: user space" in_tree "$ROOT/scripts/cargo.sh" clippy --workspace --all-targets -- -D warnings
step "lints: kernel module" locked "module-$release" kernel_clippy "" "$release"
step "the ABI's Rust side is generated from its header" "$ROOT/scripts/uapi.sh" --check
step "every item of the ABI's header has its kernel-doc" "$ROOT/scripts/kernel-doc.sh"
for script in "$ROOT"/scripts/*.sh "$ROOT"/scripts/laptop/*.sh; do bash -n "$script"; done
