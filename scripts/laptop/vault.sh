#!/bin/bash
# The vault in the laptop: what is sealed opens where it should, and each wrong machine, policy and blob is refused with its own
# message. One line for each claim; status 1 if one does not hold.
exec python3 - <<'PYTHON'
import binascii, glob, hashlib, json, os, re, select, socket, struct, subprocess, sys, time

LOG, CONFIG, STATE, DIR = "/var/log/dsmild.log", "/etc/dsmil/dsmild.toml", "/var/lib/dsmil", "/root/vault"
failed = 0


def claim(holds, text, why=""):
    global failed
    if holds:
        print("ok", text, flush=True)
    else:
        failed += 1
        print("FAIL", text, "--", why, flush=True)


def run(*words, given=None):
    done = subprocess.run(words, input=given, capture_output=True)
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


def dsmil(*words, given=None):
    return run("dsmil", *words, given=given)


def refused(text, message, *words, code=1):
    status, out, said = dsmil(*words)
    claim(status == code and message in said, f"{text}: refused, “{message}”", f"{status} {out} {said}")


def done(text, *words, given=None):
    status, out, said = dsmil(*words, given=given)
    claim(status == 0, text, said)
    return out


def daemon(*words):
    return run("/usr/lib/laptop/daemon.sh", *words)


def standing():
    return json.loads(dsmil("tpm", "status", "--json")[1])["answer"]["vault"]


def opened(blob="blob"):
    return dsmil("tpm", "unseal", blob)


def ask(**command):
    """The daemon, asked without our command."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(60)
        line.connect("/run/dsmil/dsmild.sock")
        body = json.dumps({"id": os.urandom(16).hex(), "command": command}).encode()
        line.sendall(struct.pack(">I", len(body)) + body)
        answer = line.makefile("rb")
        return json.loads(answer.read(struct.unpack(">I", answer.read(4))[0]))


def base64(bytes_of):
    return binascii.b2a_base64(bytes_of, newline=False).decode()


def on_a_terminal(words, answer):
    """Runs on a terminal of its own; `answer` is given all that was said, until it answers."""
    child, terminal = os.forkpty()
    if child == 0:
        os.execvp(words[0], words)
    said, answered = "", False
    while True:
        try:
            if not select.select([terminal], [], [], 60)[0]:
                break
            part = os.read(terminal, 4096)
        except OSError:
            break
        if not part:
            break
        said += part.decode(errors="replace")
        if not answered and (reply := answer(said)) is not None:
            answered = True
            os.write(terminal, reply.encode() + b"\n")
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


def from_paper(said):
    asked = re.search(r"Type group (\d) of it", said)
    if not asked:
        return None
    key = re.search(r"([0-9A-Z]{8}-){8}[0-9A-Z]{4}", said).group(0)
    open("paper", "w").write(key)
    return key.split("-")[int(asked.group(1)) - 1]


# P-256 in the plainest arithmetic: a policy key of its owner's own, made where nothing of ours runs.
P, A = 2**256 - 2**224 + 2**192 + 2**96 - 1, -3
G = (0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
     0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5)


def add(one, other):
    if one is None or other is None:
        return one or other
    if one == other:
        slope = (3 * one[0] ** 2 + A) * pow(2 * one[1], -1, P)
    else:
        slope = (other[1] - one[1]) * pow(other[0] - one[0], -1, P)
    x = (slope**2 - one[0] - other[0]) % P
    return x, (slope * (one[0] - x) - one[1]) % P


def policy_key(name):
    scalar, point, power = int.from_bytes(os.urandom(31)), None, G
    for bit in range(248):
        point = add(point, power) if scalar >> bit & 1 else point
        power = add(power, power)
    point = b"\4" + b"".join(part.to_bytes(32) for part in point)
    curve = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")
    private = b"\x30\x6b\2\1\1\4\x20" + scalar.to_bytes(32) + b"\xa1\x44\3\x42\0" + point
    pem(f"{name}.pem", "PRIVATE KEY", b"\x30\x81\x87\2\1\0" + curve + b"\4\x6d" + private)
    pem(f"{name}.public", "PUBLIC KEY", b"\x30\x59" + curve + b"\3\x42\0" + point)


def pem(path, what, der):
    text = binascii.b2a_base64(der, newline=False).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    open(path, "w").write("\n".join([f"-----BEGIN {what}-----", *lines, f"-----END {what}-----", ""]))


os.makedirs(DIR, exist_ok=True)
os.chdir(DIR)
open("secret", "wb").write(b"correct horse battery staple\0\n")
SECRET = open("secret", "rb").read()

# Provisioning.
refused("without a vault nothing is sealed", "dsmil tpm provision", "tpm", "seal", "secret", "--out", "none")
done("a checkpoint from before", "checkpoint", "create", "before")
status, said = on_a_terminal(["dsmil", "tpm", "provision", "--pcrs", "7,16"], lambda said: "WRONG" if from_paper(said) else None)
claim(status == 1 and "not the group" in said, "who does not copy the recovery key changes nothing", said)
claim(not standing()["provisioned"], "and there is no vault")
status, said = on_a_terminal(["dsmil", "tpm", "provision", "--pcrs", "7,16"], from_paper)
claim(status == 0 and "provisioned" in said, "the vault is made, the recovery key shown and a group typed back", said)
claim(standing()["policy_holds"] and standing()["wrapped"], "and its policy holds", standing())
claim(not os.path.exists(f"{STATE}/repository.key"), "the repository's key lies sealed under the policy alone")
refused("a second time", "there is a vault already", "tpm", "provision", "--recovery-key-out", "other")
claim(not os.path.exists("other"), "and leaves no recovery key behind")

# Sealing.
done("128 bytes at most are sealed", "tpm", "seal", "secret", "--out", "blob")
claim(opened()[1] == SECRET, "and open as they were")
refused("more than that", "more than 128 bytes", "tpm", "seal", f"{STATE}/vault", "--out", "none", code=2)
blob = bytearray(open("blob", "rb").read())
blob[-5] ^= 1
open("damaged", "wb").write(blob)
refused("a blob that was changed", "damaged", "tpm", "unseal", "damaged")
status, _, said = run("setpriv", "--reuid", "2001", "--regid", "dsmil", "--clear-groups", "dsmil", "tpm", "unseal", "-", given=bytes(blob))
claim(status == 4, "who is no owner unseals nothing", said)
log = dsmil("log", "tail", "-n", "200", "--json")[1]
claim(b"unseal" in log and b"horse" not in log, "the log names what was sealed and opened by hashes")
key = open("paper").read()
everything = b"".join(open(path, "rb").read() for path in glob.glob(f"{STATE}/**", recursive=True) + [LOG] if os.path.isfile(path))
claim(b"horse" not in everything and key.encode() not in everything and key[:8].encode() not in everything,
      "neither secret nor recovery key is on the disk")

# The machine is another one.
run("tpm2_pcrextend", "16:sha256=" + "11" * 32)
refused("PCRs that changed", "not those of the policy", "tpm", "unseal", "blob")
claim("not those of the policy" in standing()["failure"], "the status says so", standing())
status, _, said = daemon("restart")
claim(status == 0, "the daemon starts all the same", said)
claim(not standing()["open"], "with the repository locked", standing())
refused("checkpoints wait meanwhile", "locked", "checkpoint", "create", "locked")
claim(dsmil("log", "note", "works")[0] == 0, "everything else works")
other = "0" * 8 + key[8:]
open("other", "w").write(other)
refused("a mistyped recovery key", "group 1", "tpm", "policy", "renew", "--recovery-key", "other")
status, said = on_a_terminal(["dsmil", "tpm", "policy", "renew"], lambda said: key if "not shown" in said else None)
claim(status == 0 and "in force" in said, "new terms are signed with the recovery key", said)
claim(key[:8] not in said, "which is not shown while it is typed")
claim(opened()[1] == SECRET and standing()["open"], "what was sealed opens again, and the repository")
done("also the checkpoint from before", "checkpoint", "verify", "before")

# A vault that nobody authorised.
vault = open(f"{STATE}/vault", "rb").read()
changed = bytearray(vault[:-32])
# Key 6, the machine: 32 bytes.
changed[changed.index(b"\x06\x58\x20") + 3] ^= 1
answer = ask(command="install_vault", vault=base64(bytes(changed) + hashlib.sha256(changed).digest()))
claim("not authorised by its recovery key" in answer.get("message", ""), "a vault that was changed: refused", answer)
answer = ask(command="install_vault", vault=base64(vault[:-1]))
claim("no vault" in answer.get("message", ""), "half a vault: refused", answer)
claim(open(f"{STATE}/vault", "rb").read() == vault, "and the one that is there stays")

# Revocation and replay.
done("policies are revoked", "tpm", "policy", "revoke", "--yes")
refused("a revoked policy", "was revoked", "tpm", "unseal", "blob")
done("and new ones signed", "tpm", "policy", "renew", "--recovery-key", "paper")
claim(opened()[1] == SECRET, "after which it opens again")
answer = ask(command="install_vault", vault=base64(vault))
claim("was revoked" in answer.get("message", ""), "the vault of before with its policy: refused, “was revoked”", answer)
daemon("stop")
kept = open(f"{STATE}/vault", "rb").read()
open(f"{STATE}/vault", "wb").write(vault)
daemon("start")
refused("an old policy that is put back", "was revoked", "tpm", "unseal", "blob")
claim(not standing()["open"], "and the repository stays locked with it")
daemon("stop")
open(f"{STATE}/vault", "wb").write(kept)
daemon("start")
claim(opened()[1] == SECRET, "with the newest one it opens")

# Another TPM.
daemon("stop")
keys = f"{STATE}/log/key.pem"
old_key = open(keys).read()
run("tpm2_clear", "-c", "l")
status, _, said = daemon("start")
claim(status != 0 and "--new-machine" in said, "another TPM: the daemon does not start and says what to do", said)
before = os.path.getsize(LOG)
moved = subprocess.Popen(["dsmild", "run", "--new-machine", "the mainboard was changed"], stderr=open(LOG, "a"), stdin=subprocess.DEVNULL)
open("/run/dsmild.pid", "w").write(str(moved.pid))
for _ in range(900):
    if dsmil("status", "--quiet")[0] == 0 or moved.poll() is not None:
        break
    time.sleep(0.05)
said = open(LOG).read()[before:]
claim(moved.poll() is None, "with a reason it goes on", said)
claim(open(keys).read() != old_key and glob.glob(f"{STATE}/tpm/retired/*/signing.key"), "with a new identity; the old keys are kept")
found = dsmil("log", "search", "--fact", "moved", "--json")[1]
claim(b"the mainboard was changed" in found, "which is recorded", found)
refused("a blob of another TPM", "sealed by another TPM", "tpm", "unseal", "blob")
refused("the old policy on the new machine", "no revocation counter", "tpm", "policy", "renew", "--recovery-key", "paper")
answer = ask(command="install_vault", vault=base64(kept))
claim("for another machine" in answer.get("message", ""), "the vault of the old machine: refused, “for another machine”", answer)
open("stranger", "w").write(dsmil("tpm", "provision", "--help")[1].decode())
refused("what is no recovery key", "recovery key", "tpm", "recover", "--recovery-key", "stranger")
done("the recovery key opens the repository, and authorises the new machine", "tpm", "recover", "--recovery-key", "paper")
claim(standing()["open"] and standing()["policy_holds"], "the vault is this machine's", standing())
done("a checkpoint of the old machine is still believed", "checkpoint", "verify", "before")
done("sealing goes on", "tpm", "seal", "secret", "--out", "blob2")
claim(opened("blob2")[1] == SECRET, "on the new machine")
daemon("stop")
status, _, said = daemon("start")
claim(status == 0 and standing()["open"], "it starts again without being told", said)
done("a rescue shell opens the key without daemon and TPM", "tpm", "recover", "--offline", "--dir", STATE,
     "--recovery-key", "paper", "--out", "repository")
claim(os.stat("repository").st_mode & 0o777 == 0o600 and os.path.getsize("repository") == 32, "into a file of its owner's")

# The TPM's word on the log.
done("the TPM certifies the anchor", "tpm", "certify", "--nonce", "6f1d0c22", "--out", "anchor.json")
word = json.load(open("anchor.json"))
open("attestation.pem", "w").write(word["key"])
old, = glob.glob(f"{STATE}/log/key-*.pem")
claim(open(old).read() == old_key, "the old public key is kept for who verifies")
verify = ["log", "verify", "--certification", "anchor.json", "--attestation-key", "attestation.pem",
          "--anchor", word["anchor"], "--key", keys, "--key", old]
out = done("the log reaches what the TPM says of it", *verify, "--nonce", "6f1d0c22")
claim(b"rewound" in out and b"the TPM" in out, "and that is told", out)
refused("another nonce", "old one", *verify, "--nonce", "6f1d0c23", code=7)

# Forgetting.
open("earlier", "wb").write(open(f"{STATE}/vault", "rb").read())
refused("the anchor that the daemon relies on", "without", "tpm", "forget", "--anchor", "--yes")
done("the vault is forgotten", "tpm", "forget", "--yes")
claim(not standing()["provisioned"] and not os.path.exists(f"{STATE}/vault"), "and gone")
done("the checkpoints stay", "checkpoint", "verify", "before")
status, _, said = daemon("restart")
claim(status == 0 and standing()["open"], "also after a restart", said)
indices = run("tpm2_getcap", "handles-nv-index")[1].decode().lower()
claim("180d513" not in indices and "180d510" in indices, "the counter is gone from the TPM, the anchor is not", indices)

# The policy key elsewhere.
policy_key("policy")
policy_key("stranger")
done("a vault for a policy key that stays elsewhere", "tpm", "provision", "--policy-key-public", "policy.public",
     "--recovery-key-out", "paper2", "--pcrs", "7")
refused("a recovery with the paper of an earlier vault", "another recovery key", "tpm", "recover", "--vault", "earlier",
        "--recovery-key", "paper")
answer = ask(command="install_vault", vault=base64(open("earlier", "rb").read()))
claim("another recovery key" in answer.get("message", ""), "and so does the daemon refuse that vault", answer)
claim(os.stat("paper2").st_mode & 0o777 == 0o600, "its recovery key in a file that others cannot read")
done("what is to be signed is told", "tpm", "policy", "terms", "--out", "terms")
for name in ["policy", "stranger"]:
    done(f"it is signed without the daemon by the key “{name}”", "--socket", "/nonexistent", "tpm", "policy", "sign", "terms", "--key",
         f"{name}.pem", "--out", f"{name}.signed")
done("data is sealed before a policy is in force", "tpm", "seal", "secret", "--out", "blob3")
refused("and does not open before", "no policy is in force", "tpm", "unseal", "blob3")
refused("terms that a stranger signed", "not signed by the key", "tpm", "policy", "install", "stranger.signed")
refused("renewing without the key", "with its owner", "tpm", "policy", "renew", "--recovery-key", "paper2")
done("the owner's are installed", "tpm", "policy", "install", "policy.signed")
claim(opened("blob3")[1] == SECRET, "and open what was sealed")
done("they are revoked", "tpm", "policy", "revoke", "--yes")
refused("the same policy once more", "was revoked", "tpm", "policy", "install", "policy.signed")
done("what fits the machine now is signed", "tpm", "policy", "terms", "--out", "terms2")
done("with the key again", "tpm", "policy", "sign", "terms2", "--key", "policy.pem", "--out", "again.signed")
done("and installed", "tpm", "policy", "install", "again.signed")
claim(opened("blob3")[1] == SECRET, "after which it opens")
sys.exit(failed > 0)
PYTHON
