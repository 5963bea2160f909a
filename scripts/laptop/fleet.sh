#!/bin/bash
# Agents and workflows in the laptop, through the daemon as it ships: approval, runs of each mode, kills, misbehaviour, the emergency stop.
# The laptop has bash and python; the script is the second's.
exec python3 - "$@" <<'PYTHON'
import json, os, signal, subprocess, sys, time

AGENTS, WORK = "/etc/dsmil/agents", "/root/fleet"
failed = 0


def run(*command, check=True, stdin=None):
    done = subprocess.run(command, input=stdin, capture_output=True, text=True)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: status {done.returncode}: {done.stderr.strip()}")
    return done


def dsmil(*arguments, check=True):
    return run("dsmil", *arguments, check=check)


def answer(*arguments):
    return json.loads(dsmil("--json", *arguments).stdout)["answer"]


def claim(holds, what):
    global failed
    failed += not holds
    print(("ok   " if holds else "FAIL ") + what, flush=True)


def until(what, holds, seconds=30):
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            claim(False, f"{what}: not within {seconds} s")
            return False
        time.sleep(0.05)
    return True


def define(name, script, more=""):
    """An agent in Python, by its file and its program."""
    program = f"{WORK}/{name}.py"
    with open(program, "w") as file:
        file.write(HEAD + script)
    os.chmod(program, 0o755)
    with open(f"{AGENTS}/{name}.md", "w") as file:
        file.write(f"---\nname: {name}\ndescription: A test's.\ncommand: [/usr/bin/python3, {program}]\nretry: {{limit: 2, delay: 100ms}}\n{more}---\n")


HEAD = """import json, os, sys, time
def say(**message): print(json.dumps(message), flush=True)
def told():
    for line in sys.stdin:
        message = json.loads(line)
        if message["type"] == "hello": say(type="hello", protocol=1)
        elif message["type"] == "heartbeat": say(type="heartbeat", sequence=message["sequence"])
        else: yield message
"""
ECHO = "for m in told():\n    if m['type'] == 'task': say(type='result', id=m['id'], output=m['input'])\n"
SLOW = """for m in told():
    if m['type'] == 'task':
        with open('/tmp/fleet-' + m['key'], 'a') as file: file.write(str(m['attempt']) + '\\n')
        time.sleep(m['input'])
        say(type='result', id=m['id'], output=m['key'])
"""
CALLS = """for m in told():
    if m['type'] == 'task':
        say(type='call', id='c1', task=m['id'], capability=m['input']['capability'], input=m['input']['input'])
    elif m['type'] == 'result': say(type='result', id=task, output=m['output'])
    elif m['type'] == 'error': say(type='error', id=task, code=m['code'], message=m['message'])
    if m['type'] == 'task': task = m['id']
"""
CRASHES = "for m in told():\n    print('so long', file=sys.stderr, flush=True)\n    os._exit(3)\n"
FORKS = """for m in told():
    for _ in range(10):
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
    time.sleep(600)
"""


def workflow(name, text):
    path = f"{WORK}/{name}.yaml"
    with open(path, "w") as file:
        file.write(f"name: {name}\n{text}")
    return path


def states():
    return {agent["name"]: agent for agent in answer("agent", "list")["agents"]}


def background(*arguments):
    return subprocess.Popen(["dsmil", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def newest():
    return answer("runs", "list")["runs"][-1]


def approval():
    for name, script in [("echo", ECHO), ("slow", SLOW), ("crashes", CRASHES), ("forks", FORKS)]:
        define(name, script)
    define("other", ECHO)
    define("reader", CALLS, "capabilities: [token.read:0x8060, note.write]\n")
    with open(f"{AGENTS}/broken.md", "w") as file:
        file.write("---\nname: broken\ncomand: [/bin/true]\n---\n")
    until("agents are found", lambda: len(states()) == 7)
    found = states()
    claim(all(found[name]["state"] == "waits" for name in ["echo", "reader"]), "a new file waits to be approved")
    claim(found["broken"]["state"] == "wrong" and any("comand" in one for one in found["broken"]["mistakes"]), "mistakes in a file are shown")
    refused = dsmil("agent", "run", "echo", "1", check=False)
    claim(refused.returncode != 0 and "approve" in refused.stderr, "an agent that is not approved does not run")
    dsmil("agent", "approve", "--all", "--yes")
    claim(json.loads(dsmil("agent", "run", "echo", '{"a": [1]}').stdout) == {"a": [1]}, "an approved one does, and its output comes back")
    with open(f"{AGENTS}/echo.md", "a") as file:
        file.write("Changed.\n")
    until("the change is noticed", lambda: states()["echo"]["state"] == "waits")
    claim(dsmil("agent", "run", "echo", "1", check=False).returncode != 0, "a changed file waits again")
    until("its process ends", lambda: not states()["echo"]["instances"])
    dsmil("agent", "approve", "echo", "--yes")
    claim(dsmil("agent", "run", "echo", "1").stdout == "1\n", "and runs once it is approved")


def users():
    uid = int(run("id", "-u", "dsmil-agent").stdout)
    background("agent", "run", "slow", "3")
    until("it works", lambda: any(one["state"] == "working" for one in states()["slow"]["instances"]))
    pid = next(one["pid"] for one in states()["slow"]["instances"] if one["state"] == "working")
    status = dict(line.split(":\t", 1) for line in open(f"/proc/{pid}/status").read().splitlines() if ":\t" in line)
    claim(status["Uid"].split() == [str(uid)] * 4 and int(status["CapEff"], 16) == 0 and status["NoNewPrivs"] == "1",
          "an agent is a user of its own, without rights")
    claim("/dsmil/agents/slow@" in open(f"/proc/{pid}/cgroup").read(), "and in a cgroup of its own")


def modes():
    steps = """steps:
  - id: list
    agent: echo
    with: [1, 2, 3, 4, 5]
  - id: each
    needs: list
    agent: [echo, other]
    mode: {parallel: {each: "${{ steps.list.output }}", at-once: 3}}
    with: {n: "${{ item }}"}
  - id: agree
    needs: each
    agent: [echo, other]
    mode: {consensus: {copies: 3, quorum: 2}}
    with: "${{ steps.each.output }}"
  - id: first
    needs: agree
    agent: [echo, other]
    mode: {competitive: {copies: 2}}
    with: {first: "${{ steps.agree.output[0].n }}"}
  - id: not
    needs: first
    if: steps.first.output.first == 2
    agent: echo
"""
    path = workflow("modes", steps)
    done = dsmil("run", path, "--json", check=False)
    if done.returncode != 0:
        claim(False, f"modes: {done.stderr} {done.stdout}")
        return
    last = json.loads(done.stdout.splitlines()[-1])
    output = {step["id"]: (step["state"], json.loads(step["output"]) if "output" in step else None) for step in last["steps"]}
    each = [{"n": n} for n in range(1, 6)]
    claim(output["each"] == ("done", each) and output["agree"] == ("done", each), "items in parallel, and copies that agree")
    claim(output["first"] == ("done", {"first": 1}) and output["not"][0] == "skipped", "the first of several, and a condition that does not hold")


def calls():
    read = dsmil("agent", "run", "reader", '{"capability": "token.read", "input": {"token": "0x8060"}}', "--json")
    value = json.loads(json.loads(read.stdout)["answer"]["steps"][0]["output"])["values"][0]
    claim(value["id"] == "0x8060" and value["value"] is not None, "an agent reads a token through the gate")
    for what, text in [({"capability": "token.read", "input": {"token": "0x8061"}}, "a token that its file does not name is denied"),
                       ({"capability": "checkpoint.create", "input": {"name": "a"}}, "and what its file does not ask for")]:
        done = dsmil("agent", "run", "reader", json.dumps(what), check=False)
        claim(done.returncode != 0 and "denied" in done.stderr, text)
    dsmil("agent", "run", "reader", '{"capability": "note.write", "input": {"kind": "fleet", "text": "an agent was here"}}')
    claim("an agent was here" in dsmil("log", "tail", "-n", "20").stdout, "an agent's note is in the log")


def crashes():
    done = dsmil("agent", "run", "crashes", "1", check=False)
    claim(done.returncode != 0 and "so long" in done.stderr, "an agent that crashes is tried again, and its last words are told")
    waiting = background("agent", "run", "crashes", "1")
    until("it rests after too many failures", lambda: states()["crashes"]["state"] == "rests")
    claim(dsmil("agent", "run", "echo", "7").stdout == "7\n", "others do not notice")
    dsmil("agent", "restart", "crashes")
    claim(waiting.wait(30) != 0, "a restart gives it another chance")


def killed():
    path = workflow("kill", """steps:
  - id: first
    agent: slow
    with: 0.1
  - id: second
    needs: first
    agent: slow
    with: 8
  - id: third
    needs: second
    agent: slow
    with: 0.1
""")
    client = background("run", path)
    until("the second step runs", lambda: newest()["progress"][0] == 1)
    number = newest()["number"]
    time.sleep(0.3)
    run("/usr/lib/laptop/daemon.sh", "kill")
    until("no agent outlives the daemon", lambda: not run("pgrep", "-u", "dsmil-agent", check=False).stdout.strip(), 5)
    run("/usr/lib/laptop/daemon.sh", "start")
    client.wait()
    until("the run goes on and ends", lambda: answer("runs", "show", str(number))["state"] == "done", 60)
    attempts = [open(f"/tmp/fleet-r{number}.s{step}.i0").read().split() for step in range(3)]
    claim(attempts[0] == ["1"] and len(attempts[1]) == 2 and attempts[2] == ["1"],
          f"after SIGKILL what is done stays done, and the interrupted step is taken up once: {attempts}")


def control():
    path = workflow("control", "steps:\n  - id: one\n    agent: slow\n    with: 600\n    timeout: 10min\ntimeout: 20min\n")
    client = background("run", path)
    until("it runs", lambda: newest()["workflow"] == "control" and newest()["state"] == "running")
    number = str(newest()["number"])
    dsmil("runs", "cancel", number)
    claim(client.wait(20) != 0 and answer("runs", "show", number)["state"] == "cancelled", "a run is cancelled")
    until("who ignores that is killed", lambda: not any(one["tasks"] for one in states()["slow"]["instances"]), 10)


def ready():
    """The 80 ready agents, each with the example of its own description, all in one run."""
    os.makedirs("/srv/fleet", exist_ok=True)
    for name, text in [("hello.txt", "hello\n"), ("data.csv", "a,b\n1,2\n"), ("data.json", "{}\n")]:
        with open(f"/srv/fleet/{name}", "w") as file:
            file.write(text)
    run("chmod", "-R", "a+rX", "/srv")
    run("dsmil-agent", "definitions", AGENTS, "--program", "/usr/bin/dsmil-agent", "--folder", "/srv/fleet", "--replace")
    names = [name[:-3] for name in sorted(os.listdir(AGENTS)) if "/usr/bin/dsmil-agent" in open(f"{AGENTS}/{name}").read()]
    until("all are found", lambda: sum(name in names for name in states()) >= 79)
    dsmil("agent", "approve", "--all", "--yes")
    steps = []
    for name in names:
        body = open(f"{AGENTS}/{name}.md").read()
        example = body.split("```json\n")[1].split("```")[0].strip() if "```json" in body else "null"
        steps.append({"id": name, "agent": name, "with": json.loads(example)})
    path = f"{WORK}/ready.yaml"
    with open(path, "w") as file:
        json.dump({"name": "ready", "on-failure": "continue", "steps": steps}, file)
    began = time.monotonic()
    done = dsmil("run", path, "--json", check=False)
    took = time.monotonic() - began
    last = json.loads(done.stdout.splitlines()[-1])
    failed_ones = [(step["id"], step.get("reason", "")[:120]) for step in last["steps"] if step["state"] != "done"]
    for one in failed_ones:
        print("     not done:", *one)
    elsewhere = {"page-fetcher", "page-check"}
    claim(len(names) == 80 and not {name for name, _ in failed_ones} - elsewhere,
          f"{80 - len(failed_ones)} of 80 ready agents do their work, in {took:.1f} s")


def stop():
    clients = [background("agent", "run", "forks", str(n)) for n in range(4)]
    count = lambda: len(run("pgrep", "-u", "dsmil-agent", check=False).stdout.split())
    working = lambda: sum(one["state"] == "working" for one in states()["forks"]["instances"])
    until("a lot of processes", lambda: working() == 4 and count() >= 40, 60)
    stopped = answer("stop", "--emergency")
    frozen, gone = stopped["frozen_us"], stopped["killed_us"]
    claim(frozen is not None and frozen <= 85_000 and gone is not None and gone <= 500_000 and not stopped["left"],
          f"emergency stop: still after {frozen} µs, gone after {gone} µs")
    # What is dead is still counted until it is waited for.
    if until("no process of any agent is left", lambda: count() == 0, 5):
        claim(True, "no process of any agent is left")
    claim(all(client.wait(20) != 0 for client in clients), "and every run ends")
    claim(dsmil("agent", "run", "echo", "8").stdout == "8\n", "agents start again when somebody asks")
    background("agent", "run", "forks", "9")
    until("it runs again", lambda: working() == 1 and count() >= 10, 60)
    os.kill(int(open("/run/dsmild.pid").read()), signal.SIGUSR1)
    until("a signal stops them too", lambda: count() == 0, 5)
    until("and the daemon goes on", lambda: dsmil("status", "--quiet", check=False).returncode == 0, 5)
    claim("emergency stop" in dsmil("log", "tail", "-n", "30").stdout, "both are in the log")


os.makedirs(AGENTS, exist_ok=True)
os.makedirs(WORK, exist_ok=True)
for path in ["/root", WORK]:
    os.chmod(path, 0o755)
for part in [approval, users, modes, calls, crashes, killed, control, stop, ready]:
    try:
        part()
    except Exception as error:
        claim(False, f"{part.__name__}: {error!r}")
if failed:
    print(run("tail", "-n", "40", "/var/log/dsmild.log").stdout, file=sys.stderr)
print("fleet: " + ("all as it should be" if not failed else f"{failed} failed"))
sys.exit(1 if failed else 0)
PYTHON
