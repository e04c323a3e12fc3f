"""Searches that signals interrupt, at moments that nobody chooses: the next answer, and the one that goes on, are right.

    python -m tests.certified.interrupted --times 10000 --threads 2 [--handler] [--busy 2]

An alarm strikes while an index searches. Its handler raises, and the next search has to be right; or (``--handler``) it searches the same
index itself, and both answers have to be. Nothing is said of when the alarm strikes, so load changes what is tried and not what is right.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from knnscope.certified.index import ExactIndex
from knnscope.records import Neighbors

K = 10
DIM = 64


class AlarmError(Exception):
    """What a handler raises."""


@contextlib.contextmanager
def handling(handler: Any) -> Iterator[None]:
    """Alarms go to this handler, and none strikes in a garbage collection, whose callbacks' exceptions Python drops."""
    before = signal.signal(signal.SIGALRM, handler)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        signal.signal(signal.SIGALRM, before)


_armed = False


def arm(on: bool) -> None:
    """From when and until when ``strike`` raises: an alarm may be on its way when its timer is stopped already."""
    global _armed
    _armed = on


def strike(*_: object) -> None:
    """A handler that raises, once, while it may."""
    if _armed:
        arm(False)
        raise AlarmError


def same(one: Neighbors, other: Neighbors) -> bool:
    """Both answers, to the bit."""
    return np.array_equal(one.ids, other.ids) and np.array_equal(one.distances, other.distances)


def stopped(index: ExactIndex, queries: Any, seconds: float, **options: Any) -> Neighbors | None:
    """Search until an alarm strikes after so many seconds; None where it did."""
    found = None
    with handling(strike):
        try:
            arm(True)
            signal.setitimer(signal.ITIMER_REAL, seconds)
            found = index.search(queries, K, **options)
            arm(False)
        except AlarmError:
            pass
        signal.setitimer(signal.ITIMER_REAL, 0)
    return found


def within(
    index: ExactIndex, outer: Any, inner: Any, seconds: float, **options: Any
) -> tuple[Neighbors, list[Neighbors]]:
    """Search, and search once more in the handler of an alarm that comes after so many seconds."""
    there: list[Neighbors] = []
    with handling(lambda *_: there.append(index.search(inner, K, **options))):
        signal.setitimer(signal.ITIMER_REAL, seconds)
        found = index.search(outer, K, **options)
        signal.setitimer(signal.ITIMER_REAL, 0)
    return found, there


def main() -> int:
    """Count; exit code 1 where an answer was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=1000, help="interruptions that struck")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=30)
    parser.add_argument("--handler", action="store_true", help="the handler searches instead of raising")
    parser.add_argument("--busy", type=int, default=0, help="loops that keep the machine busy meanwhile")
    args = parser.parse_args()
    made = np.random.default_rng(0)
    rows = made.standard_normal((args.rows, DIM), dtype=np.float32)
    first, second = made.standard_normal((2, args.queries, DIM), dtype=np.float32)
    alone = ExactIndex(rows, threads=1)
    expected, others = alone.search(first, K), alone.search(second, K)
    index = ExactIndex(rows, threads=args.threads)
    index.search(first, K)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(args.busy)]
    picks, seen = random.Random(1), Counter[str]()
    try:
        took = time.perf_counter()
        for _ in range(5):
            index.search(first, K)
        took = (time.perf_counter() - took) / 5
        while seen["struck"] < args.times:
            seconds = picks.uniform(1e-6, 1.3 * took)
            if args.handler:
                found, there = within(index, first, second, seconds)
                seen.update(struck=len(there), wrong_inside=sum(not same(one, others) for one in there))
            else:
                stop = stopped(index, first, seconds)
                seen.update(struck=stop is None, wrong_first=stop is not None and not same(stop, expected))
                found = index.search(first, K) if seen["searches"] % 2 else index.search(second, K)
                seen.update(wrong=not same(found, expected if seen["searches"] % 2 else others))
            if args.handler:
                seen.update(wrong=not same(found, expected))
            seen.update(searches=1)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    print(vars(args), dict(seen))
    return 1 if any(count for name, count in seen.items() if name.startswith("wrong")) else 0


if __name__ == "__main__":
    sys.exit(main())
