#!/bin/bash
# SIGKILL in the middle of writes, checkpoints and restores: a sample of what can be run longer by hand.
set -e
mkdir -p /srv/work
laptop-survive writes "${1:-12}"
laptop-survive checkpoints "${1:-12}"
laptop-survive restores "${1:-12}"
