#!/bin/bash
# A sample of what “make survive” tries at length: SIGKILL of who changes firmware settings, at each step, and of the daemon in
# the middle of writes, checkpoints and restores.
set -e
mkdir -p /srv/work
laptop-survive writes "${1:-6}"
laptop-survive checkpoints "${1:-6}"
laptop-survive restores "${1:-6}"
laptop-survive prunes "${1:-6}"
/usr/lib/laptop/survive.sh kills 16
