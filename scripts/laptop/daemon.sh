#!/bin/bash
# Starts, stops and kills dsmild: by its systemd unit where systemd runs, else the way that unit does.
set -e
log=/var/log/dsmild.log
pidfile=/run/dsmild.pid

# Where it runs, systemd starts it anew after a kill.
if [ -d /run/systemd/system ]; then
    answers() {
        local try
        for try in $(seq 1 900); do
            if dsmil status --quiet 2>/dev/null; then return 0; fi
            sleep 0.05
        done
        systemctl status dsmild.service >&2
        return 1
    }
    case ${1:-} in
        start | restart) systemctl "$1" dsmild.service && answers ;;
        stop) systemctl stop dsmild.service ;;
        kill) systemctl kill --kill-whom=main --signal=KILL dsmild.service ;;
        *) exit 2 ;;
    esac
    exit
fi

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
