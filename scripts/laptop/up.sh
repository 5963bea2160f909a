#!/bin/bash
# Module and daemon up, as the units of an installed system do it.
set -e
insmod /usr/lib/modules/dsmil.ko
chgrp dsmil /dev/dsmil
# The unit that loads the module also sets and seals the list of tokens that may be written.
dsmild seal --config /etc/dsmil/dsmild.toml
mkdir -p /run/dsmil /srv/work
/usr/lib/laptop/daemon.sh start
