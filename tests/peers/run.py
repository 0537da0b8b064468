#!/usr/bin/env python3
"""Peers that are not ours, against the program: `make peers`, or run.py NAME … for some of the tests.

What a test needs and is not here makes it skipped, with the reason.
"""

import importlib
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

from house import Skipped

MODULES = ["rtp", "sockets", "listen", "examples"]


def run(test):
    began = time.monotonic()
    try:
        test()
        verdict, words = "ok", ""
    except Skipped as why:
        verdict, words = "skipped", str(why)
    except Exception:
        verdict, words = "FAILED", traceback.format_exc()
    took = time.monotonic() - began
    print(f"{verdict:8}{test.__module__}: {test.__name__.removeprefix('test_').replace('_', ' ')} ({took:.0f} s) {words}", flush=True)
    return verdict


def main():
    modules = [importlib.import_module(name) for name in MODULES]

    def wanted(module):
        tests = [value for name, value in vars(module).items() if name.startswith("test_")]
        words = sys.argv[1:]
        return [test for test in tests if not words or any(word in f"{test.__module__} {test.__name__}" for word in words)]

    # Most of the time is that of the audio: the modules run side by side.
    with ThreadPoolExecutor(len(modules)) as pool:
        verdicts = sum(pool.map(lambda module: [run(test) for test in wanted(module)], modules), [])
    counts = [verdicts.count(verdict) for verdict in ("ok", "FAILED", "skipped")]
    print("peers: {} passed, {} failed, {} skipped".format(*counts))
    sys.exit(1 if counts[1] or not verdicts else 0)


if __name__ == "__main__":
    main()
