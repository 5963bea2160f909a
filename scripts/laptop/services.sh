#!/bin/bash
# Services in checkpoints, with systemd as process 1 (INIT=systemd): how they run, start at boot and are set up comes back, also over
# SIGKILL; what does not start is undone, and nothing is written that never stood there.
# One line for each claim; status 1 if one does not hold.
[ -d /run/systemd/system ] || { echo "services.sh needs systemd: INIT=systemd scripts/laptop.sh script …" >&2; exit 2; }
exec python3 - <<'PYTHON'
import json, os, subprocess, sys, time

ETC, VENDOR = "/etc/systemd/system", "/usr/lib/systemd/system"
ONE, TWO, TICK = "laptop-one.service", "laptop-two.service", "laptop-tick.timer"
ALL = (ONE, TWO, TICK)
failed = 0


def claim(holds, text, why=""):
    global failed
    if holds:
        print("ok", text, flush=True)
    else:
        failed += 1
        print("FAIL", text, "--", why, flush=True)


def run(*words):
    done = subprocess.run(words, capture_output=True)
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def dsmil(*words):
    return run("dsmil", *words)


def answer(*words):
    status, out, said = dsmil(*words, "--json")
    return json.loads(out)["answer"] if out else {"failed": said}


def systemctl(*words):
    status, out, err = run("systemctl", *words)
    if status:
        claim(False, f"systemctl {' '.join(words)}", err)
    return out


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)


def state():
    """How each unit is: asked of systemd, its files read, and what the running program was started with."""
    found = {}
    shown = run("systemctl", "show", "--property=ActiveState,UnitFileState,MainPID,NeedDaemonReload", *ALL)[1].strip().split("\n\n")
    for unit, block in zip(ALL, shown):
        fields = dict(line.split("=", 1) for line in block.splitlines())
        # To have failed is one way not to run.
        fields["ActiveState"] = fields["ActiveState"].replace("failed", "inactive")
        pid = fields.pop("MainPID", "0")
        started = ""
        if pid != "0":
            with open(f"/proc/{pid}/environ") as file:
                started = next((word for word in file.read().split("\0") if word.startswith("LAPTOP=")), "")
        files = {}
        for folder in (ETC, f"{ETC}/{unit}.d"):
            for name in os.listdir(folder) if os.path.isdir(folder) else ():
                path = f"{folder}/{name}"
                if (folder != ETC or name == unit) and os.path.isfile(path) and not os.path.islink(path):
                    files[path] = (oct(os.stat(path).st_mode), os.stat(path).st_uid, open(path).read())
        found[unit] = (fields, started, files)
    return found


def service(text):
    return f"[Service]\nType=exec\nEnvironment=LAPTOP={text}\nExecStart=/root/program infinity\n[Install]\nWantedBy=laptop.target\n"


def limit(text):
    return f"[Service]\nEnvironment=LAPTOP={text}\n"


# A unit of the distribution's with a drop-in, one of the administrator's, and a timer that is off.
run("cp", "/usr/bin/sleep", "/root/program")
write(f"{VENDOR}/{ONE}", service("vendor"))
write(f"{ETC}/{ONE}.d/50-laptop.conf", limit("old"), 0o640)
write(f"{ETC}/{TWO}", service("two"))
write(f"{VENDOR}/{TICK}", f"[Timer]\nOnActiveSec=1d\nUnit={TWO}\n[Install]\nWantedBy=laptop.target\n")
systemctl("daemon-reload")
systemctl("enable", "--now", ONE)
before = state()
claim(before[ONE][1] == "LAPTOP=old" and before[TWO][0]["UnitFileState"] == "disabled", "two services and a timer", before)
began = time.time()
taken = answer("checkpoint", "create", "before")
print(f"   a checkpoint takes {time.time() - began:.1f} s", flush=True)
taken = taken.get("checkpoint", taken)
claim(taken.get("services") == 3, "a checkpoint holds them", taken)
said = dsmil("checkpoint", "show", "before")[1]
claim(f"service {ONE} running, enabled, 1 file" in said and f"service {TWO} stopped, disabled, 1 file" in said, "and shows how they are", said[-600:])
claim(dsmil("checkpoint", "diff", "before")[0] == 0, "nothing differs", dsmil("checkpoint", "diff", "before"))


def spoil(text="new"):
    """Everything otherwise: stopped, started, enabled, disabled, files added, changed and gone."""
    write(f"{ETC}/{ONE}.d/50-laptop.conf", limit(text))
    write(f"{ETC}/{ONE}.d/60-more.conf", "[Service]\nNice=3\n")
    write(f"{ETC}/{TICK}.d/daily.conf", "[Timer]\nOnActiveSec=2d\n")
    write(f"{ETC}/{TWO}", service(text))
    systemctl("daemon-reload")
    systemctl("disable", ONE)
    systemctl("restart", ONE)
    systemctl("enable", "--now", TWO, TICK)
    return state()


now = spoil()
status, said, _ = dsmil("checkpoint", "plan", "before")
expected = (f"service {ONE}: disabled -> enabled, drop-in 50-laptop.conf changed, drop-in 60-more.conf removed",
            f"service {TWO}: active -> stopped".replace("active", "running") + ", enabled -> disabled, unit file changed",
            f"service {TICK}: running -> stopped, enabled -> disabled, drop-in daily.conf removed", "3 services")
claim(status == 0 and all(line in said for line in expected) and state() == now, "a plan says what would change, and changes nothing", said)
began = time.time()
status, said, err = dsmil("checkpoint", "restore", "before", "--yes")
took = time.time() - began
print(f"   a restore of three services takes {took:.1f} s", flush=True)
claim(status == 0 and state() == before, "a restore brings all of it back, and the running program is a new one", (said, err, state()))
claim("3 services" in dsmil("log", "search", "--fact", "progressed", "validated")[1], "the log tells of it")

# Undone, as asked for.
now = spoil("other")
dsmil("checkpoint", "restore", "before", "--services", "--confirm-within", "5m", "--yes")
claim(state() == before, "a restore to be confirmed is in place", state())
status, said, err = dsmil("checkpoint", "confirm", "--undo")
claim(status == 0 and state() == now, "and goes back, with what ran and how", (said, err, state(), now))

# SIGKILL in the middle: systemd starts the daemon anew, and that ends it.
for round in range(4):
    now = spoil(str(round))
    restore = subprocess.Popen(("dsmil", "checkpoint", "restore", "before", "--yes"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(took * (round + 1) / 5)
    run("/usr/lib/laptop/daemon.sh", "kill")
    restore.wait()
    status, _, err = run("/usr/lib/laptop/daemon.sh", "start")
    found = state()
    claim(status == 0 and found in (before, now), f"SIGKILL {round}: all is as {'before' if found == before else 'now'}, and no half", (err, found))
status, said, err = dsmil("checkpoint", "restore", "before", "--yes")
claim(status == 0 and state() == before, "then a restore brings it back", (said, err, state()))
claim(os.listdir("/run/dsmil-restart") == [], "nothing is left over", os.listdir("/run/dsmil-restart"))

# Masked, both ways.
systemctl("mask", "--now", ONE)
masked = state()
taken = dsmil("checkpoint", "create", "masked")
systemctl("unmask", ONE)
systemctl("start", ONE)
status, said, err = dsmil("checkpoint", "restore", "masked", "--yes")
claim(status == 0 and state() == masked and masked[ONE][0]["UnitFileState"] == "masked", "a masked service is masked again", (said, err, state()))
status, said, err = dsmil("checkpoint", "restore", "before", "--yes")
claim(status == 0 and state() == before, "and one that was not is unmasked, enabled and started", (said, err, state()))

# What does not start.
now = spoil()
systemctl("stop", ONE)
os.rename("/root/program", "/root/gone")
systemctl("stop", TWO)
now = state()
status, said, err = dsmil("checkpoint", "restore", "before", "--yes")
claim(status != 0 and f"start {ONE}" in err and state() == now, f"a service that does not start undoes the restore: {err.strip()}", (said, err, state(), now))
os.rename("/root/gone", "/root/program")
claim(dsmil("checkpoint", "restore", "before", "--yes")[0] == 0 and state() == before, "once it starts, the restore succeeds", state())

# A daemon that was taken over can name no file that root has not written.
kept = "/var/lib/dsmil-helper"
claim(oct(os.stat(kept).st_mode)[-3:] == "700" and os.stat(kept).st_uid == 0 and len(os.listdir(kept)) > 3, "what has stood there is noted, for root alone")
os.rename(kept, kept + ".aside")
now = spoil()
status, said, err = dsmil("checkpoint", "restore", "before", "--yes")
claim(status != 0 and "never stood there" in err and state() == now, f"what the helper has never seen is not written: {err.strip()}", (said, err))
os.rename(kept + ".aside", kept)
claim(dsmil("checkpoint", "restore", "before", "--yes")[0] == 0 and state() == before, "what it has seen is")

# Names that are never changed.
text = open("/etc/dsmil/dsmild.toml").read()
for unit in ("dsmild.service", "dbus.service", "systemd-journald.service", "poweroff.target"):
    write("/root/other.toml", text.replace('"laptop-one.service"', f'"{unit}"'))
    status, said, err = run("dsmild", "check", "--config", "/root/other.toml")
    claim(status != 0 and unit in err + said, f"{unit} cannot be listed", (status, said, err))

# Without the daemon, by root.
now = spoil()
status, said, err = dsmil("tpm", "provision", "--pcrs", "7", "--recovery-key-out", "/root/recovery")
claim(status == 0, "a vault, whose recovery key opens the repository's", err)
run("/usr/lib/laptop/daemon.sh", "stop")
os.rename(kept, kept + ".aside")
status, said, err = dsmil("checkpoint", "restore", "before", "--offline", "--recovery-key", "/root/recovery", "--services", "--yes")
claim(status == 0 and state() == before, "without the daemon they come back, too", (said, err, state()))
os.rename(kept + ".aside", kept)
status, _, err = run("/usr/lib/laptop/daemon.sh", "start")
claim(status == 0 and dsmil("log", "verify")[0] == 0, "and the log holds", err)
sys.exit(1 if failed else 0)
PYTHON
