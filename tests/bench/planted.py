"""Engines planted in tests: right ones, slow ones, and ones that fail in every way the harness must survive."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np

from knnscope.bench import timing
from knnscope.errors import KnnscopeError
from knnscope.records import Capabilities, Neighbors
from knnscope.search import definition
from knnscope.search.catalog import Entry
from knnscope.search.rounding import Formula
from knnscope.threads import cleared


class Right:
    """The definition; it is its own index. The others differ in what they say below."""

    capabilities = Capabilities(metrics=frozenset(definition.METRICS), dtypes=frozenset(definition.DTYPES))

    def formula(self, metric: str, dtype: str, queries: int, dim: int) -> Formula:
        return Formula("difference")

    def build(self, vectors: Any, metric: str) -> Right:
        self.rows, self.metric = vectors, metric
        return self

    def search(self, queries: Any, k: int) -> Neighbors:
        found = definition.search(self.rows, queries, k, self.metric)
        return Neighbors(self.spoilt(found.ids), found.distances)

    def spoilt(self, ids: Any) -> Any:
        return ids


class WrongIds(Right):
    def spoilt(self, ids: Any) -> Any:
        return (ids + 1) % len(self.rows)


class WrongOrder(Right):
    def spoilt(self, ids: Any) -> Any:
        return ids[:, [1, 0, *range(2, ids.shape[1])]]


class Twice(Right):
    def spoilt(self, ids: Any) -> Any:
        return ids[:, [0, 0, *range(2, ids.shape[1])]]


class WrongAtTheEnd(Right):
    """For the last query of a batch."""

    def spoilt(self, ids: Any) -> Any:
        ids[-1] = ids[-1, ::-1]
        return ids


class WrongInTheLast(Right):
    """For the last query of tests/bench/test_session.py, however it is asked, and slow enough that it is never timed."""

    def search(self, queries: Any, k: int) -> Neighbors:
        found = super().search(queries, k)
        time.sleep(0.06)
        for line, query in enumerate(queries):
            if query.tobytes() == LAST:
                found.ids[line] = found.ids[line, ::-1]
        return found


LAST = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)[-1].tobytes()


class ZeroDistances(Right):
    def search(self, queries: Any, k: int) -> Neighbors:
        found = super().search(queries, k)
        return Neighbors(found.ids, np.zeros_like(found.distances))


class TooFew(Right):
    def search(self, queries: Any, k: int) -> Neighbors:
        found = super().search(queries, k)
        return Neighbors(found.ids[:, :-1], found.distances[:, :-1])


class TooMany(Right):
    def spoilt(self, ids: Any) -> Any:
        return np.hstack([ids, ids])


class OneLineForAll(Right):
    def spoilt(self, ids: Any) -> Any:
        return ids[:1]


class Flat(Right):
    def spoilt(self, ids: Any) -> Any:
        return ids[0]


class Negative(Right):
    def spoilt(self, ids: Any) -> Any:
        ids[:, -1] = -1
        return ids


class OutOfRange(Right):
    def spoilt(self, ids: Any) -> Any:
        return ids + 10**6


class Fickle(Right):
    """Right the first two times that a query is asked, wrong from then on."""

    def search(self, queries: Any, k: int) -> Neighbors:
        self.__dict__.setdefault("asked", Counter())[queries.tobytes()] += 1
        found = super().search(queries, k)
        return found if self.asked[queries.tobytes()] < 3 else Neighbors(found.ids[:, ::-1], found.distances)


class Raises(Right):
    def search(self, queries: Any, k: int) -> Neighbors:
        raise RuntimeError("no luck today\nand a second line")


class RaisesBuilding(Right):
    def build(self, vectors: Any, metric: str) -> Right:
        raise ValueError


class SaysNothing(Right):
    """An error of this package without a text."""

    def search(self, queries: Any, k: int) -> Neighbors:
        raise KnnscopeError


class Aborts(Right):
    def search(self, queries: Any, k: int) -> Neighbors:
        print("the library's last words", file=sys.stderr)
        os.abort()


class Exits(Right):
    def search(self, queries: Any, k: int) -> Neighbors:
        sys.exit(3)


class Exhausts(Right):
    """Takes ever more memory, 64 MiB at a time."""

    piece = 1 << 23

    def build(self, vectors: Any, metric: str) -> Right:
        kept = []
        while True:
            kept.append(np.ones(self.piece))


class ExhaustsInCrumbs(Exhausts):
    """To the last kilobyte: nothing is left to report it with."""

    piece = 200


class BadAlloc(Right):
    """Dies as C++ does when memory runs out."""

    def search(self, queries: Any, k: int) -> Neighbors:
        os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n")
        os.abort()


class SpeaksOfMemory(Right):
    """Crashes after words that must not be taken for the reason."""

    def search(self, queries: Any, k: int) -> Neighbors:
        os.write(2, b"memory allocator ready\n")
        os.abort()


class Hangs(Right):
    def search(self, queries: Any, k: int) -> Neighbors:
        while True:
            time.sleep(3600)


class HangsDeaf(Right):
    """In a C call that holds the interpreter, with SIGTERM ignored."""

    def build(self, vectors: Any, metric: str) -> Right:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while True:
            ctypes.PyDLL(None).sleep(3600)


class HangsUp(Right):
    """Closes every file, the harness's pipes too, and goes on."""

    def search(self, queries: Any, k: int) -> Neighbors:
        os.closerange(3, 256)
        while True:
            time.sleep(3600)


class Takes(Right):
    """So many seconds, and a little more or less, of a clock that nothing else moves: it replaces that of its process."""

    seconds = 0.012

    def build(self, vectors: Any, metric: str) -> Right:
        self.now, self.calls = time.perf_counter_ns(), 0
        own = SimpleNamespace(perf_counter_ns=lambda: self.now, process_time_ns=lambda: self.now)
        vars(timing)["time"] = own
        return super().build(vectors, metric)

    def search(self, queries: Any, k: int) -> Neighbors:
        self.calls += 1
        self.now += round(self.seconds * (1e9 + 1e7 * (self.calls % 3)))
        return super().search(queries, k)


class TakesLonger(Takes):
    seconds = 1.15 * Takes.seconds


class AbortsAtTen(Right):
    def search(self, queries: Any, k: int) -> Neighbors:
        if len(queries) == 10:
            os.abort()
        return super().search(queries, k)


class Chatters(Right):
    """More than a pipe holds, on both streams, also past Python."""

    def search(self, queries: Any, k: int) -> Neighbors:
        print("{}\n" * 20_000, flush=True)
        os.write(2, b"noise " * 20_000)
        return super().search(queries, k)


class OnlyL2(Right):
    capabilities = Capabilities(metrics=frozenset({"l2"}))


class Shallow(Right):
    capabilities = Capabilities(metrics=frozenset(definition.METRICS), max_k=5)


class Tells(Right):
    """The variables that steer libraries, as this process sees them."""

    def build(self, vectors: Any, metric: str) -> Right:
        raise KnnscopeError(json.dumps(cleared()))


class Spins(Right):
    """Has a thread that never rests, and a process of its own."""

    def build(self, vectors: Any, metric: str) -> Right:
        def spin() -> None:
            while True:
                pass

        threading.Thread(target=spin, daemon=True).start()
        self.helper = subprocess.Popen(["sleep", "3600"])
        return super().build(vectors, metric)


def entry(engine: type[Right]) -> Entry:
    return Entry(f"{__name__}:{engine.__name__}", "numpy", None, "planted")


ENGINES = {
    engine.__name__: entry(engine)
    for engine in list(globals().values())
    if isinstance(engine, type) and issubclass(engine, Right)
} | {
    "AlsoRight": entry(Right),
    "Missing": Entry(f"{__name__}:Right", "no_such_library", "cpu", "planted"),
}
