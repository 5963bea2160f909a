#!/bin/bash
# Starts, stops and kills dsmild the way its systemd unit does, where no systemd runs.
set -e
log=/var/log/dsmild.log
pidfile=/run/dsmild.pid

start() {
    setsid dsmild --config /etc/dsmil/dsmild.toml >>"$log" 2>&1 </dev/null &
    echo $! >"$pidfile"
    local try
    for try in $(seq 1 900); do
        if dsmil status --quiet 2>/dev/null; then return 0; fi
        if ! kill -0 "$(cat "$pidfile")" 2>/dev/null; then
            echo "dsmild stopped while it started; its log says:" >&2
            tail -n 20 "$log" >&2
            return 1
        fi
        sleep 0.05
    done
    echo "dsmild does not answer after 45 s; its log says:" >&2
    tail -n 20 "$log" >&2
    return 1
}

stop() {
    local pid
    pid=$(cat "$pidfile" 2>/dev/null) || return 0
    kill "-${1:-TERM}" "$pid" 2>/dev/null || return 0
    while kill -0 "$pid" 2>/dev/null && [ "$(cut -d' ' -f3 "/proc/$pid/stat" 2>/dev/null)" != Z ]; do sleep 0.02; done
    rm -f "$pidfile"
}

case ${1:-} in
    start) start ;;
    stop) stop TERM ;;
    kill) stop KILL ;;
    restart) stop TERM; start ;;
    *) echo "usage: daemon.sh start | stop | kill | restart" >&2; exit 2 ;;
esac
