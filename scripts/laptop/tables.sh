#!/bin/bash
# A token table that is wrong on purpose (TABLE=…), the module without the daemon: it finds exactly the tokens that the
# table comes to and reads each, or refuses to load; nothing in the kernel's log.
set -e
[ -c /dev/wmi/dell-smbios ] || { echo "FAIL the kernel's driver has no WMI back end: every answer would be zero"; exit 1; }
refused=$(laptop-tables refused)
if [ -n "$refused" ]; then
    if insmod /usr/lib/modules/dsmil.ko 2>/tmp/said; then echo "FAIL the module loaded instead of refusing with $refused"; exit 1; fi
    case $refused in
        E2BIG) error="Argument list too long" line="dsmil: more than 4096 tokens in the firmware's table" ;;
        *) echo "FAIL no words are known for $refused"; exit 1 ;;
    esac
    grep -q "$error" /tmp/said || { echo "FAIL insmod said: $(cat /tmp/said)"; exit 1; }
    dmesg | grep -q "$line" || { echo "FAIL the kernel's log does not say why: $(dmesg | tail -n 3)"; exit 1; }
    [ ! -e /dev/dsmil ] || { echo "FAIL /dev/dsmil is there"; exit 1; }
    said="refused: $(dmesg | sed -n "s/.*\($line\)/\1/p" | tail -n 1)"
else
    # No limit: it reads thousands.
    insmod /usr/lib/modules/dsmil.ko read_rate=0
    said=$(laptop-tables check) || { echo "$said"; exit 1; }
    rmmod dsmil
fi
if dmesg | grep -E 'BUG:|WARNING:|Oops|general protection|UBSAN|KASAN'; then echo "FAIL the kernel reported"; exit 1; fi
echo "ok $said"
