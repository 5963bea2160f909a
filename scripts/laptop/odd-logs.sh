#!/bin/bash
# What the daemon makes of a log that is not as it left it: archived, damaged behind its snapshot and before it, salvaged. One line for
# each claim; status 1 if one does not hold.
exec python3 - <<'PYTHON'
import glob, json, os, re, socket, struct, subprocess, sys, time

SOCKET, OUT, CONFIG, STATE = "/run/dsmil/dsmild.sock", "/var/log/dsmild.log", "/etc/dsmil/dsmild.toml", "/var/lib/dsmil"
LOG, ARCHIVE, KEY, HEAD = f"{STATE}/log", "/srv/archive", "/root/key.pem", "/root/head"
failed = 0


def claim(holds, text, why=""):
    global failed
    failed += not holds
    print("ok" if holds else "FAIL", text, *([] if holds else ["--", why]), flush=True)


def run(*words):
    done = subprocess.run(words, capture_output=True, text=True, errors="replace")
    return done.returncode, done.stdout + done.stderr


def owner(*words):
    return run("setpriv", "--reuid", "dsmil", "--regid", "dsmil", "--clear-groups", "dsmil", *words)


def daemon(word):
    status, said = run("/usr/lib/laptop/daemon.sh", word)
    claim(status == 0, f"daemon: {word}", said)


def said_since(place):
    with open(OUT, errors="replace") as log:
        log.seek(place)
        return log.read()


def notes(first, count, size):
    """So many notes, 32 asked for at once; the places of the first and the last."""
    connection, places = socket.socket(socket.AF_UNIX), []
    connection.connect(SOCKET)
    replies = connection.makefile("rb")
    for begin in range(first, first + count, 32):
        numbers = range(begin, min(begin + 32, first + count))
        for number in numbers:
            text = f"note-{number}-" + "x" * size
            body = json.dumps({"id": os.urandom(16).hex(), "command": {"command": "note", "kind": "odd", "text": text}}).encode()
            connection.sendall(struct.pack(">I", len(body)) + body)
        for _ in numbers:
            reply = json.loads(replies.read(struct.unpack(">I", replies.read(4))[0]))
            places.append(reply["answer"]["index"])
    return min(places), max(places)


def place_of(text):
    """File and offset of a text in the log's entries."""
    for name in sorted(glob.glob(f"{LOG}/*.log")):
        with open(name, "rb") as file:
            offset = file.read().find(text.encode())
        if offset >= 0:
            return name, offset
    raise LookupError(text)


def flip(place):
    name, offset = place
    with open(name, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def refuses(text, *named):
    status, said = run("timeout", "30", "dsmild")
    claim(status == 1 and all(name in said for name in named), f"refused at the start: {text}", said)
    return said


def stops(seconds=30):
    pid = open("/run/dsmild.pid").read()
    for _ in range(seconds * 20):
        try:
            if open(f"/proc/{pid.strip()}/stat").read().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


# Small files, so that there are some to archive.
good = open(CONFIG).read()
open(CONFIG, "w").write(good.replace("[log]", "[log]\nfile_mib = 1"))
daemon("restart")
first, last = notes(0, 1200, 2500)
time.sleep(1.5)  # A head is signed within a second.
for name, copy in (("key.pem", KEY), ("checkpoint", HEAD)):
    run("cp", f"{LOG}/{name}", copy)
daemon("stop")
claim(len(glob.glob(f"{LOG}/*.log")) >= 3 and glob.glob(f"{LOG}/*.snap"), "a log of several files, and a snapshot", os.listdir(LOG))

# Archived.
os.mkdir(ARCHIVE)
run("chown", "dsmil:dsmil", ARCHIVE)
status, said = owner("log", "archive", ARCHIVE, "--before", "700", "--yes")
kept = sorted(int(os.path.basename(name)[:20]) for name in glob.glob(f"{LOG}/*.log"))[0]
claim(status == 0 and f"archived entries 0 to {kept - 1}" in said and 5 < kept <= 700, "old entries are archived", said)
daemon("start")
after, _ = notes(1200, 40, 300)
claim(after > last, "the daemon starts on an archived log, and appends")
time.sleep(1.5)
status, said = run("dsmil", "log", "verify", "--key", KEY, "--head", HEAD)
claim(status == 0 and f"entries 0 to {kept - 1} are archived" in said, "it verifies against a head from before", said)
status, said = run("dsmil", "log", "prove", "5", "--archive", ARCHIVE, "--out", "/root/proof")
claim(status == 0, "an archived entry is proven from the archive", said)
status, said = run("dsmil", "log", "verify-proof", "/root/proof", "--key", KEY)
claim(status == 0 and "entry   5 of" in said, "and the proof holds with the key alone", said)
status, said = run("dsmil", "log", "show", "5")
claim(status != 0 and "--archive" in said, "without the archive it is said where it is", said)
status, said = run("dsmil", "status", "--at", "5")
claim(status != 0 and "archived" in said, "the state before that is not made up", said)
status, said = run("dsmil", "status", "--at", str(after))
claim(status == 0, "the state after it is told", said)
daemon("kill")
daemon("start")
claim(run("dsmil", "log", "tail", "-n", "1")[0] == 0, "it starts again after SIGKILL")

# Damage before the snapshot: the start does not read there, the scrub does.
daemon("stop")
old, new = place_of("note-900-"), place_of("note-1210-")
begin = os.path.getsize(OUT)
flip(old)
run("/usr/lib/laptop/daemon.sh", "start")
claim(stops(), "damage before the snapshot stops the daemon when the scrub comes there")
said = said_since(begin)
claim(os.path.basename(old[0]) in said and re.search(r"entry \d+ is damaged", said) and "salvage" in said, "which says where, and what to do", said)
status, said = run("dsmil", "log", "verify")
claim(status == 7 and os.path.basename(old[0]) in said, "verify says the same", said)
flip(old)

# Damage behind it: the start reads there.
flip(new)
said = refuses("an entry behind the snapshot", os.path.basename(new[0]), "is damaged", "at byte", "dsmil log salvage")
entry = int(re.search(r"entry (\d+) is damaged", said)[1])
claim(entry >= after, f"it names entry {entry}", said)

# Salvaged.
def salvaged(*more):
    run("rm", "-rf", f"{STATE}/log.new")
    return owner("log", "salvage", f"{STATE}/log.new", *more)


def put(folder):
    run("rm", "-rf", LOG)
    run("mv", folder, LOG)


def lost(said):
    """The first entry that is lost: the first of the damaged batch."""
    found = re.search(r"lost +entries (\d+) to", said)
    return int(found[1]) if found else -1


run("cp", "-a", LOG, f"{STATE}/log.damaged")
status, said = salvaged()
claim(status == 7 and after <= lost(said) <= entry and "does not start from the copy" in said, "salvage copies what is before", said)
put(f"{STATE}/log.new")
refuses("a copy without the archived entries", f"the entries before {kept}", "archived", "--archive")
put(f"{STATE}/log.damaged")
status, said = salvaged("--archive", ARCHIVE)
first_lost = lost(said)
claim(status == 7 and after <= first_lost <= entry, "salvage with the archive copies them too", said)
put(f"{STATE}/log.new")
refuses("the TPM knows of more than the salvaged log has", "older copy", "--accept-anchor")
accepted = subprocess.Popen(["dsmild", "run", "--accept-anchor", "salvaged by a test"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
for _ in range(600):
    if run("dsmil", "status", "--quiet")[0] == 0:
        break
    time.sleep(0.05)
status, said = run("dsmil", "log", "search", "--fact", "anchored", "salvaged by a test")
claim(status == 0 and "accepted" in said, "with a reason it goes on, and the reason is a fact", said)
claim(notes(2000, 3, 10)[0] >= first_lost, "and it appends")
accepted.terminate()
claim(accepted.wait(60) == 0, "and stops in order")
daemon("start")
status, said = run("dsmil", "log", "verify", "--key", KEY, "--head", HEAD)
claim(status == 0 and "archived" not in said, "it verifies as a whole, from the first entry on and behind the head from before", said)

# What an answer acknowledges is in the log, and can be proven.
status, said = run("dsmil", "tokens", "get", "0x8060", "--json")
claim(status == 0, "a token is read", said)
value = json.loads(said)["answer"]["values"][0]["value"] if status == 0 else 0
status, said = run("dsmil", "tokens", "set", f"0x8060={value ^ 1}", "--json")
facts = json.loads(said).get("behind", {}).get("facts", {"last": 0})
claim(status == 0 and facts.get("first", 1 << 60) <= facts["last"], "the answer to an order says where the log has it", said)
run("dsmil", "tokens", "set", f"0x8060={value}")
status, said = run("dsmil", "log", "show", str(facts["last"]))
claim(status == 0 and "finished" in said.lower(), "there is the end of the order", said)
time.sleep(1.5)
status, said = run("dsmil", "log", "prove", str(facts["last"]), "--out", "/root/acknowledged")
claim(status == 0 and run("dsmil", "log", "verify-proof", "/root/acknowledged", "--key", KEY)[0] == 0, "and a proof of it", said)
daemon("stop")

# Without a TPM, where the configuration says so.
SOFT = "/var/lib/dsmil-soft"
good = open(CONFIG).read()


def begins(config, wait=120):
    """Starts a daemon under another configuration until it answers; none where it ends by itself."""
    with open("/root/soft.toml", "w") as file:
        file.write(config)
    said = open("/root/soft.log", "w")
    process = subprocess.Popen(["dsmild", "--config", "/root/soft.toml"], stdout=said, stderr=said)
    for _ in range(wait * 20):
        if process.poll() is not None:
            return None
        if run("dsmil", "status", "--quiet")[0] == 0:
            return process
        time.sleep(0.05)
    return process


def soft(without, tcti="device:/dev/nothing"):
    return f'state = "{SOFT}"\nwithout = {without}\n{good}\n[tpm]\ntcti = "{tcti}"\n'


claim(begins(soft("[]")) is None and "without = [\"tpm\"]" in open("/root/soft.log").read(), "without a TPM it does not start unless told to",
      open("/root/soft.log").read())
process = begins(soft('["tpm"]'))
claim(process is not None, "told to, it starts", open("/root/soft.log").read())
status, said = run("dsmil", "status", "--json")
missing = json.loads(said)["behind"]["missing"] if status == 0 else []
claim([one.split(":")[0] for one in missing] == ["tpm", "anchor"], "each reply says what is missing", said)
status, said = run("dsmil", "checkpoint", "create", "soft")
claim(status == 0, "a checkpoint is taken", said)
status, said = run("dsmil", "tpm", "status")
claim(status == 0 and "software" in said.lower(), "the TPM's status calls it software", said)
status, said = run("dsmil", "tpm", "quote", "--nonce", "00112233")
claim(status != 0 and "panicked" not in said, "a quote is refused", said)
time.sleep(1.5)
status, said = run("dsmil", "log", "verify", "--dir", f"{SOFT}/log", "--key", f"{SOFT}/log/key.pem")
claim(status == 0 and "a key in software signs" in said, "the head says so, and verify tells", said)
process.terminate()
claim(process.wait(60) == 0, "it stops in order")
claim(begins(soft("[]", "device:/dev/tpmrm0")) is None and "software-key" in open("/root/soft.log").read(),
      "a TPM does not take over what a key in software began", open("/root/soft.log").read())
process = begins(soft('["tpm"]', "device:/dev/tpmrm0"))
status, said = run("dsmil", "checkpoint", "verify", "soft")
claim(process is not None and status == 0, "with the setting it goes on with its own key", said)
process.terminate()
process.wait(60)
daemon("start")
sys.exit(1 if failed else 0)
PYTHON
