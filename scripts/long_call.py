#!/usr/bin/env python3
"""Writes a two-channel call of so many minutes, made of the bundled ones end to end.

    long_call.py MINUTES OUT.wav
"""
import pathlib
import sys
import wave

CALLS = pathlib.Path(__file__).parent.parent / "fixtures" / "calls"


def main():
    minutes, out = float(sys.argv[1]), sys.argv[2]
    frames = b""
    for name in ("escalating.wav", "calm.wav"):
        with wave.open(str(CALLS / name)) as call:
            parameters = call.getparams()
            frames += call.readframes(call.getnframes())
    wanted = int(minutes * 60 * parameters.framerate) * parameters.nchannels * parameters.sampwidth
    with wave.open(out, "wb") as call:
        call.setparams(parameters)
        while wanted > 0:
            call.writeframes(frames[:wanted])
            wanted -= len(frames)


main()
