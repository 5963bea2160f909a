#!/bin/bash
# Attacks on the daemon in the laptop: privileges, roles, floods, a killed helper, a full disk, damage and mistakes at the
# start. One line for each claim; status 1 if one does not hold.
exec python3 - <<'PYTHON'
import glob, hashlib, json, os, re, signal, socket, struct, subprocess, sys, threading, time

SOCKET, LOG, CONFIG, STATE, WORK = (
    "/run/dsmil/dsmild.sock", "/var/log/dsmild.log", "/etc/dsmil/dsmild.toml", "/var/lib/dsmil", "/srv/work")
MEMBER, OPERATOR, STRANGER = 2001, 2002, 2003
failed = 0


def claim(holds, text, why=""):
    global failed
    if holds:
        print("ok", text, flush=True)
    else:
        failed += 1
        print("FAIL", text, "--", why, flush=True)


def run(*words):
    done = subprocess.run(words, capture_output=True, text=True, errors="replace")
    return done.returncode, done.stdout + done.stderr


def daemon(*words):
    status, said = run("/usr/lib/laptop/daemon.sh", *words)
    if status:
        print("      ", said)
    return status == 0


def pid():
    return int(open("/run/dsmild.pid").read())


def gone(process, seconds=60):
    for _ in range(seconds * 20):
        try:
            if open(f"/proc/{process}/stat").read().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def helper(of=None, kind="restore"):
    of = of or pid()
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            state, parent = open(path).read().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        number = path.split("/")[2]
        try:
            words = open(f"/proc/{number}/cmdline").read().split("\0")
        except OSError:
            continue
        if int(parent) == of and state != "Z" and kind in words:
            return int(number)


def status_of(path):
    lines = (line.split(":", 1) for line in open(path) if ":" in line)
    return {name: value.split() for name, value in lines}


class Client:
    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(120)
        self.socket.connect(SOCKET)

    def write(self, body):
        self.socket.sendall(struct.pack(">I", len(body)) + body)

    def send(self, identity=None, **command):
        identity = identity or os.urandom(16).hex()
        self.write(json.dumps({"id": identity, "command": command}).encode())
        return identity

    def bytes(self, count):
        got = b""
        while len(got) < count:
            more = self.socket.recv(count - len(got))
            if not more:
                raise EOFError
            got += more
        return got

    def receive(self):
        return json.loads(self.bytes(struct.unpack(">I", self.bytes(4))[0]))

    def end(self):
        while (response := self.receive())["reply"] == "progress":
            pass
        return response

    def until(self, phase):
        while (response := self.receive())["reply"] == "progress":
            if response["phase"] == phase:
                return True
        raise RuntimeError(response)

    def ask(self, identity=None, **command):
        self.send(identity, **command)
        return self.end()


def outcome(response):
    return response.get("code") or response["reply"]


def become(uid, groups):
    os.setgroups(groups)
    os.setgid(uid if uid == STRANGER else groups[0])
    os.setuid(uid)


def as_user(uid, act, groups=None):
    """Forks, becomes the user, acts, brings the result back."""
    groups = [GROUP] if groups is None else groups
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            become(uid, groups)
            result = act()
        except BaseException as error:
            result = f"{type(error).__name__}: {error}"
        with os.fdopen(writer, "w") as out:
            json.dump(result, out)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as text:
        result = json.load(text)
    os.waitpid(child, 0)
    return result


def picture():
    # A folder's size is left out: it grows with its most entries and never shrinks.
    return run("bash", "-c", f"cd {WORK} && find . -type d -printf '%P %y %m %U %G %T@\\n' -o"
               " -printf '%P %y %m %U %G %s %T@\\n' | LC_ALL=C sort &&"
               " find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum")[1]


def fill(content, files=100):
    for number in range(files):
        with open(f"{WORK}/{content}-{number}" if number % 4 == 0 else f"{WORK}/file-{number}", "w") as file:
            file.write(content * 2000)


def is_back(before):
    now = picture()
    if now != before:
        changed = sorted(set(now.splitlines()) ^ set(before.splitlines()))
        print("       not as before:", *changed[:6], f"({len(changed)} lines)", sep="\n         ")
    return now == before


def said_since(place):
    with open(LOG, errors="replace") as log:
        log.seek(place)
        return log.read()


def end_of_log():
    return os.path.getsize(LOG)


GROUP = next(int(line.split(":")[2]) for line in open("/etc/group") if line.startswith("dsmil:"))
for name, uid in (("member", MEMBER), ("deputy", OPERATOR), ("stranger", STRANGER)):
    run("useradd", "--no-create-home", "--uid", str(uid), name)
good = open(CONFIG).read()
good += '\n[people]\noperators = ["deputy"]\n'
open(CONFIG, "w").write(good)
claim(daemon("restart"), "the daemon starts anew with another configuration")

# Privileges.
# Two of the helper's are for databases, of which this laptop has one.
READ_ALL, RESTORE = 0x4 | 1 << 28, 0x8000001F | 0xC0
wrong = []
for task in glob.glob(f"/proc/{pid()}/task/*"):
    fields, name = status_of(task + "/status"), open(task + "/comm").read().strip()
    held = {cap: int(fields[cap][0], 16) for cap in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    if "0" in fields["Uid"] + fields["Gid"] or fields["Groups"] or fields["NoNewPrivs"] != ["1"] or \
            held["CapInh"] or held["CapAmb"] or any(held[cap] & ~READ_ALL for cap in held):
        wrong.append((name, fields["Uid"], fields["Groups"], fields["NoNewPrivs"], held))
claim(not wrong, "each thread of the daemon: no root, no groups, CAP_DAC_READ_SEARCH and CAP_LEASE at most, no new privileges", wrong)
fields = status_of(f"/proc/{helper()}/status")
held = {cap: int(fields[cap][0], 16) for cap in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
claim(held == {"CapInh": 0, "CapPrm": RESTORE, "CapEff": RESTORE, "CapBnd": RESTORE, "CapAmb": 0}
      and fields["NoNewPrivs"] == ["1"] and not fields["Groups"] and fields["Threads"] == ["1"],
      "the helper holds its eight capabilities and no group", (held, fields["Groups"]))
files = {os.readlink(path) for path in glob.glob(f"/proc/{helper()}/fd/*")}
strange = [file for file in files if file not in ("/dev/null", LOG, WORK, os.path.dirname(WORK)) and not file.startswith("socket:")]
claim(not strange, "the helper has its folder, the one above it, and has inherited no file", strange)
SPAWN = 0x4 | 1 << 5 | 0xC0 | 1 << 8 | 1 << 24
spawner = helper(kind="spawn")
fields = status_of(f"/proc/{spawner}/status")
held = {cap: int(fields[cap][0], 16) for cap in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
claim(held == {"CapInh": 0, "CapPrm": SPAWN, "CapEff": SPAWN, "CapBnd": SPAWN, "CapAmb": 0}
      and fields["NoNewPrivs"] == ["1"] and not fields["Groups"] and fields["Threads"] == ["1"],
      "the helper of agents holds six capabilities and no group", (held, fields["Groups"]))
files = {os.readlink(path) for path in glob.glob(f"/proc/{spawner}/fd/*")}
strange = [file for file in files if file not in ("/dev/null", LOG) and not file.startswith(("socket:", "/sys/fs/cgroup/"))]
claim(not strange, "it has its cgroups and nothing else", strange)
for number in (signal.SIGTERM, signal.SIGINT):
    os.kill(spawner, number)
time.sleep(0.3)
claim(helper(kind="spawn") is not None, "it leaves signals to the daemon")
claim(oct(os.stat(STATE).st_mode & 0o777) == "0o700" and oct(os.stat(SOCKET).st_mode & 0o777) == "0o660",
      "state folder and socket are closed to others")
os.kill(helper(), signal.SIGTERM)
os.kill(helper(), signal.SIGINT)
time.sleep(0.3)
claim(helper() is not None, "the helper leaves signals to the daemon")

# Roles.
fill("a")
before = picture()
claim(Client().ask(command="create_checkpoint", name="before")["reply"] == "done", "root takes a checkpoint")
claim(as_user(STRANGER, lambda: Client() and 1, []).__str__().startswith("PermissionError"), "a stranger cannot connect")
claim(as_user(STRANGER, lambda: os.listdir(STATE), []).__str__().startswith("PermissionError"), "nor look at the state")
write = dict(command="write_tokens", changes=[{"id": "0x8060", "value": 1}])
for uid, who, expected in (
        (MEMBER, "a member of the group", ["done", "done", "denied", "denied", "denied"]),
        (OPERATOR, "an operator", ["done", "done", "done", "denied", "denied"])):
    got = as_user(uid, lambda: [outcome(Client().ask(**command)) for command in (
        dict(command="status"), dict(command="plan_restore", which="before"),
        dict(command="create_checkpoint", name=f"of-{uid}"), dict(command="restore", which="before"), write)])
    claim(got == expected, f"{who} may do what the role allows: {got}", expected)
got = as_user(MEMBER, lambda: run("dsmil-direct", "write", "0x8060", "1")[0])
claim(got != 0, "a member cannot write past the daemon", got)
# Two users with the same id ask for two things; the same user asks for one.
same = os.urandom(16).hex()
first = Client().ask(same, command="create_checkpoint", name="same-id")
again = Client().ask(same, command="create_checkpoint", name="same-id")
other = as_user(OPERATOR, lambda: Client().ask(same, command="create_checkpoint", name="same-id"))
claim((first["reply"], again["reply"], outcome(other)) == ("done", "done", "invalid") and
      first["answer"] == again["answer"], "the same id again is the same request, of another user another", other)

# Floods.
def hold():
    held = []
    try:
        for _ in range(300):
            client = Client()
            client.send(command="facts", limit=10000)
            client.send(command="facts", limit=10000)
            held.append(client)
        for client in held:
            client.receive()
    except (EOFError, OSError) as error:
        pass
    open("/tmp/held", "w").write(str(len(held)))
    time.sleep(30)

os.path.exists("/tmp/held") and os.unlink("/tmp/held")
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
flood = threading.Thread(target=as_user, args=(MEMBER, hold))
flood.start()
while not os.path.exists("/tmp/held"):
    time.sleep(0.1)
claim(Client().ask(command="status")["reply"] == "done", "300 connections of a member do not keep root out")
claim(as_user(OPERATOR, lambda: outcome(Client().ask(command="status"))) == "done", "nor an operator")

def pest():
    """Asks without reading, as fast as it is let, for as long as the restore below runs."""
    clients = [Client() for _ in range(40)]
    for client in clients:
        client.socket.setblocking(False)
    body = {name: json.dumps({"id": os.urandom(16).hex(), "command": {"command": name, "which": "before"}}).encode()
            for name in ("checkpoint", "verify_checkpoint")}
    ends = time.time() + 15
    while time.time() < ends:
        for client in clients:
            try:
                for _ in range(50):
                    client.socket.send(struct.pack(">I", len(body["checkpoint"])) + body["checkpoint"])
            except BlockingIOError:
                pass
            except OSError:
                client.socket.close()
        time.sleep(0.01)
        for client in clients:
            try:
                client.socket.recv(1 << 16)
            except OSError:
                pass

flood.join()
fill("b")
pests = threading.Thread(target=as_user, args=(MEMBER, pest))
pests.start()
time.sleep(1)
response = Client().ask(command="restore", which="before")
claim(response["reply"] == "done" and is_back(before), "a member's flood of questions does not disturb a restore",
      response.get("message"))
pests.join()
memory = int(status_of(f"/proc/{pid()}/status")["VmHWM"][0])
claim(memory < 250_000, f"the daemon's memory stayed below 250 MB ({memory // 1000})")
for body in (b"", b"\0" * 100, b"[" * 200_000, b"\xff" * 1000,
             b'{"id":"' + b"A" * 32 + b'","command":{"command":"status"}}',
             b'{"id":"' + b"a" * 32 + b'","command":{"command":"restore","which":"before","which":"before"}}'):
    client = Client()
    client.write(body)
    response = client.receive()
    claim(outcome(response) == "invalid", f"refused: {body[:40]!r}", response)
client = Client()
client.socket.sendall(struct.pack(">I", 8 << 20))
claim(outcome(client.receive()) == "invalid", "a frame of 8 MiB is refused before it comes")

# A connection that closes, a daemon that is asked to stop, a helper that is killed: in the middle of a restore.
fill("c")
client = Client()
client.send(command="restore", which="before")
client.until("executing")
client.socket.close()
for _ in range(600):
    if not Client().ask(command="status")["answer"]["works"]:
        break
    time.sleep(0.1)
claim(is_back(before), "a restore goes on when its asker has gone")

fill("d")
client = Client()
client.send(command="restore", which="before")
client.until("executing")
process = pid()
# To all of them, as a service manager does.
os.kill(helper(), signal.SIGTERM)
os.kill(process, signal.SIGTERM)
response = client.end()
claim(gone(process) and response["reply"] == "done" and is_back(before), "SIGTERM lets a restore end", response)
claim(daemon("start"), "and the daemon starts again")

place, process = end_of_log(), pid()
os.kill(helper(), signal.SIGKILL)
claim(gone(process) and "the restore helper has ended" in said_since(place), "without its helper the daemon stops and says so")
claim(daemon("start") and helper() is not None, "and starts again with a new one")

place, process = end_of_log(), pid()
os.kill(helper(kind="spawn"), signal.SIGKILL)
claim(gone(process) and "the helper of agents has ended" in said_since(place), "nor goes it on without that of agents")
claim(daemon("start") and helper(kind="spawn") is not None, "and starts again with a new one")

for phase in ("preparing", "executing", "verifying", "cleaning up"):
    fill("e")
    client, process, place = Client(), pid(), end_of_log()
    client.send(command="restore", which="before")
    client.until(phase)
    os.kill(helper(), signal.SIGKILL)
    try:
        response = client.end()
    except (EOFError, OSError):
        response = None
    ended = gone(process)
    claim(ended and (response is None or response["reply"] == "done"),
          f"helper killed while {phase}: the daemon stops and claims nothing", response)
    claim(daemon("start") and is_back(before) and not Client().ask(command="status")["answer"]["works"],
          f"helper killed while {phase}: the next start takes the restore up", said_since(place))
    claim(not os.path.exists(f"{WORK}/.dsmil-restore"), "nothing is left over")

# A full disk.
room = os.open(f"{STATE}/filler", os.O_CREAT | os.O_WRONLY)
for size in (1 << 20, 4096, 512):
    try:
        while os.write(room, b"x" * size):
            pass
    except OSError:
        pass
os.fsync(room)
# Orders are recorded as long as what is prepared lasts; looking at unknown tokens costs the firmware nothing.
long = [{"id": f"0x{0x9000 + number:04x}"} for number in range(512)]
client, codes = Client(), [""]
while codes[-1] in ("", "done") and len(codes) < 4000:
    codes.append(outcome(client.ask(command="read_tokens", items=long)))
claim(codes[-1] == "no_room", f"a full disk refuses orders (after {len(codes) - 2})", codes[-1])
claim(outcome(Client().ask(command="create_checkpoint", name="too-much")) == "no_room", "a checkpoint too")
claim(as_user(MEMBER, lambda: outcome(Client().ask(**write))) == "no_room", "and a denial needs no room either")
answer = Client().ask(command="facts", limit=5)
claim(answer["reply"] == "done" and Client().ask(command="status")["reply"] == "done", "queries are answered all the same")
claim(daemon("restart"), "the daemon stops in order and starts on a full disk")
claim(daemon("kill") and daemon("start"), "it starts on a full disk after SIGKILL")
daemon("stop")
claim(run("dsmil", "log", "verify")[0] == 0, "the log holds", run("dsmil", "log", "verify")[1])
os.close(room)
os.unlink(f"{STATE}/filler")
claim(daemon("start"), "it starts once there is space")
response = {}
for _ in range(50):
    response = Client().ask(command="create_checkpoint", name=f"after-{os.urandom(4).hex()}")
    if outcome(response) != "no_room":
        break
    time.sleep(0.1)
claim(outcome(response) == "done", "once there is space, orders are taken again", response)
claim(run("dsmil", "checkpoint", "verify", "before")[0] == 0 and run("dsmil", "log", "verify")[0] == 0, "nothing is lost")

# Mistakes and damage at the start.
claim(run("rmmod", "dsmil")[0] != 0, "the module stays while the daemon uses it")
status, said = run("dsmild")
claim(status == 1 and "another dsmild answers" in said, "a second daemon is refused", said)
claim(Client().ask(command="status")["reply"] == "done", "and does not disturb the first")
daemon("stop")


def refuses(text, *named, config=good):
    open(CONFIG, "w").write(config)
    status, said = run("timeout", "30", "dsmild")
    claim(status == 1 and all(name in said for name in named), f"refused at the start: {text}", said)
    open(CONFIG, "w").write(good)


top = lambda line: line + "\n" + good
refuses("no TOML", "not understood", config="tokens = [")
refuses("an unknown key", "roost", config=top('roost = 1'))
refuses("a wrong type", "without", config=top("without = 1"))
refuses("an unknown user", "nobody-here", config=good.replace('"deputy"', '"nobody-here"'))
refuses("root as the user", "does not run as root", config=top('user = "root"'))
refuses("another list than the sealed one", "0x8068", config=good.replace('"0x8067"', '"0x8067", "0x8068"'))
refuses("a root that is not there", "/srv/none", config=good.replace('/srv/work', '/srv/none'))
refuses("roots in each other", "contain each other", config=good.replace('["/srv/work"]', '["/srv/work", "/srv"]'))
refuses("a foreign state folder", "/etc", "chown", config=top('state = "/etc"'))
claim(os.stat("/etc").st_uid == 0 and os.stat("/etc").st_mode & 0o777 == 0o755, "which stays as it was")
refuses("a socket's place that is taken", "no socket", config=top('socket = "/etc/passwd"'))
claim(os.path.exists("/etc/passwd"), "and what is there stays")
refuses("no TPM", "TPM", config=good + '\n[tpm]\ntcti = "device:/dev/no-tpm"\n')
os.chmod(CONFIG, 0o666)
refuses("a configuration that others may write", "belong to root")
os.chmod(CONFIG, 0o644)
os.chown(CONFIG, MEMBER, 0)
refuses("a configuration of another user", "belong to root")
os.chown(CONFIG, 0, 0)
os.rename(CONFIG, CONFIG + ".aside")
os.mkfifo(CONFIG)
status, said = run("timeout", "30", "dsmild")
claim(status == 1 and "not a file" in said, "refused at the start: a FIFO as configuration", said)
os.unlink(CONFIG)
os.rename(CONFIG + ".aside", CONFIG)

stale = socket.socket(socket.AF_UNIX)
os.path.exists(SOCKET) and os.unlink(SOCKET)
stale.bind(SOCKET)
stale.close()
claim(daemon("start"), "a stale socket is replaced")
daemon("kill")
log = sorted(glob.glob(f"{STATE}/log/*.log"))[0]
content = open(log, "rb").read()
place = content.index(b"before")
with open(log, "r+b") as file:
    file.seek(place)
    file.write(b"B")
digest = lambda: [(name, hashlib.sha256(open(name, "rb").read()).hexdigest()) for name in sorted(glob.glob(f"{STATE}/log/*")) if os.path.isfile(name)]
damaged = digest()
refuses("a damaged entry", "starting must not mean forgetting", "entr")
claim(digest() == damaged, "and nothing is overwritten")
with open(log, "r+b") as file:
    file.seek(place)
    file.write(b"b")
os.rename(f"{STATE}/repository.key", f"{STATE}/repository.aside")
refuses("the repository's key is gone", "repository.key", "bring it back")
os.rename(f"{STATE}/repository.aside", f"{STATE}/repository.key")
run("chown", "-R", "root:root", STATE)
refuses("a state folder of another owner", "chown -R dsmil")
run("chown", "-R", "dsmil:dsmil", STATE)
claim(daemon("start"), "put right, it starts")

# The disk is put back to what it was; the TPM remembers.
FOLDER = f"{STATE}/log"


def put(copy):
    run("rm", "-rf", FOLDER)
    run("cp", "-a", copy, FOLDER)


def noted(text):
    reply = Client().ask(command="note", kind="test", text=text)
    time.sleep(2.5)  # A head is signed within a second, and counted.
    return reply["reply"] == "done"


def told():
    answer = Client().ask(command="tpm")["answer"]
    return answer["anchor"], answer["log"]


daemon("stop")
run("cp", "-a", FOLDER, "/root/stopped")
claim(daemon("start") and noted("one"), "a note is taken")
begun, log = told()
run("cp", "-a", FOLDER, "/root/running")
claim(noted("two"), "and another")
now, log = told()
claim(begun["found"] == {"made": False, "window_open": False, "heads_ahead": 0}, "after a start in order the window was closed", begun)
# What was put into the log after the copy is in what would be missed, and the anchor has not moved.
claim(begun["noticed"] < now["noticed"] == log["signed"] == log["size"] and now["heads"] > begun["heads"] and
      begun["noticed_unpowered"] == now["noticed_unpowered"] < begun["noticed"], "the daemon tells what the TPM would notice", (begun, now, log))
status, said = run("dsmil", "tpm", "status")
claim(status == 0 and f"any of the first {now['noticed']} is noticed now; after a power loss, any of the first {now['noticed_unpowered']}." in said,
      "and the command says it", said)
daemon("kill")
run("cp", "-a", FOLDER, "/root/newest")
put("/root/stopped")
refuses("an older copy of the log", "older copy", "--accept-anchor")
put("/root/running")
refuses("a copy of a moment ago, while the TPM keeps its power", "older copy")
run("rm", "-rf", FOLDER)
refuses("no log, where the TPM knows of one", "does not know of")
claim(run("ls", FOLDER)[0] == 0 and run("rm", "-rf", FOLDER), "what it made of it is another log")
put("/root/newest")
claim(daemon("start"), "the newest is taken")
daemon("stop")
put("/root/stopped")
accepted = subprocess.Popen(["dsmild", "run", "--accept-anchor", "a test put it back"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
for _ in range(600):
    if run("dsmil", "status", "--quiet")[0] == 0:
        break
    time.sleep(0.1)
said = run("dsmil", "log", "search", "--fact", "anchored", "a test put it back")[1]
claim("older copy" in said and "accepted" in said, "an older copy is taken with a reason, which is recorded", said)
claim(told()[0]["found"]["made"], "and that the anchor is new is told")
accepted.terminate()
claim(accepted.wait(60) == 0, "and it stops in order")
claim(daemon("start"), "and starts from then on")

# The TPM's own statement is the owner's to give away, and holds what was asked for.
quote = {"command": "quote", "nonce": "00c0ffee" * 4, "pcrs": [0, 7]}
for uid in (MEMBER, OPERATOR):
    got = as_user(uid, lambda: outcome(Client().ask(**quote)))
    claim(got == "denied", f"user {uid} gets no quote", got)
status, said = run("dsmil", "--json", "tpm", "quote", "--nonce", quote["nonce"], "--pcr", "0,7")
said = json.loads(said[said.index('{"answer"'):])["answer"] if status == 0 else said
claim(status == 0 and quote["nonce"] in said["statement"] and
      hashlib.sha256(bytes.fromhex("".join(pcr["value"] for pcr in said["pcrs"]))).hexdigest() in said["statement"],
      "root's quote has nonce and PCRs", said)

# A second signal stops at once, also while the first waits for a restore.
fill("f")
client = Client()
client.send(command="restore", which="before")
client.until("preparing")
process = pid()
os.kill(process, signal.SIGTERM)
time.sleep(0.05)
os.kill(process, signal.SIGTERM)
claim(gone(process), "a second SIGTERM stops at once")
claim(daemon("start") and is_back(before), "and the next start takes the restore up")
claim(run("dsmil", "log", "verify")[0] == 0, "the log holds to the end")
kernel = run("dmesg")[1]
claim(not re.search(r"BUG:|WARNING:|Oops|general protection", kernel), "nothing in the kernel's log")
panics = re.findall(r"panicked at.*", open(LOG, errors="replace").read())
claim(not panics, "no panic", panics)
sys.exit(1 if failed else 0)
PYTHON
