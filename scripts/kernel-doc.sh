#!/usr/bin/env bash
# Fails unless the kernel's own script for kernel-doc renders every macro, enumeration, structure and section of
# include/uapi/dsmil.h, with every member described. Its warnings alone prove little: a comment of another form than it expects is
# none to it, and it says nothing.
#
#   kernel-doc.sh [HEADER]
. "$(dirname "$0")/lib.sh"

header=${1:-$ROOT/include/uapi/dsmil.h}
release=$("$ROOT/scripts/kernel.sh" resolve "${KERNEL:-}")
kernel_doc() { in_toolchain python3 "$CACHE/kernel/$release/source/scripts/kernel-doc" "$@" "$header"; }

# What the header defines: the guard against including it twice is nobody's to use.
defined() {
    sed -nE 's/^#define (DSMIL_\w+) .*/macro \1/p; s/^(enum|struct) (\w+) \{$/\1 \2/p' "$header"
    sed -nE 's/^ \* DOC: (.*)$/section \1/p' "$header"
}
rendered() {
    sed -nE 's/^\.\. c:(macro|enum|struct):: (\w+)$/\1 \2/p; s/^\.\. _(.*):$/section \1/p' <<<"$1"
}

said=$(kernel_doc -none -Wall -Werror 2>&1) || die "kernel-doc warns of $header:
$said"
text=$(kernel_doc -rst)
[ "$(defined | wc -l)" -gt 0 ] || die "nothing was found in $header: is it the interface's header?"
missing=$(comm -23 <(defined | sort) <(rendered "$text" | sort))
[ -z "$missing" ] || die "$header has no kernel-doc that is rendered for:
$missing"
