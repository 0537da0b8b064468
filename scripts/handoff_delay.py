#!/usr/bin/env python3
"""Measures how long a transfer takes to the wire while many calls are live: `warmline load` plays them, each is asked for a transfer.

`asked_to_wire_ms` counts from before the request for a transfer is sent to the first byte of its webhook at the receiver: the request
itself, the call, the ledger's sync and the connection are all in it. `decided_to_offered_ms` is the program's own histogram, from the
decision to its first attempt.
"""

import argparse
import http.server
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time

import kill_test


class Arrivals(http.server.ThreadingHTTPServer):
    """Notes when the webhook of each call came."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, port):
        self.came = {}
        super().__init__(("127.0.0.1", port), Arrival)


class Arrival(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        now = time.monotonic()
        said = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.came.setdefault(said["data"]["call"], now)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="target/release/warmline")
    parser.add_argument("--wav", default="fixtures/calls/escalating.wav")
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=40)
    parser.add_argument("--port", type=int, default=8170)
    options = parser.parse_args()
    program, wav = os.path.abspath(options.program), os.path.abspath(options.wav)
    hook, web, media = (kill_test.free_port(options.port + 5 * n) for n in range(3))
    receiver = Arrivals(hook)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "warmline.toml").write_text(
            f"""
[server]
listen = "127.0.0.1:{web}"
grace_s = 0
[limits]
calls = 1000
[media.audiosocket]
listen = "127.0.0.1:{media}"
notice = "consent"
[[handoff.connector]]
kind = "webhook"
url = "http://127.0.0.1:{hook}/"
secrets = [{{ env = "HOOK_SECRET" }}]
allow_private = true
"""
        )
        server = kill_test.Server(program, folder, web, media)
        load = subprocess.Popen(
            [program, "load", f"127.0.0.1:{media}", "--protocol", "audiosocket", "--calls", str(options.calls)]
            + ["--seconds", str(options.seconds), "--wav", wav],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(5)
        live = [call["call"] for call in json.loads(server.request("GET", "/api/v1/calls")[1])["calls"]]
        random.Random(1).shuffle(live)
        asked = {}
        for call in live:
            asked[call] = time.monotonic()
            server.request("POST", f"/api/v1/calls/{call}/transfer")
            time.sleep(min(0.1, 0.6 * (options.seconds - 8) / max(1, len(live))))
        time.sleep(1)
        metrics = server.request("GET", "/metrics")[1].decode()
        load.wait()
        server.kill()
    delays = [1000 * (receiver.came[call] - at) for call, at in asked.items() if call in receiver.came]
    if not delays:
        sys.exit("handoff_delay: no webhook came")
    wanted = ("handoff_delay", "ledger_commits", "ledger_written", "late_turns_total", "calls_refused")
    print(
        json.dumps(
            {
                "live_calls": len(live),
                "webhooks": len(delays),
                "asked_to_wire_ms": {
                    "p50": round(quantile(delays, 0.5), 1),
                    "p99": round(quantile(delays, 0.99), 1),
                    "max": round(max(delays), 1),
                },
                "metrics": [line for line in metrics.splitlines() if any(f"warmline_{w}" in line for w in wanted) and line[0] != "#"],
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
