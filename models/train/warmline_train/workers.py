"""Jobs on forked processes: the workers inherit the jobs, so only their numbers and results travel."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

_function: Callable[[Any], Any]
_jobs: Sequence[Any]


def in_order(function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, chunk: int = 1) -> Iterator[Result]:
    """`function` of every job, `workers` at a time; results in the order of the jobs."""
    fork = multiprocessing.get_context("fork")
    with fork.Pool(workers, initializer=_inherit, initargs=(function, jobs)) as pool:
        yield from pool.imap(_do, range(len(jobs)), chunksize=chunk)


def _inherit(function: Callable[[Any], Any], jobs: Sequence[Any]) -> None:
    global _function, _jobs
    _function, _jobs = function, jobs


def _do(number: int) -> Any:
    return _function(_jobs[number])
