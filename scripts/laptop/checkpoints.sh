#!/bin/bash
# Checkpoints in the laptop: compared, restored in part, read wholly, exported, mounted, deleted, and restored without the daemon; each looked at with
# tools that are not ours.
# One line for each claim; status 1 if one does not hold.
exec python3 - <<'PYTHON'
import grp, hashlib, json, os, subprocess, sys, time

WORK, STATE, TOKEN = "/srv/work", "/var/lib/dsmil", "0x8060"
MEMBER = 4242
failed = 0


def claim(holds, text, why=""):
    global failed
    if holds:
        print("ok", text, flush=True)
    else:
        failed += 1
        print("FAIL", text, "--", why, flush=True)


def run(*words, **options):
    done = subprocess.run(words, capture_output=True, **options)
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def dsmil(*words, **options):
    return run("dsmil", *words, **options)


def answer(*words):
    status, out, said = dsmil(*words, "--json")
    return json.loads(out)["answer"] if out else {"failed": said}


def token():
    return answer("tokens", "get", TOKEN)["values"][0]["value"]


def write(name, text):
    path = os.path.join(WORK, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def picture(top):
    """What is there, by path below the top: kind, mode, owner, mtime, and content or target."""
    found = {}
    for folder, folders, files in os.walk(top):
        for name in [os.path.relpath(folder, top)] + [os.path.relpath(os.path.join(folder, f), top) for f in files] + [
                os.path.relpath(os.path.join(folder, f), top) for f in folders if os.path.islink(os.path.join(folder, f))]:
            path = os.path.join(top, name)
            stat = os.lstat(path)
            held = os.readlink(path) if os.path.islink(path) else hashlib.sha256(open(path, "rb").read()).hexdigest() if os.path.isfile(path) else ""
            found[name] = (oct(stat.st_mode), stat.st_uid, stat.st_gid, stat.st_mtime_ns, held)
    return found


def below(pictured, top):
    return {name: seen for name, seen in pictured.items() if name == top or name.startswith(top + "/")}


run("find", WORK, "-mindepth", "1", "-delete")
for number in range(40):
    write(f"many/{number}", f"file {number}\n" * 50)
write("etc/hosts", "127.0.0.1 localhost\n")
write("etc/deep/key", "secret\n")
os.link(f"{WORK}/etc/deep/key", f"{WORK}/same")
os.symlink("etc/hosts", f"{WORK}/link")
os.chown(f"{WORK}/etc/deep/key", 1000, 1001)
os.utime(f"{WORK}/etc/hosts", ns=(10**18 + 1, 10**18 + 123456789))
FILES = 42
made = time.time()

# What is read.
first = answer("checkpoint", "create", "first")["checkpoint"]
claim(first["read"] == FILES, f"the first checkpoint reads all {FILES} files", first)
before, held = picture(WORK), token()
# What changed in the two seconds before a capture is read by the next one.
while time.time() < made + 3:
    time.sleep(0.1)
answer("checkpoint", "create", "second")
third = answer("checkpoint", "create", "third")["checkpoint"]
claim(third["read"] == 0, "nothing is read again that has not changed", third)
status, said, _ = dsmil("checkpoint", "create", "fourth", "--paranoid")
claim(status == 0 and f"files, contents of {FILES} read\n" in said, "“--paranoid” reads everything", said)

# What differs.
status, said, err = dsmil("checkpoint", "diff", "first")
claim((status, said) == (0, ""), "nothing differs from what is there: exit code 0, and not a word", (status, said, err))
write("many/7", "changed\n")
write("etc/hosts", "6.6.6.6 bank.example\n")
write("new/file", "new\n")
os.unlink(f"{WORK}/link")
os.chmod(f"{WORK}/many/8", 0o777)
run("rm", "-r", f"{WORK}/etc/deep")
status, _, err = dsmil("tokens", "set", f"{TOKEN}={held + 1}")
claim(status == 0, "a token is changed", err)
changed = picture(WORK)
for options in ((), ("--paranoid",)):
    status, said, err = dsmil("checkpoint", "diff", "first", *options)
    lines = [line.split() for line in said.splitlines()]
    expected = {("changed", "many/7"), ("changed", "etc/hosts"), ("changed", "many/8"), ("created", "new"), ("created", "new/file"),
                ("removed", "link"), ("removed", "etc/deep"), ("removed", "etc/deep/key"), ("changed", "etc"), ("changed", "")}
    # The name that is left of a file with two is now its first.
    expected.add(("changed", "same"))
    told = {(words[0], words[1].rstrip(":").removeprefix(WORK).lstrip("/")) for words in lines if words[0] in ("changed", "created", "removed")}
    claim(status == 1 and told == expected, f"{' '.join(('each difference is told', *options))}: exit code 1", (status, told ^ expected, err))
    claim(f"token    {TOKEN}: {held} -> {held + 1}" in said, "the token too", said)
status, said, _ = dsmil("checkpoint", "diff", "first", "--path", f"{WORK}/new")
claim(status == 1 and said.splitlines()[:2] == [f"created  {WORK}/new", f"created  {WORK}/new/file"], "of a path alone, if asked", said)
now = answer("checkpoint", "diff", "first")
dsmil("checkpoint", "create", "fifth")
two = answer("checkpoint", "diff", "first", "fifth")
claim(now["differences"] == two["differences"] and two["to"] == 5, "two checkpoints differ as the first did from what was there", two)
claim(dsmil("checkpoint", "diff", "first", "none")[0] == 6, "a checkpoint that is not there is no difference")

# A part comes back.
status, said, err = dsmil("checkpoint", "restore", "first", "--path", f"{WORK}/etc", "--yes")
back = picture(WORK)
claim(status == 0 and below(back, "etc") == below(before, "etc"), "“--path” brings a folder back", (said, err))
claim(os.path.samefile(f"{WORK}/etc/deep/key", f"{WORK}/same"), "a file with two names is one again")
others = {name: seen for name, seen in back.items() if not name.startswith("etc") and name not in (".", "same")}
claim(others == {name: seen for name, seen in changed.items() if name in others} and token() == held + 1 and "link" not in back,
      "and leaves everything else, also tokens")
claim(dsmil("checkpoint", "restore", "first", "--path", "/etc/passwd", "--yes")[0] == 1, "a path outside of the folders is refused")
status, said, err = dsmil("checkpoint", "restore", "first", "--tokens", "--yes")
claim(status == 0 and token() == held and picture(WORK) == back, "“--tokens” brings tokens back alone", (said, err))
status, said, err = dsmil("checkpoint", "restore", "first", "--paranoid", "--yes")
claim(status == 0 and picture(WORK) == before, "and a whole restore the rest", (said, err))
said = dsmil("log", "search", "--fact", "accepted", "restore")[1]
claim(f"only {WORK}/etc" in said and "only tokens" in said and "reading everything" in said, "the log tells which part it was", said)

# Out to a program that is not ours.
words = ("tpm", "provision", "--pcrs", "7", "--recovery-key-out", "/root/recovery")
status, said, err = dsmil(*words)
claim(status == 0, "a vault, whose recovery key opens the repository's", err)
status, _, err = dsmil("tpm", "recover", "--offline", "--recovery-key", "/root/recovery", "--dir", STATE, "--out", "/root/key")
claim(status == 0, "the repository's key is opened without the daemon", err)
status, said, err = dsmil("checkpoint", "export", "first", "--repository-key", "/root/key", "--out", "/root/first.tar")
claim(status == 0, f"a checkpoint is exported beside the running daemon: {said.strip()}", err)
os.makedirs("/root/out")
status, _, err = run("tar", "-xpf", "/root/first.tar", "-C", "/root/out", "--same-owner", "--delay-directory-restore")
claim(status == 0 and picture("/root/out" + WORK) == before, "GNU tar makes of it what was there", err)

# Looked into, without taking it out.
if os.path.exists("/dev/fuse"):
    dsmil("checkpoint", "key", "--out", "/root/machine.pem")
    os.makedirs("/root/mnt")
    words = ("--repository-key", "/root/key", "--key", "/root/machine.pem")
    mount = subprocess.Popen(("dsmil", "checkpoint", "mount", "first", "/root/mnt", *words), stdout=subprocess.PIPE)
    said = mount.stdout.readline().decode()
    claim("its signature holds" in said, f"a checkpoint is mounted beside the running daemon: {said.strip()}")
    claim(picture("/root/mnt" + WORK) == before, "what is shown there is what was there")
    status, _, err = run("umount", "/root/mnt")
    claim(status == 0 and mount.wait(60) == 0, "unmounting it ends the command", err)
    mount = subprocess.Popen(("dsmil", "checkpoint", "mount", "/root/mnt", *words), stdout=subprocess.PIPE)
    mount.stdout.readline()
    shown = sorted(os.listdir("/root/mnt"))
    claim(shown == ["1-first", "2-second", "3-third", "4-fourth", "5-fifth", "latest"], "all of them are folders", shown)
    mount.kill()
    mount.wait()
    deadline = time.time() + 60
    while "/root/mnt" in open("/proc/mounts").read() and time.time() < deadline:
        time.sleep(0.1)
    claim(os.listdir("/root/mnt") == [], "SIGKILL leaves no dead mount behind")
else:
    print("skipped: nothing is mounted, for this kernel has no /dev/fuse", flush=True)

# And away.
status, _, err = dsmil("checkpoint", "delete", "fifth", "--yes")
claim(status == 2 and "newest" in err, "the newest checkpoint is not deleted just so", err)
group = grp.getgrnam("dsmil").gr_gid
status, _, err = dsmil("checkpoint", "delete", "second", "--yes", user=MEMBER, group=group, extra_groups=[])
claim(status == 4, "nor any by who is no owner", (status, err))
claim(dsmil("checkpoint", "delete", "second")[0] == 2, "nor where nobody can be asked")
size = answer("log", "tail", "-n", "1")["size"]
status, said, err = dsmil("checkpoint", "delete", "second", "--yes")
names = [one["name"] for one in answer("checkpoint", "list")["checkpoints"]]
claim(status == 0 and names == ["first", "third", "fourth", "fifth"], "an owner deletes one", (said, err, names))
files = sorted(name for name in os.listdir(f"{STATE}/checkpoints") if name.isdigit())
claim(files == ["000001", "000003", "000004", "000005"], "its file is gone", files)
claim(dsmil("checkpoint", "show", "second")[0] == 6 and dsmil("checkpoint", "verify", "first")[0] == 0, "the others hold")
run("/usr/lib/laptop/daemon.sh", "kill")
status, _, err = run("/usr/lib/laptop/daemon.sh", "start")
names = [one["name"] for one in answer("checkpoint", "list")["checkpoints"]]
claim(status == 0 and "second" not in names, "and stays away after SIGKILL and a start", (err, names))
names = [one["name"] for one in answer("checkpoint", "list", "--at", str(size - 1))["checkpoints"]]
claim("second" in names, "the log knows that it was there", names)
status, _, err = dsmil("checkpoint", "delete", "fifth", "--yes", "--force")
claim(status == 0, "the newest goes by force", err)
claim(answer("checkpoint", "create", "second")["checkpoint"]["number"] == 6, "numbers are not used again, names are")

# A restore that nobody confirms.
def settled(wanted, seconds):
    until = time.time() + seconds
    while picture(WORK) != wanted and time.time() < until:
        time.sleep(0.2)
    return picture(WORK) == wanted


dsmil("checkpoint", "create", "kept")
kept = picture(WORK)
write("etc/hosts", "6.6.6.6 other.example\n")
dsmil("tokens", "set", f"{TOKEN}={held + 1}")
now = picture(WORK)
status, said, err = dsmil("checkpoint", "restore", "kept", "--confirm-within", "40s", "--yes")
claim(status == 0 and "unless it is confirmed" in said and picture(WORK) == kept and token() == held, "a restore to be confirmed is in place", (said, err))
claim(dsmil("tokens", "set", f"{TOKEN}={held}")[0] == 5, "meanwhile nothing else is changed")
run("/usr/lib/laptop/daemon.sh", "kill")
run("/usr/lib/laptop/daemon.sh", "start")
left = answer("checkpoint", "schedule").get("awaiting")
claim(left and 0 < left["left_s"] <= 40 and picture(WORK) == kept, "and goes on waiting after SIGKILL and a start", left)
claim(settled(now, 90) and token() == held + 1, "at the deadline what was there before is back, files and token")
claim(answer("checkpoint", "schedule")["awaiting"] is None and dsmil("checkpoint", "confirm")[0] == 6, "then there is nothing to confirm")
dsmil("checkpoint", "restore", "kept", "--confirm-within", "2m", "--yes")
status, said, err = dsmil("checkpoint", "confirm", "--undo")
claim(status == 0 and picture(WORK) == now and token() == held + 1, "asked for, it goes back at once", (said, err))
dsmil("checkpoint", "restore", "kept", "--confirm-within", "2m", "--yes")
status, said, err = dsmil("checkpoint", "confirm")
claim(status == 0 and picture(WORK) == kept and token() == held and not os.path.exists(f"{WORK}/.dsmil-restore"), "confirmed, it stays", (said, err))

# What no rule keeps, and what no checkpoint needs.
size = lambda: sum(entry.stat().st_size for entry in os.scandir(f"{STATE}/chunks/packs"))
with open(f"{WORK}/large", "wb") as file:
    file.write(os.urandom(6 << 20))
dsmil("checkpoint", "create", "large")
os.unlink(f"{WORK}/large")
dsmil("checkpoint", "create", "last")
before = size()
free = answer("checkpoint", "prune", "--dry-run")
claim(not any(one["goes"] for one in free["checkpoints"]) and size() == before, "without a rule no checkpoint goes")
dsmil("checkpoint", "delete", "large", "--yes")
status, said, err = dsmil("checkpoint", "prune")
claim(status == 0 and before - size() > 5 << 20, f"a deleted checkpoint's space is freed: {said.strip()}", (before, size(), err))
claim(dsmil("checkpoint", "prune", "--keep-last", "1", "--manual")[0] == 2, "what would go is asked for")
status, said, err = dsmil("checkpoint", "prune", "--keep-last", "2", "--manual", "--yes")
names = [one["name"] for one in answer("checkpoint", "list")["checkpoints"]]
claim(status == 0 and names == ["kept", "last"], "by rule all but the last two go", (said, err, names))
claim(all(dsmil("checkpoint", "verify", name)[0] == 0 for name in names), "and these hold")
# Settings and a database, under the eyes of a program that has it open.
SWAP, HUGE, DATA = "/proc/sys/vm/swappiness", "/sys/kernel/mm/transparent_hugepage/enabled", "/srv/data/laptop.db"


def setting(path, value=None):
    if value is not None:
        with open(path, "w") as file:
            file.write(value)
    with open(path) as file:
        return file.read().strip()


os.makedirs("/srv/data", exist_ok=True)
os.chown("/srv/data", 1000, 1001)
AS_OWNER = ("setpriv", "--reuid", "1000", "--regid", "1001", "--clear-groups")
program = subprocess.Popen([*AS_OWNER, "sqlite3", DATA], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def sql(statement):
    """What the program prints for a statement."""
    program.stdin.write(f"{statement};\n.print end\n")
    program.stdin.flush()
    return "".join(iter(program.stdout.readline, "end\n")).strip()


sql("PRAGMA journal_mode = WAL")
sql("CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT)")
sql("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) INSERT INTO t (v) SELECT printf('%.200c', char(65 + i % 26)) || i FROM n")
rows = lambda: int(sql("SELECT count(*) FROM t"))
setting(SWAP, "61")
chosen = setting(HUGE, "madvise")
taken = answer("checkpoint", "create", "settled")
taken = taken.get("checkpoint", taken)
claim(taken.get("databases") == 1 and taken.get("settings", 0) >= 3, "a checkpoint holds settings and a database", taken)
setting(SWAP, "10")
setting(HUGE, "never")
sql("DELETE FROM t WHERE k > 20")
status, said, err = dsmil("checkpoint", "diff", "settled")
claim(status == 1 and f"setting  {SWAP}: 61 -> 10" in said and f"setting  {HUGE}: madvise -> never" in said
      and f"database {DATA}: changed" in said, "what differs of them is told", (said, err))
status, said, err = dsmil("checkpoint", "restore", "settled", "--settings", "--yes")
claim(status == 0 and setting(SWAP) == "61" and setting(HUGE) == chosen and rows() == 20, "settings come back alone", (said, err))
setting(SWAP, "10")
status, said, err = dsmil("checkpoint", "restore", "settled", "--databases", "--yes")
claim(status == 0 and rows() == 500 and setting(SWAP) == "10", "a database too, and the program that has it open sees it", (said, err))
claim(sql("PRAGMA integrity_check") == "ok", "it is whole")
left = [name for name in os.listdir("/srv/data") if "dsmil" in name or os.stat(f"/srv/data/{name}").st_uid != 1000]
claim(left == [f"laptop.db{end}" for end in ("-shm", "-wal") if f"laptop.db{end}" in left], "nothing is left beside it", left)
sql("DELETE FROM t WHERE k > 450")
sql("BEGIN EXCLUSIVE")
sql("DELETE FROM t WHERE k > 400")
status, said, err = dsmil("checkpoint", "restore", "settled", "--yes")
claim(status != 0 and "locked by another program" in said + err, "a program that holds it locked is told of", (said, err))
sql("COMMIT")
claim(setting(SWAP) == "10" and rows() == 400, "and nothing has changed")
status, said, err = dsmil("checkpoint", "restore", "settled", "--yes")
claim(status == 0 and setting(SWAP) == "61" and rows() == 500, "all of it comes back", (said, err))
claim(dsmil("checkpoint", "verify", "settled")[0] == 0 and dsmil("checkpoint", "diff", "settled")[0] == 0, "as it was")
said = dsmil("log", "search", "restore")[1]
claim("only settings" in said and "only databases" in said, "the log tells which part it was", said)
claim(dsmil("log", "verify")[0] == 0, "the log holds")

# A folder is exchanged at once for a whole new one, or changed in its place.
dsmil("checkpoint", "create", "first")
before = picture(WORK)
LEFT = (f"{WORK}/.dsmil-restore", f"{os.path.dirname(WORK)}/.dsmil-restore.{os.path.basename(WORK)}")
for way, is_same in (((), False), (("--in-place",), True)):
    write("etc/hosts", "6.6.6.6 other.example\n")
    inode = os.stat(WORK).st_ino
    with open(f"{WORK}/etc/hosts") as held_open:
        status, _, err = dsmil("checkpoint", "restore", "first", "--yes", *way)
        claim(status == 0 and picture(WORK) == before and held_open.read() == "6.6.6.6 other.example\n", f"restored {way}; who has a file open keeps it", err)
    claim((os.stat(WORK).st_ino == inode) == is_same and not any(map(os.path.exists, LEFT)), f"{'the same folder' if is_same else 'another folder'} stands there, and nothing beside it")
write("etc/hosts", "6.6.6.6 other.example\n")
said = run("bash", "-c", f"cd {WORK} && dsmil checkpoint restore first --yes 2>&1 >/dev/null; cd \"$PWD\" && cat etc/hosts")[1]
claim("working folder is still the old one" in said and "other.example" not in said, "who stands in the folder is told to enter it anew", said)

# Without the daemon.
OFFLINE = ("dsmil", "checkpoint", "restore", "first", "--offline", "--recovery-key", "/root/recovery", "--yes")


def spoil(round):
    for number in range(0, 40, 3):
        write(f"many/{number}", f"spoiled {round}\n")
    write(f"extra/{round}", "extra\n")
    os.unlink(f"{WORK}/link")
    return picture(WORK)


status, _, err = run(*OFFLINE)
claim(status == 5, "while the daemon runs nothing is restored without it", (status, err))
dsmil("tokens", "set", f"{TOKEN}={held + 1}")
run("/usr/lib/laptop/daemon.sh", "stop")
spoil("first")
began = time.time()
status, said, err = run(*OFFLINE)
took = time.time() - began
claim(status == 0 and picture(WORK) == before, f"without the daemon a checkpoint comes back: {said.strip().splitlines()[-1:]}", err)
status, _, err = run("/usr/lib/laptop/daemon.sh", "start")
claim(status == 0 and token() == held, "the daemon starts on it, and the token is back", (err, token()))
accepted = dsmil("log", "search", "--fact", "accepted", "restore")[1].splitlines()
claim(dsmil("log", "verify")[0] == 0 and dsmil("checkpoint", "verify", "first")[0] == 0, "the log that it wrote holds")
for round in range(6):
    run("/usr/lib/laptop/daemon.sh", "stop")
    spoiled = spoil(round)
    cut = subprocess.Popen(OFFLINE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(took * (round + 2) / 8)
    cut.kill()
    cut.wait()
    if round % 2:
        status, _, err = run(*OFFLINE)
        claim(status == 0 and picture(WORK) == before, f"SIGKILL {round}: the same command takes it up", err)
        run("/usr/lib/laptop/daemon.sh", "start")
    else:
        status, _, err = run("/usr/lib/laptop/daemon.sh", "start")
        now = picture(WORK)
        claim(status == 0 and now in (before, spoiled), f"SIGKILL {round}: a start of the daemon finds the old or the new, and no half", err)
        dsmil("checkpoint", "restore", "first", "--yes")
    claim(picture(WORK) == before and not any(map(os.path.exists, LEFT)), f"SIGKILL {round}: nothing is left over")
claim(len(dsmil("log", "search", "--fact", "accepted", "restore")[1].splitlines()) > len(accepted), "the log tells of each")
claim(dsmil("log", "verify")[0] == 0, "and still holds")
sys.exit(1 if failed else 0)
PYTHON
