#!/bin/bash
# The prompt that “make run” leaves the user at.
# The console forgets its size when it is closed, so it is set by the one who keeps it open.
stty rows "${LAPTOP_ROWS:-24}" cols "${LAPTOP_COLUMNS:-80}" sane
[ -n "$LAPTOP_FIRST" ] && { bash -c "$LAPTOP_FIRST" || status=$?; }
cat <<'TEXT'

You are root on the virtual laptop. Try:
  dsmil status                     dsmil tokens list --devices
  dsmil checkpoint list            dsmil log tail
  laptop-ctl heat 92               dsmil --help
“exit” or Ctrl-D powers it off.

TEXT
PS1='latitude:\w# ' bash --norc -i
exit "${status:-0}"
