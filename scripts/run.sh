#!/usr/bin/env bash
# “make run”: set up, build, boot the virtual laptop, give the tour, and leave a prompt where there is a terminal.
. "$(dirname "$0")/lib.sh"

say "Set-up (the first time takes some minutes, later ones none):"
"$ROOT/scripts/setup.sh"
say "Build:"
"$ROOT/scripts/build.sh"
say "The virtual laptop boots ($("$ROOT/scripts/laptop.sh" accelerator)); the tour begins:"
if [ -t 0 ] && [ -t 1 ]; then
    BARE=1 exec "$ROOT/scripts/laptop.sh" shell /usr/lib/laptop/tour.sh
fi
BARE=1 exec "$ROOT/scripts/laptop.sh" command /usr/lib/laptop/tour.sh
