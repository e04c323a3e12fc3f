"""Rows searched by processors, and by a GPU where that has been faster here for such a search: ``device="auto"``. Decision 047.

Both answer the same bits, so what decides is time, and time is measured: of each kind of search the shortest that either took. Starting a GPU takes
seconds, so it waits until searches have taken as long; what is predicted to take longer at once starts it at once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from knnscope.arithmetic import Ieee
from knnscope.certified.cpu.ending import at_work
from knnscope.certified.cpu.meanwhile import Aside, Given, Meanwhile
from knnscope.certified.making import OnCpu
from knnscope.certified.row_file import file_of
from knnscope.certified.scanner import RadiusRequest, Ranked, Request, Scanner, Within
from knnscope.errors import KnnscopeError

LEAST_ROWS = 4096
"""Rows below which a processor answers before a GPU has been asked."""
LEAST_S = 200e-6
"""A search that takes less: two copies and three kernels take half of it, which is not worth starting a GPU for."""
STARTING_S, COPY_RATE = 2.0, 5e9
"""Seconds that starting a GPU takes; bytes of rows a second that it takes and writes codes of."""
PAIR_S = 0.5e-9
"""Seconds that a row and query take, by one thread, at the very least: what a first search is predicted by."""
AGAIN, HOPELESS = 64, 4.0
"""Searches of a kind after which the slower one is tried again, unless it took so many times as long."""
FAILURES = (KnnscopeError, RuntimeError, MemoryError, OSError)
"""Of a GPU: its memory is full, say, or its driver fails."""


class Kind(NamedTuple):
    """Searches that take about as long as each other: numbers of queries and neighbors as powers of two, and whether rows are filtered."""

    queries: int
    k: int
    masked: bool


def kind_of(request: Request) -> Kind:
    """Of a request."""
    return Kind(len(request.queries).bit_length(), request.k.bit_length(), bool(len(request.allowed)))


class Times:
    """Of each kind of search the shortest times of two ways, and how often it was asked."""

    def __init__(self) -> None:
        self._least: dict[tuple[Kind, int], float] = {}
        self._asked: dict[Kind, int] = {}

    def choose(self, kind: Kind) -> int:
        """Which way to go: 0 or 1."""
        asked = self._asked[kind] = self._asked.get(kind, 0) + 1
        first, second = (self._least.get((kind, way)) for way in (0, 1))
        if first is None or second is None:
            return int(first is not None)
        best, other = int(second < first), max(first, second) / min(first, second)
        return best ^ int(asked % AGAIN == 0 and other < HOPELESS)

    def took(self, kind: Kind, way: int, seconds: float) -> None:
        """Write down what a search took."""
        key, seconds = (kind, way), max(seconds, 1e-9)  # clocks are coarse on some machines
        before = self._least.get(key)
        # a machine that has become slower is believed after some searches
        self._least[key] = seconds if before is None else min(seconds, before * 1.02)


class Either:
    """A scanner of processors, and one of a GPU that is built when it has become worth it."""

    def __init__(self, given: Given, here: Scanner, there: Callable[[Given], Scanner | None], threads: int) -> None:
        """Begin with processors.

        Args:
            given: the rows.
            here: how processors search them.
            there: builds the other one; None where there is none.
            threads: of ``here``.
        """
        self.here, self._given, self._build, self._threads = here, given, there, threads
        self._spent, self._times = 0.0, Times()
        self._there: dict[int, Scanner | None] = {}
        self._asides: dict[int, Aside] = {}

    def __getattr__(self, name: str) -> Any:  # graphs, and what a kind of processors has besides
        return getattr(object.__getattribute__(self, "here"), name)

    @property
    def there(self) -> Scanner | None:
        """What a GPU searches, in this process: a fork has none of its parent's."""
        return self._there.get(os.getpid())

    @property
    def levels(self) -> str:
        """What is scanned before the rows, in words."""
        return self.here.levels

    @property
    def nbytes(self) -> int:
        """Bytes beside the rows."""
        return self.here.nbytes + (self.there.nbytes if self.there else 0)

    def prompt(self, queries: Any, k: int) -> Ranked | None:
        """See ``Scanner``."""
        return self.here.prompt(queries, k)

    def again(self, queries: Any, k: int, threads: int | None) -> Ranked | None:
        """See ``Scanner``; where a GPU may be asked, that is chosen each time."""
        return self.here.again(queries, k, threads) if threads is not None or self._is_alone() else None

    def nearest(self, request: Request, threads: int | None = None) -> Ranked:
        """Answer a request; see ``Scanner``. Who asks for a number of threads asks processors."""
        if threads is not None or not len(request.queries) or self._is_alone():
            return self.here.nearest(request, threads)
        kind = kind_of(request)
        there = self.there or self._started(len(request.queries))
        way = self._times.choose(kind) if there else 0
        began = time.perf_counter()
        if way and there:
            try:
                found = there.nearest(request)
            except FAILURES:
                found = self.here.nearest(request)  # which says what is wrong with the request; else it is the GPU
                self._there[os.getpid()] = None
                return found
        else:
            found = self.here.nearest(request)
        took = time.perf_counter() - began
        self._times.took(kind, way, took)
        if not there and took > LEAST_S:
            self._spent += took
        return found

    def within(self, request: RadiusRequest, threads: int | None = None) -> Within:
        """Answer a request for all rows within a radius; see ``Scanner``."""
        return self.here.within(request, threads)

    def wait(self) -> Either:
        """The same, with codes that are written: see ``Meanwhile.wait``."""
        if isinstance(self.here, Meanwhile):
            return Either(self._given, self.here.wait(), self._build, self._threads)
        return self

    def _is_alone(self) -> bool:
        """Whether it is known that no GPU can be had."""
        process = os.getpid()
        return process in self._there and self._there[process] is None

    def _started(self, queries: int) -> Scanner | None:
        """The GPU's, where it is there now; begins it once it is worth it."""
        process, rows = os.getpid(), self._given.rows
        price = STARTING_S + rows.nbytes / COPY_RATE
        at_once = queries * len(rows) * PAIR_S / self._threads > price
        if not at_once and self._spent < price:
            return None
        aside = self._asides.setdefault(process, Aside(self._begin))
        while not aside.is_over() and at_once:
            time.sleep(0.01)
        if aside.error is not None:
            raise aside.error
        return self.there

    def _begin(self) -> None:
        """Build the GPU's; what goes wrong there leaves all to processors."""
        found: Scanner | None = None
        try:
            with np.errstate(all="ignore"), Ieee(), at_work():
                found = self._build(self._given)
        except FAILURES:
            found = None
        finally:
            self._there[os.getpid()] = found


class OnEither(OnCpu):
    """Rows in host memory, and copies of them in a GPU's where that is worth it."""

    def __init__(self, scanner: Any, there: Callable[[Given], Scanner | None]) -> None:
        """there: builds a GPU's scanner, None where there is none; see ``Either``."""
        super().__init__(scanner)
        self.device, self._there = "auto", there

    def first(self, given: Given) -> Any:
        """See ``OnCpu``."""
        return self._either(given, super().first(given))

    def added(self, given: Given) -> Any:
        """See ``OnCpu``."""
        made, coarse = super().added(given)
        return self._either(given, made), coarse

    def merged(self, given: Given, beside: bool) -> Any:
        """See ``OnCpu``."""
        return self._either(given, super().merged(given, beside))

    def kept(self, given: Given, beside: Any) -> Any:
        """See ``OnCpu``."""
        return self._either(given, super().kept(given, beside))

    def _either(self, given: Given, here: Scanner) -> Scanner:
        if len(given.rows) < LEAST_ROWS or self.memory != "fast" or file_of(given.rows) is not None:
            return here
        return Either(given, here, self._there, self.threads)


def gpu_beside(device: int = 0) -> Callable[[Given], Scanner | None]:
    """What builds scanners on a GPU, if there are one and what it needs; asked when it is to be used, not before."""

    def build(given: Given) -> Scanner | None:
        from knnscope.errors import require
        from knnscope.search.device import gpu_problem

        if gpu_problem():
            return None
        living = require("knnscope.certified.cuda.living", "cuda13", "cupy")
        # codes in pieces would take the host's memory a second time, which nobody has asked for
        made: Scanner = living.scanner((device,), None, in_pieces=False).build(*given)
        return made

    return build
