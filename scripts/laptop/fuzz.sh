#!/bin/bash
# Fuzzes the kernel device without the daemon; the arguments are those of laptop-fuzz.
#
#   SCRIPT=scripts/laptop/fuzz.sh ARGS='--seed 7 --ops 100000'
# “BARE=1 TIMEOUT=3600” in the environment: no daemon beside it, and time enough.
set -e
if lsmod | grep -q '^dsmil '; then
    echo "error: the module is in use; boot the laptop with BARE=1, without module and daemon." >&2
    exit 1
fi
# Output line by line, so that the host sees the progress.
exec laptop-fuzz "${@:---ops=20000}"
