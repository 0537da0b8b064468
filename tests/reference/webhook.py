#!/usr/bin/env python3
"""Signed webhooks against the vendor's own verifier (PyPI `standardwebhooks`): one transfer, signed with a secret and its predecessor."""

import argparse
import http.server
import json
import os
import pathlib
import sys
import tempfile
import threading
import time
import uuid

import standardwebhooks

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import kill_test  # noqa: E402: it knows how the program is started and called

NEW, FORMER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDC2FVsBQIhrs=", kill_test.SECRET


def deliver(program, port, cloud_events):
    """The headers and the body of one webhook."""
    got = []

    class Keep(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append((dict(self.headers), body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    hook, web, media = (kill_test.free_port(port + 10 * n) for n in range(3))
    receiver = http.server.HTTPServer(("127.0.0.1", hook), Keep)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "new").write_text(NEW)
        (folder / "warmline.toml").write_text(
            f"""
[server]
listen = "127.0.0.1:{web}"
grace_s = 0
[media.audiosocket]
listen = "127.0.0.1:{media}"
[[handoff.connector]]
kind = "webhook"
url = "http://127.0.0.1:{hook}/"
secrets = [{{ file = "{folder}/new" }}, {{ env = "HOOK_SECRET" }}]
allow_private = true
envelope = "{'cloudevents' if cloud_events else 'standard'}"
"""
        )
        server = kill_test.Server(program, folder, web, media)
        try:
            line, status = server.call(uuid.uuid4())
            until = time.monotonic() + 10
            while not got and time.monotonic() < until:
                time.sleep(0.02)
            line.close()
        finally:
            server.kill()
    receiver.shutdown()
    assert status == 202 and got, f"no webhook came (the request was answered {status})"
    return got[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--warmline", default="target/release/warmline")
    parser.add_argument("--port", type=int, default=8140)
    options = parser.parse_args()
    program = os.path.abspath(options.warmline)
    for cloud_events in (False, True):
        headers, body = deliver(program, options.port, cloud_events)
        for secret in (NEW, FORMER):
            said = standardwebhooks.Webhook(secret).verify(body, headers)
            assert said["type"] == "call.transfer.requested", said
        for changed, secret in ((body + b" ", NEW), (body, "whsec_" + "A" * 32)):
            try:
                standardwebhooks.Webhook(secret).verify(changed, headers)
            except standardwebhooks.WebhookVerificationError:
                continue
            sys.exit("webhook: the verifier takes what was not signed: this test shows nothing")
        said = json.loads(body)
        if cloud_events:
            required = {"id", "source", "specversion", "type"}
            assert required <= said.keys() and said["specversion"] == "1.0", said.keys()
            assert said["id"] == headers["webhook-id"]
            assert headers["content-type"] == "application/cloudevents+json"
        print(f"webhook: {'CloudEvents' if cloud_events else 'plain'}: {len(body)} bytes, verified with both secrets")


if __name__ == "__main__":
    main()
