#!/usr/bin/env python3
"""An agent in Python: counts the words of a text, tells how far it is, and can be cancelled."""
import json
import queue
import sys
import threading


def say(**message):
    print(json.dumps(message), flush=True)


inbox = queue.SimpleQueue()


def read():
    for line in sys.stdin:
        message = json.loads(line)
        # A heartbeat is answered at once, also in the middle of a task.
        if message["type"] == "heartbeat":
            say(type="heartbeat", sequence=message["sequence"])
        else:
            inbox.put(message)
    inbox.put({"type": "end"})


def is_cancelled(task):
    while not inbox.empty():
        message = inbox.get()
        if message["type"] == "cancel" and message["id"] == task:
            return True
    return False


def count(task, text):
    lines = text.splitlines()
    words = 0
    for number, line in enumerate(lines, 1):
        if is_cancelled(task):
            say(type="error", id=task, code="cancelled", message="as asked", retry=False)
            return
        words += len(line.split())
        if number % 1000 == 0:
            say(type="progress", id=task, done=number, total=len(lines))
    say(type="log", id=task, level="info", text=f"counted {len(lines)} lines")
    say(type="result", id=task, output={"lines": len(lines), "words": words})


threading.Thread(target=read, daemon=True).start()
while (message := inbox.get())["type"] != "end":
    if message["type"] == "hello":
        say(type="hello", protocol=1)
    elif message["type"] == "task":
        text = message["input"].get("text")
        if isinstance(text, str):
            count(message["id"], text)
        else:
            say(type="error", id=message["id"], code="input", message="a text is missing", retry=False)
