#!/usr/bin/env python3
"""Two live calls, one over AudioSocket and one in Twilio's framing, whose caller loses patience: what the receiver gets.

    examples/first_transfer.py [--program target/release/warmline]

Starts a receiver and `warmline serve` on this machine, plays a bundled call over each, checks the webhook's signature and prints the packet that
comes with each transfer. Python's standard library is all it needs. Ends with 1 if a transfer does not come.
"""

import argparse
import base64
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import queue
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parents[1]
SECRET = os.urandom(32)
CONFIG = """
[server]
listen = "127.0.0.1:8098"
grace_s = 0
[media.twilio]
notice = "notice"
[media.audiosocket]
listen = "127.0.0.1:8097"
notice = "notice"
[[handoff.connector]]
kind = "webhook"
url = "http://127.0.0.1:8096/"
secrets = [{ env = "WARMLINE_WEBHOOK_SECRET" }]
allow_private = true            # the receiver is this machine
"""
told = queue.Queue()


class Receiver(http.server.BaseHTTPRequestHandler):
    """What a contact centre runs: looks at the signature, then takes the caller."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + body
        expected = "v1," + base64.b64encode(hmac.digest(SECRET, signed, hashlib.sha256)).decode()
        good = any(hmac.compare_digest(expected, given) for given in self.headers["webhook-signature"].split())
        self.send_response(204 if good else 401)
        self.end_headers()
        if good:
            told.put(json.loads(body))

    def log_message(self, *_):
        pass


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--program", default=str(ROOT / "target/release/warmline"))
    a = p.parse_args()
    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 8096), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    library = ROOT / ".warmline/lib/libonnxruntime.so"
    environment = {"ORT_DYLIB_PATH": str(library), **os.environ, "WARMLINE_WEBHOOK_SECRET": "whsec_" + base64.b64encode(SECRET).decode()}
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder) / "warmline.toml"
        config.write_text(CONFIG + f'[ledger]\npath = "{folder}/warmline.db"\n')
        server = subprocess.Popen([a.program, "serve", "--config", config], env=environment, stderr=subprocess.PIPE, text=True)
        for line in server.stderr:
            if '"serving"' in line:
                break
        threading.Thread(target=server.stderr.read, daemon=True).start()
        try:
            for protocol, url in (("audiosocket", "127.0.0.1:8097"), ("twilio", "ws://127.0.0.1:8098/v1/media/twilio")):
                print(f"\n{protocol}: a call of a minute; its caller loses patience", flush=True)
                call = subprocess.Popen(
                    [a.program, "load", "--calls", "1", "--protocol", protocol, "--seconds", "66", "--wav", ROOT / "fixtures/calls/escalating.wav"]
                    + ["--events", "127.0.0.1:8098", url], stdout=subprocess.DEVNULL)
                try:
                    data = told.get(timeout=90)["data"]
                except queue.Empty:
                    print("no transfer came", file=sys.stderr)
                    return 1
                finally:
                    call.terminate()
                    call.wait()
                packet = data["packet"]["full"]
                print(f"  transfer  {data['transfer']}\n  call      {data['call']}\n  why       {data['why']}")
                print(f"  brief     {json.dumps(data['packet']['brief'], indent=2, ensure_ascii=False)}".replace("\n", "\n  "))
                print(f"  {len(json.dumps(data['packet']))} bytes, {len(packet['trend']['scores'])} s of scores, {len(packet['conversation']['turns'])} turns")
        finally:
            server.terminate()
            server.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
