#!/usr/bin/env bash
# “make test-sanitize”: the module in the virtual laptop, under a kernel that looks for mistakes; any report fails.
#
#   sanitize.sh [COMMAND…]     instead of everything, these commands in the guest, each looked at on its own
#   sanitize.sh line PLACE…    file and line of FUNCTION+0xOFFSET in the module, as a report names them
#   KERNEL=WISH                the stock kernel whose source is taken
. "$(dirname "$0")/lib.sh"

results=$(mktemp)
trap 'rm -f "$results"' EXIT

# Without its hooks the module would be run, but not looked at.
instrumented() {
    local file=$TARGET/module/$1/dsmil.ko symbols symbol
    symbols=$(nm -u "$file")
    for symbol in __sanitizer_cov_trace_pc __asan_ kunit; do
        grep -q "$symbol" <<<"$symbols" ||
            grep -q "$symbol" <<<"$(nm "$file")" || die "$file has no $symbol in it: it was not built for the sanitizing kernel as it should be."
    done
}

# KASAN is silent after its first report unless it is told not to be. With five levels of page tables an interrupt in the moment
# in which the kernel fills in its first CPU's features was seen to make it report good addresses.
laptop() { BARE=1 TIMEOUT=${TIMEOUT:-3600} LAPTOP_APPEND="kasan_multi_shot no5lvl ${append:-}" "$ROOT/scripts/laptop.sh" "$@"; }
guest() { laptop script "$ROOT/scripts/laptop/sanitize.sh" "$@"; }

if [ "${1:-}" = line ]; then
    shift
    release=$("$ROOT/scripts/kernel.sh" resolve sanitize)
    in_toolchain env LLVM=-19 "$CACHE/kernel/$release/source/scripts/faddr2line" "$TARGET/module/$release/dsmil.ko" "$@"
    exit
fi

say "Set-up:"
"$ROOT/scripts/setup.sh"
"$ROOT/scripts/sanitize-kernel.sh"
release=sanitize-$("$ROOT/scripts/kernel.sh" resolve "${KERNEL:-}" | sed 's/+.*//')
export KERNEL=$release
say "Build:"
"$ROOT/scripts/build.sh"
step "the module is instrumented" instrumented "$release"
if [ $# -gt 0 ]; then
    guest "$@"
    exit
fi
say "In the virtual laptop with every instrument (some minutes):"
guest whole || echo failed >>"$results"
say "Without kmemleak and patterns in freed memory, for what takes long (a quarter of an hour and more):"
append="slab_debug=- kmemleak=off" guest long || echo failed >>"$results"
for table in duplicates shared; do
    say "The same with the token table “$table”:"
    TABLE=$table append="slab_debug=- kmemleak=off" guest table || echo failed >>"$results"
done
say "Mistakes on purpose, each must be reported:"
EXTRA_MODULES="lkdtm test_ubsan test_lockup kmemleak-test" laptop script "$ROOT/scripts/laptop/sanitize-proof.sh" || echo failed >>"$results"
[ ! -s "$results" ] || die "the sanitizing kernel found something, see above; docs/sanitize.md says how to read a report."
say "Nothing was reported but what was provoked."
