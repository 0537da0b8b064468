"""The program under test, what it says of live calls, and what replay says of the same audio."""

import array
import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
import wave
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CALLS = ROOT / "fixtures" / "calls"
WARMLINE = str(Path(os.environ.get("WARMLINE", ROOT / "target/release/warmline")).resolve())
RTP_FIRST = int(os.environ.get("PEERS_RTP_FIRST", "24000"))
RTP_LAST = RTP_FIRST + 39

# A transfer of a lossy codec may come this much earlier or later: the score is asked for once a second.
TOLERANCE_S = 3.0


class Skipped(Exception):
    """Something that this test needs is not here."""


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise Skipped(f"there is no {program}")


class Served:
    """`warmline serve` on a free port; everything it tells is kept."""

    def __init__(self, config="", env=None):
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "warmline.toml"
        path.write_text('[server]\nlisten = "127.0.0.1:0"\nshards = 2\n' + config)
        self.log = []
        self.events = []
        self.told = threading.Condition()
        self.program = subprocess.Popen(
            [WARMLINE, "serve", "--config", str(path)],
            stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})},
        )
        for line in self.program.stderr:
            self.log.append(line)
            if '"serving"' in line:
                host, port = json.loads(line)["listen"].rsplit(":", 1)
                break
        else:
            raise AssertionError("it does not serve: " + "".join(self.log))
        self.address = f"{host}:{port}"
        threading.Thread(target=self._read_log, daemon=True).start()
        self.stream = http.client.HTTPConnection(self.address)
        self.stream.request("GET", "/api/v1/events", headers=self.headers())
        self.response = self.stream.getresponse()
        assert self.response.status == 200, self.response.read()
        threading.Thread(target=self._follow, daemon=True).start()

    token = None

    def headers(self):
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def _read_log(self):
        self.log.extend(self.program.stderr)

    def _follow(self):
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            for line in self.response:
                if line.startswith(b"data: "):
                    with self.told:
                        self.events.append(line[6:].decode().rstrip("\n"))
                        self.told.notify_all()

    def call(self, name, within_s=120):
        """The lines of the call whose id begins so, once it is over."""
        until = time.monotonic() + within_s
        with self.told:
            while True:
                lines = [line for line in self.events if json.loads(line)["call"].startswith(name)]
                if any(json.loads(line)["type"] == "call_ended" for line in lines):
                    return lines
                left = until - time.monotonic()
                if left <= 0 or not self.told.wait(left):
                    raise AssertionError(f"{name} does not end: {lines[-2:]} {''.join(self.log[-5:])}")

    def metric(self, name):
        connection = http.client.HTTPConnection(self.address)
        connection.request("GET", "/metrics", headers=self.headers())
        found = re.search(rf"^warmline_{re.escape(name)} (\d+)$", connection.getresponse().read().decode(), re.M)
        return int(found.group(1)) if found else 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.program.kill()
        self.program.wait()
        self.folder.cleanup()


def replay(wav, *arguments):
    """The lines of `warmline replay --json`."""
    done = subprocess.run([WARMLINE, "replay", "--json", *arguments, str(wav)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def caller(folder, file="escalating.wav"):
    """The caller's channel of a fixture of two, alone."""
    with wave.open(str(CALLS / file)) as wav:
        assert (wav.getnchannels(), wav.getsampwidth()) == (2, 2)
        samples = array.array("h", wav.readframes(wav.getnframes()))[0::2]
        rate = wav.getframerate()
    path = Path(folder) / "caller.wav"
    with wave.open(str(path), "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(rate)
        wav.writeframes(samples.tobytes())
    return path


def same(live, replayed):
    """Every line is the same but for names: ids, the protocol and its own words. What becomes of a transfer is told live alone."""
    ours, theirs = _plain(live), _plain(replayed)
    ours = [line for line in ours if '"type": "transfer_outcome"' not in line]
    for n, (line, expected) in enumerate(zip(ours, theirs)):
        at = next((i for i, pair in enumerate(zip(line, expected)) if pair[0] != pair[1]), min(len(line), len(expected)))
        near = slice(max(0, at - 60), at + 60)
        assert line == expected, f"line {n} of {len(ours)} and {len(theirs)}: … {line[near]} … instead of … {expected[near]} …"
    assert len(ours) == len(theirs), f"{len(ours)} lines instead of {len(theirs)}"
    assert any('"type": "transfer"' in line for line in ours), "and there is a transfer among them"


def _plain(lines):
    text = "\n".join(lines)
    call = json.loads(lines[0])["call"]
    transfers = [json.loads(line)["transfer"] for line in lines if json.loads(line)["type"] == "transfer"]
    for n, name in enumerate(transfers):
        text = text.replace(name, f"transfer-{n}").replace(name.replace("-", ""), f"transfer-{n}")
    plain = []
    for line in text.replace(call, "call").splitlines():
        event = json.loads(line)
        kept = {name: value for name, value in event.items() if name not in ("source", "file", "cause", "caller_channel")}
        if event["type"] == "transfer":
            known = kept["packet"]["full"]["call"]
            own = ("source", "file", "caller_channel", "metadata")
            kept["packet"]["full"]["call"] = {k: v for k, v in known.items() if k not in own}
        plain.append(json.dumps(kept, sort_keys=True))
    return plain


def same_transfers(live, replayed, tolerance_s=TOLERANCE_S, moved_s=0.0):
    """As many transfers for the same reasons at about the same time. `moved_s`: how much later the live call began."""
    def transfers(lines):
        events = [json.loads(line) for line in lines]
        return [(event["cue"], event["t"]) for event in events if event["type"] == "transfer"]
    ours, theirs = transfers(live), transfers(replayed)
    assert theirs, "replay hears no transfer: there is nothing to compare"
    assert [cue for cue, _ in ours] == [cue for cue, _ in theirs], f"{ours} instead of {theirs}"
    for (_, at), (_, expected) in zip(ours, theirs):
        assert abs(at - moved_s - expected) <= tolerance_s, f"{ours} instead of {theirs}, moved by {moved_s}"
