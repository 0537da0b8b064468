#!/usr/bin/env python3
"""Runs a command without its standard output and says what it took.

    measure.py COMMAND ...
"""
import resource
import subprocess
import sys

done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(f"  {used.ru_utime + used.ru_stime:.2f} s of processor time, {used.ru_maxrss / 1024:.1f} MiB at the most", file=sys.stderr)
sys.exit(done.returncode)
