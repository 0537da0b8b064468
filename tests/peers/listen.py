"""`warmline listen` against a capture device that is real to it: the monitor of a null sink of PulseAudio, by way of ALSA."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from house import CALLS, WARMLINE, need, replay, same_transfers

FIXTURE = CALLS / "escalating.wav"


class Sound:
    """A sound server of its own whose only source is what is played into its only sink."""

    def __init__(self):
        need("pulseaudio", "paplay")
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        home = Path(self.folder.name)
        (home / ".asoundrc").write_text("pcm.!default { type pulse }\nctl.!default { type pulse }\n")
        self.socket = home / "native"
        self.listening = []
        self.env = {
            **os.environ, "HOME": str(home), "XDG_RUNTIME_DIR": str(home), "PULSE_SERVER": f"unix:{self.socket}",
            "PULSE_SOURCE": "warmline.monitor", "PULSE_SINK": "warmline",
        }
        self.start()

    def start(self):
        self.server = subprocess.Popen(
            ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--disallow-exit", "--log-level=error",
             "-L", "module-null-sink sink_name=warmline rate=48000 channels=2",
             "-L", f"module-native-protocol-unix auth-anonymous=1 socket={self.socket}"],
            env=self.env, stderr=subprocess.DEVNULL)
        for _ in range(100):
            if self.socket.exists():
                return
            time.sleep(0.1)
        raise AssertionError("pulseaudio does not start")

    def stop(self):
        self.server.kill()
        self.server.wait()
        with contextlib.suppress(FileNotFoundError):
            self.socket.unlink()

    def play(self, wav):
        subprocess.run(["paplay", str(wav)], env=self.env, check=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for program in self.listening:
            program.kill()
            program.wait()
        self.stop()
        self.folder.cleanup()


class Listening:
    """`warmline listen --json`; what it tells is kept, with the moment when it was told."""

    def __init__(self, sound, *more):
        self.program = subprocess.Popen(
            [WARMLINE, "listen", "--json", "--device", "default", *more], env=sound.env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        sound.listening.append(self.program)
        self.lines, self.said = [], []
        self.threads = [threading.Thread(target=lambda to=to, of=of: to.extend(of), daemon=True)
                        for to, of in ((self.lines, self._lines()), (self.said, self.program.stderr))]
        for thread in self.threads:
            thread.start()
        self.until(lambda: self.lines, 20, "no call_started")

    def _lines(self):
        for line in self.program.stdout:
            yield line.rstrip("\n")

    def until(self, met, within_s, what):
        until = time.monotonic() + within_s
        while not met():
            assert time.monotonic() < until and self.program.poll() is None, f"{what}: {self.lines[-2:]} {self.said}"
            time.sleep(0.02)

    def end(self, expected=0):
        self.program.send_signal(signal.SIGINT)
        assert self.program.wait(20) == expected, self.said
        for thread in self.threads:
            thread.join()
        return self.lines


def test_a_call_played_into_a_device_leads_to_the_transfer_of_its_replay():
    with Sound() as sound:
        listening = Listening(sound)
        began = time.monotonic()
        time.sleep(1.0)
        sound.play(FIXTURE)
        played = time.monotonic() - began
        time.sleep(1.0)
        lines = listening.end()
        last = json.loads(lines[-1])
        assert (last["type"], last["cause"]) == ("call_ended", "interrupted"), last
        assert not any(json.loads(line)["type"] in ("gap", "problem") for line in lines), "nothing is lost"
        assert abs(last["duration_s"] - played - 1.0) < 2.0, (last["duration_s"], played)
        same_transfers(lines, replay(FIXTURE), moved_s=1.0)


def test_a_device_that_is_lost_is_told_and_taken_up_again():
    with Sound() as sound:
        listening = Listening(sound)
        time.sleep(2.0)
        sound.stop()
        listening.until(lambda: any("is lost" in line for line in listening.said), 15, "it does not say so")
        sound.start()
        listening.until(lambda: any("is back" in line for line in listening.said), 20, "it does not come back")
        began = time.monotonic()
        time.sleep(1.0)
        sound.play(CALLS / "calm.wav")
        assert time.monotonic() - began > 25, "it was played"
        events = [json.loads(line) for line in listening.end()]
        gaps = [event for event in events if event["type"] == "gap"]
        assert gaps and 1.0 < gaps[0]["seconds"] < 40.0, gaps
        assert any(event["type"] == "score" and event["t"] > gaps[0]["t"] for event in events), "it is scored again"


def test_a_device_that_stays_away_ends_the_call():
    with Sound() as sound:
        listening = Listening(sound)
        time.sleep(1.0)
        sound.stop()
        assert listening.program.wait(60) == 2
        for thread in listening.threads:
            thread.join()
        assert json.loads(listening.lines[-1])["cause"] == "device_lost", listening.lines[-1]
        assert any("does not come back" in line for line in listening.said), listening.said


def test_devices_are_listed_and_a_wrong_one_is_refused_by_name():
    with Sound() as sound:
        listed = subprocess.run([WARMLINE, "listen", "--list", "--json"], env=sound.env, capture_output=True, text=True)
        devices = [json.loads(line) for line in listed.stdout.splitlines()]
        assert any(device["device"] == "default" and 2 in device["channels"] for device in devices), listed
        wrong = subprocess.run([WARMLINE, "listen", "--device", "gramophone"], env=sound.env, capture_output=True, text=True)
        assert wrong.returncode == 2 and 'no capture device is called "gramophone"' in wrong.stderr, wrong
