# Shared by every script here: where things are, how a step is told, how a failure is told.
# shellcheck shell=bash
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Slow things live outside the tree, so that a fresh clone finds them.
CACHE=${DSMIL_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/dsmil}
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
TOOLCHAIN=$CACHE/toolchain
BUILDER=$CACHE/builder
# Debian's users do not look where chroot, mke2fs and depmod are.
PATH=$PATH:/usr/sbin:/sbin
export ROOT CACHE TARGET PATH

say() { printf '%s\n' "$*"; }

# die SENTENCE: one clear sentence, then status 1.
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# step TITLE COMMAND…: runs it with its output in a log, prints one line with the time it took.
step() {
    local title=$1 log began ended status=0 ticker=
    shift
    mkdir -p "$CACHE/log"
    log=$CACHE/log/$(printf '%s' "$title" | tr -cs 'A-Za-z0-9.+' '-' | sed 's/-*$//').log
    began=$EPOCHREALTIME
    if [ -t 1 ]; then
        ticker_start "$title" "$log"
    else
        printf '  %-44s ' "$title"
    fi
    ("$@") >"$log" 2>&1 </dev/null || status=$?
    if [ -n "$ticker" ]; then
        kill "$ticker" 2>/dev/null || true
        wait "$ticker" 2>/dev/null || true
        printf '\r\033[K  %-44s ' "$title"
    fi
    ended=$EPOCHREALTIME
    if [ "$status" -ne 0 ]; then
        say "failed"
        # A sentence of our own says it best; otherwise the last lines do.
        if ! grep '^error: .*[.;]' "$log" | grep -v '^error: “' | tail -n 1 >&2; then
            if [ -s "$log" ]; then tail -n 15 "$log" | sed 's/^/    | /' >&2; fi
            say "error: “$title” failed; mend what it names and run the same command again: finished steps are kept." >&2
        fi
        say "  the whole output: $log" >&2
        exit "$status"
    fi
    awk -v a="$began" -v b="$ended" 'BEGIN { printf "%6.1f s\n", b - a }'
}

# On a terminal a running step shows its seconds and the last line of its log.
ticker_start() {
    (
        trap 'exit 0' TERM
        local second=0 columns last
        columns=$(tput cols 2>/dev/null || echo 80)
        while :; do
            last=$(tail -n 1 "$2" 2>/dev/null | tr -cd '[:print:]' | cut -c "1-$((columns > 70 ? columns - 60 : 10))")
            printf '\r\033[K  %-44s %4d s  %s' "$1" "$second" "$last"
            sleep 1
            second=$((second + 1))
        done
    ) &
    ticker=$!
}

# locked NAME COMMAND…: one at a time, also between two runs of make; says when it has to wait.
locked() {
    local name=$1 fd
    shift
    mkdir -p "$CACHE/lock"
    exec {fd}>"$CACHE/lock/$name"
    if ! flock -n "$fd"; then
        say "  waiting for another run that holds “$name” …"
        flock "$fd"
    fi
    "$@"
    exec {fd}>&-
}

# room PATH MEGABYTES WHAT: refuses before the work, not in the middle of it.
room() {
    local free
    mkdir -p "$1"
    free=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
    if [ "$free" -lt "$2" ]; then
        die "$3 needs $2 MB free under $1, and there are $free MB: free some, or set DSMIL_CACHE to a folder on a larger disk."
    fi
}

# as_root COMMAND…: for packages alone.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "“$*” needs root, and there is no sudo: run it as root once, then go on."
    fi
}

# within FOLDER COMMAND…: runs it in the small Debian system in that folder, with cache and tree at their usual paths.
# A user who is not root gets there through a user namespace in which they are.
within() {
    local map=()
    [ "$(id -u)" -eq 0 ] || map=(--map-root-user)
    unshare "${map[@]}" --mount --propagation private -- \
        bash -c '
            set -e
            root=$1; shift
            for place in "$CACHE" "$ROOT" "$TARGET" "${TMPDIR:-/tmp}"; do
                mkdir -p "$root$place" "$place"
                mount --rbind "$place" "$root$place"
            done
            for place in dev proc sys; do
                mkdir -p "$root/$place"
                mount --rbind "/$place" "$root/$place"
            done
            for file in /etc/resolv.conf /etc/ssl/certs/ca-certificates.crt; do
                [ ! -e "$file" ] || { mkdir -p "$root${file%/*}"; cp -L "$file" "$root$file"; }
            done
            exec chroot "$root" /usr/bin/env -i HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
                PATH=/usr/sbin:/usr/bin:/sbin:/bin ${http_proxy:+http_proxy="$http_proxy"} \
                ${https_proxy:+https_proxy="$https_proxy"} "$@"
        ' within "$@" || return $?
}

# in_toolchain COMMAND…: where the compilers of the stock kernel are.
in_toolchain() { within "$TOOLCHAIN" "$@"; }
