#!/usr/bin/env python3
"""Kills `warmline serve` at random moments while calls ask for transfers, and shows that no transfer is lost and none is executed twice.

A receiver in this program executes each webhook-id once, as Standard Webhooks asks of a receiver, and misbehaves at random: it answers 500
or 429, breaks off before or after it has executed, or is slow. Calls come over AudioSocket; some come back after a kill and ask again. What
must hold at the end: every transfer of the ledger that was accepted was executed, once; every execution is of a transfer of the ledger;
no call was handed over twice; the audit's chain holds. A kill loses nothing that was synced, but says nothing of a power cut.
"""

import argparse
import collections
import http.client
import http.server
import json
import os
import pathlib
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import uuid

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Receiver(http.server.ThreadingHTTPServer):
    """Executes each webhook-id once."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port, rng):
        super().__init__(("127.0.0.1", port), Handler)
        self.lock = threading.Lock()
        self.rng = rng
        self.deliveries = 0
        self.executed = collections.Counter()
        self.call_of = {}
        self.behaved = collections.Counter()

    def handle_error(self, request, client_address):
        pass  # a peer that was killed


class Handler(http.server.BaseHTTPRequestHandler):
    """One delivery."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        said = json.loads(body)
        house, key = self.server, self.headers["webhook-id"]
        with house.lock:
            house.deliveries += 1
            behaviour = house.rng.choices(
                ["ok", "500", "429", "dropped_before", "dropped_after", "slow"], [10, 2, 1, 1, 2, 2]
            )[0]
            house.behaved[behaviour] += 1
        if behaviour == "500" or behaviour == "429":
            return self.answer(int(behaviour))
        if behaviour == "dropped_before":
            return self.drop()
        if behaviour == "slow":
            time.sleep(0.15)
        with house.lock:
            if key not in house.call_of:  # the receiver's own idempotency
                house.executed[key] += 1
                house.call_of[key] = said["data"]["call"]
        if behaviour == "dropped_after":
            return self.drop()
        return self.answer(200)

    def answer(self, status):
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def drop(self):
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


class Server:
    """One life of `warmline serve`."""

    def __init__(self, program, folder, http_port, media_port):
        self.http_port, self.media_port = http_port, media_port
        env = dict(os.environ, HOOK_SECRET=SECRET)
        self.log = open(folder / "serve.log", "ab")
        self.process = subprocess.Popen(
            [program, "serve", "--config", str(folder / "warmline.toml")], stderr=self.log, env=env, cwd=folder
        )
        until = time.monotonic() + 60
        while True:
            try:
                if self.request("GET", "/readyz")[0] == 200:
                    return
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > until:
                sys.exit(f"kill_test: the server does not start: see {folder}/serve.log")
            time.sleep(0.02)

    def request(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=5)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def call(self, name):
        """Opens a call over AudioSocket, and asks for a person in it."""
        line = socket.create_connection(("127.0.0.1", self.media_port), timeout=5)
        line.sendall(b"\x01\x00\x10" + name.bytes + b"\x10\x01\x40" + b"\x00" * 320)
        for _ in range(100):
            status, _ = self.request("POST", f"/api/v1/calls/{name}/transfer")
            if status != 404:
                return line, status
            time.sleep(0.005)
        return line, 404

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.log.close()


def free_port(first):
    for port in range(first, first + 50):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    sys.exit(f"kill_test: no port is free from {first} on")


def one_round(server, rng, lines, asked, gone):
    """Calls ask for transfers until the server is killed in the middle of it."""
    names = [uuid.UUID(int=rng.getrandbits(128), version=4) for _ in range(8)]
    names += rng.sample(gone, min(3, len(gone)))  # callers whose line broke off call in again
    rng.shuffle(names)
    killer = threading.Timer(rng.uniform(0.0, 0.5), server.kill)
    killer.start()

    def ask(name):
        try:
            line, status = server.call(name)
            lines.append(line)
            asked[status] += 1
        except OSError:
            asked["broken"] += 1

    threads = []
    for name in names:
        thread = threading.Thread(target=ask, args=(name,))
        thread.start()
        threads.append(thread)
        time.sleep(rng.uniform(0.0, 0.06))
    for thread in threads:
        thread.join()
    killer.join()
    gone[:] = (gone + names)[-40:]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="target/release/warmline")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--port", type=int, default=8150, help="the first of some ports")
    options = parser.parse_args()
    program = str(pathlib.Path(options.program).resolve())
    rng = random.Random(options.seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        hook, web, media = (free_port(options.port + 50 * n // 3) for n in range(3))
        receiver = Receiver(hook, random.Random(options.seed + 1))
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        (folder / "warmline.toml").write_text(
            f"""
[server]
listen = "127.0.0.1:{web}"
shards = 1
grace_s = 1
[ledger]
path = "{folder}/warmline.db"
[media.audiosocket]
listen = "127.0.0.1:{media}"
notice = "consent"
[handoff]
deadline_s = 60
[[handoff.connector]]
kind = "webhook"
url = "http://127.0.0.1:{hook}/"
secrets = [{{ env = "HOOK_SECRET" }}]
allow_private = true
"""
        )
        lines, asked, gone = [], collections.Counter(), []
        for n in range(options.kills):
            server = Server(program, folder, web, media)
            one_round(server, rng, lines, asked, gone)
            for line in lines:
                line.close()
            lines.clear()
            if sys.stderr.isatty():
                print(f"\r{n + 1} of {options.kills} kills", end="", file=sys.stderr)
        server = Server(program, folder, web, media)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            open_ones = [
                transfer
                for state in ("waiting", "offered", "ringing")
                for transfer in json.loads(server.request("GET", f"/api/v1/transfers?state={state}")[1])["transfers"]
            ]
            if not open_ones:
                break
            time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(30)
        verify = subprocess.run(
            [program, "audit", "verify", "--ledger", str(folder / "warmline.db"), "--json"], stdout=subprocess.PIPE
        )
        connection = sqlite3.connect(folder / "warmline.db")
        rows = connection.execute("SELECT id, call, state FROM transfers").fetchall()
        unfinished = connection.execute("SELECT record FROM transfers WHERE open = 1").fetchall()
        last_words = (folder / "serve.log").read_text(errors="replace").splitlines()[-20:]
    states = collections.Counter(state for _, _, state in rows)
    known = {transfer for transfer, _, _ in rows}
    accepted = {transfer for transfer, _, state in rows if state == "accepted"}
    executed = set(receiver.call_of)
    calls = collections.Counter(receiver.call_of.values())
    faults = {
        "accepted_but_not_executed": sorted(accepted - executed),
        "executed_twice": sorted(key for key, count in receiver.executed.items() if count > 1),
        "calls_handed_over_twice": sorted(call for call, count in calls.items() if count > 1),
        "executed_but_not_in_the_ledger": sorted(executed - known),
        "neither_accepted_nor_ended": sorted(t for t, _, s in rows if s in ("waiting", "offered", "ringing")),
        "executed_but_not_accepted": sorted(executed - accepted),
    }
    print(
        json.dumps(
            {
                "kills": options.kills,
                "seconds": round(time.monotonic() - began, 1),
                "asked": {str(status): count for status, count in sorted(asked.items(), key=str)},
                "transfers_in_the_ledger": len(rows),
                "states": dict(states),
                "deliveries": receiver.deliveries,
                "executions": sum(receiver.executed.values()),
                "receiver": dict(receiver.behaved),
                "audit": json.loads(verify.stdout),
                "faults": {name: len(found) for name, found in faults.items()},
            },
            indent=2,
        )
    )
    if any(faults.values()) or verify.returncode != 0 or not rows:
        print(f"kill_test: {faults}", *unfinished, *last_words, sep="\n", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
