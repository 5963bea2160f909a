#!/usr/bin/env bash
# Boots the virtual laptop with each token table that is wrong on purpose, and looks at what the module makes of it.
#
#   tables.sh [NAME…]   these of tests/laptop/tables, else all; one line each
. "$(dirname "$0")/lib.sh"

[ $# -gt 0 ] || set -- $(cd "$ROOT/tests/laptop/tables" && printf '%s\n' *.toml | sed 's/\.toml$//')
failed=0
for name in "$@"; do
    if said=$(BARE=1 TABLE=$name TIMEOUT=${TIMEOUT:-180} "$ROOT/scripts/laptop.sh" script "$ROOT/scripts/laptop/tables.sh" 2>&1); then
        printf '%-16s %s\n' "$name" "$said"
    else
        printf '%-16s FAILED\n%s\n' "$name" "$said"
        failed=$((failed + 1))
    fi
done
[ "$failed" -eq 0 ] || die "$failed of $# tables failed; each runs alone with: scripts/tables.sh NAME."
