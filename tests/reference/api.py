#!/usr/bin/env python3
"""Holds a real `warmline serve --demo` to its OpenAPI document with schemathesis: every answer is one that the document names, of the
type and shape it names, whatever is asked.

    tests/reference/api.py --warmline target/release/warmline [--examples 40]
"""

import argparse
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]

# An answer without end; and pages, whose bodies are no JSON.
LEFT_OUT = [r"^/api/v1/events$"]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--warmline", default="target/release/warmline")
    parser.add_argument("--examples", type=int, default=30)
    arguments = parser.parse_args()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder, "warmline.toml")
        config.write_text(f'[server]\nlisten = "127.0.0.1:{port}"\ngrace_s = 0\n')
        environment = {"ORT_DYLIB_PATH": str(ROOT / ".warmline/lib/libonnxruntime.so"), **os.environ}
        server = subprocess.Popen(
            [arguments.warmline, "serve", "--demo", "--config", str(config)], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
        )
        try:
            for _ in range(100):
                try:
                    urllib.request.urlopen(f"{url}/healthz", timeout=1)
                    break
                except OSError:
                    time.sleep(0.1)
            document = bundled(url)
            path = pathlib.Path(folder, "openapi.json")
            path.write_text(json.dumps(document))
            program = pathlib.Path(sys.executable).with_name("schemathesis")
            command = [str(program), "run", str(path), "--url", url, "--max-examples", str(arguments.examples), "--phases", "examples,coverage,fuzzing",
                       "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
                       "--generation-database", "none", "--seed", "1", "--workers", "1"]
            for pattern in LEFT_OUT:
                command += ["--exclude-path-regex", pattern]
            return subprocess.run(command, cwd=folder).returncode
        finally:
            server.kill()
            server.wait()


def bundled(url):
    """The document with the schemas it refers to inside it: schemathesis then needs no other file."""
    read = lambda name: json.load(urllib.request.urlopen(f"{url}/{name}"))
    document = read("openapi.json")
    for name in ("event", "context-packet"):
        schema = read(f"{name}-1.schema.json")
        text = json.dumps(schema).replace('"#/$defs/', f'"#/components/schemas/{name}-1/$defs/')
        text = re.sub(r'"([a-z-]+)-1\.schema\.json(?:#/)?', lambda m: f'"#/components/schemas/{m[1]}-1' + ("/" if m[0].endswith("#/") else ""), text)
        document["components"]["schemas"][f"{name}-1"] = json.loads(text)
    text = re.sub(r'"([a-z-]+)-1\.schema\.json"', r'"#/components/schemas/\1-1"', json.dumps(document))
    return json.loads(text)


if __name__ == "__main__":
    sys.exit(main())
