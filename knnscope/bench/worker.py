"""Builds one engine and calls it: the part of a measurement that runs in a process of its own."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.bench.memory import peak
from knnscope.bench.plan import NEW_CALLS, WARM_SECONDS, Case
from knnscope.bench.timing import Clock, CudaClock, HostClock, Sample, WarmUp, apart, overhead_ns, timed, warm_up
from knnscope.bench.timing import prime as wake
from knnscope.environment import cpu
from knnscope.errors import KnnscopeError, UnsupportedError
from knnscope.records import Neighbors
from knnscope.search import device
from knnscope.search.engine import Engine, Index, build, check_build, check_k

FLUSH_LIMIT = 1 << 29
"""Bytes written at most to empty the processor's caches."""


@dataclass(frozen=True, slots=True)
class Built:
    """An index: how long it took, the memory at its peak, and what was compiled meanwhile, which ``build_ns`` leaves out."""

    build_ns: int
    host_bytes: int | None
    gpu_bytes: int | None
    compile_ns: int = 0
    how: str = ""
    """How it computes, in words, as the index says it."""


@dataclass(frozen=True, slots=True)
class Warmed:
    """A case made ready: its first call (``fresh``: nothing was searched before in this process), peaks while searching."""

    warm: WarmUp
    fresh: bool
    host_bytes: int | None
    gpu_bytes: int | None
    overhead_ns: int


Answer = tuple[int, npt.NDArray[np.int64], npt.NDArray[np.floating[Any]] | None]
"""To the queries from a first one on: ids and distances, (queries, k); no distances from a process of an older version."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Timed calls, and the answers that this worker has not given before: first query, ids and distances, (batch, k)."""

    samples: list[Sample]
    answers: list[Answer]


class Worker:
    """One engine over one data set."""

    def __init__(
        self,
        engine: Engine,
        rows: npt.NDArray[Any],
        queries: npt.NDArray[Any],
        metric: str,
        clock: Callable[[], Clock] | None = None,
    ) -> None:
        self._engine, self._rows, self._queries, self._metric = engine, rows, queries, metric
        self._count = len(rows)
        self._library = device.library() if "cuda" in engine.capabilities.devices else None
        self._free_before = self._library.free_bytes() if self._library else None
        self._clock = clock or self._own_clock
        self._index: Index | None = None
        self._searched = False
        self._given: dict[tuple[Case, int], bytes] = {}
        self._called: set[Case] = set()
        self._on_device: Any = None

    def _own_clock(self) -> Clock:
        return HostClock() if self._library is None else CudaClock(self._library)

    def build(self) -> Built:
        """Make the index; the rows are given up by this process, an engine that copied them need not hold them twice.

        Raises:
            KnnscopeError: rows that cannot be searched, or queries outside of what the index says that it can sum.
        """
        check_build(self._engine, self._rows, self._metric, "this engine")
        with peak(self._library, self._free_before) as found:
            sample, self._index, compiled = apart(lambda: self._engine.build(self._rows, self._metric), self._clock())
        if (held := getattr(self._index, "range", None)) is not None:  # once, and outside of what is timed
            held.check(self._queries)
        self._rows = np.empty((0, self._rows.shape[1]), self._rows.dtype)  # a slice would hold all of them
        return Built(sample.wall_ns, found.host, found.gpu, compiled, str(getattr(self._index, "how", "")))

    def build_checked(self, later: int = 0) -> bool:
        """Make an index that checks what it is given, as searching outside of a measurement does.

        Args:
            later: how many rows, the last ones, are added after the others were built.

        Returns:
            Whether the engine offers adding; True where nothing was to be added.
        """
        first = len(self._rows) - later
        index = build(self._engine, self._rows[:first], self._metric, "this engine")
        if later and not index.adds:
            return False
        if later:
            index.add(self._rows[first:])
        self._index = index
        return True

    def warm(self, case: Case, seconds: float = WARM_SECONDS) -> Warmed:
        """The first call, then more until they are stable or these seconds have passed, then one whose memory is watched."""
        check_k(case.k, self._count, self._engine.capabilities.max_k)
        call = self._call(case, 0)
        fresh, self._searched = not self._searched, True
        clock = self._clock()
        warmed = warm_up(call, clock, seconds)
        self._called.add(case)
        with peak(self._library, self._free_before) as found:
            call()
            if self._library:
                self._library.synchronize()
        return Warmed(warmed, fresh, found.host, found.gpu, overhead_ns(clock))

    def turn(self, case: Case, firsts: Sequence[int], cold: bool = False, prime: bool = True) -> Turn:
        """Timed calls, one for each first query of a batch.

        Args:
            case: what to call.
            firsts: first query of each call's batch.
            cold: overwrite the caches before each call.
            prime: make untimed calls before, for 10 ms, and where the case is new to this process at least three.

        Raises:
            KnnscopeError: an answer that is no array yet: it would be computed when it is read, outside of the clock.
            ValueError: not k ids and distances for each query.
        """
        clock = self._clock()
        calls = [self._call(case, first) for first in firsts]
        if prime and not cold:
            wake(calls[0], clock, calls=1 if case in self._called else NEW_CALLS)
        self._called.add(case)
        samples: list[Sample] = []
        answers: list[Answer] = []
        for first, call in zip(firsts, calls, strict=True):
            if cold:
                self._flush()
            sample, found = timed(call, clock)
            samples.append(sample)
            ids, distances = _whole(
                self._on_host(found.ids, "ids", case), self._on_host(found.distances, "distances", case), case
            )
            if self._given.get((case, first)) != (raw := ids.tobytes() + distances.tobytes()):
                self._given[case, first] = raw
                answers.append((first, ids, distances))
        return Turn(samples, answers)

    def answers(self, k: int, batch: int, count: int) -> Neighbors:
        """Ids and distances for the first ``count`` queries, from the host, ``batch`` at once.

        Raises:
            ValueError: not k of both for each.
        """
        assert self._index is not None
        found = [self._index.search(self._queries[i : min(i + batch, count)], k) for i in range(0, count, batch)]
        self._searched = True
        ids = np.concatenate([np.asarray(f.ids, dtype=np.int64) for f in found])
        distances = np.concatenate([np.asarray(f.distances, dtype=np.float64) for f in found])
        if not ids.shape == distances.shape == (count, k):
            raise ValueError(f"ids of shape {ids.shape} and distances of shape {distances.shape} for k = {k}")
        return Neighbors(ids, distances)

    def _call(self, case: Case, first: int) -> Callable[[], Neighbors]:
        index = self._index
        assert index is not None
        if case.boundary == "device":
            if self._library is None:
                raise UnsupportedError("runs on the CPU: it has no device boundary")
            if self._on_device is None:
                self._on_device = self._library.to_device(self._queries)
            some = self._on_device[first : first + case.batch]
        else:
            some = self._queries[first : first + case.batch]
        k = case.k
        return lambda: index.search(some, k)

    def _on_host(self, array: Any, what: str, case: Case) -> npt.NDArray[Any]:
        if isinstance(array, np.ndarray):
            return array
        if case.boundary == "device" and self._library is not None and device.is_device(array):
            return self._library.to_host(array)
        raise KnnscopeError(
            f"{case.engine} answers with {what} of type {type(array).__name__}, which may be computed only when read, after the clock "
            f"has stopped: NumPy arrays{' or arrays in GPU memory' if case.boundary == 'device' else ''} were expected"
        )

    def _flush(self) -> None:
        """Overwrite twice the last level of the caches of the processor that computes."""
        if self._library is not None:
            self._library.flush()
            self._library.synchronize()
        else:
            size = min(2 * max(cpu()["caches"].values(), default=1 << 25), FLUSH_LIMIT)
            with mmap.mmap(-1, size) as room:  # shared, so that it does not count against the engine's limit
                np.frombuffer(room).fill(1.0)


def _whole(
    ids: npt.NDArray[Any], distances: npt.NDArray[Any], case: Case
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """One line for each query with k of both, -1 and no number where the engine found fewer, so that none goes unjudged."""
    count = ids.shape[1] if ids.ndim == 2 else 0
    if len(ids) != case.batch or not 0 < count <= case.k:
        raise ValueError(f"ids of shape {ids.shape} for {case.batch} queries and k = {case.k}")
    if distances.shape != ids.shape:
        raise ValueError(f"distances of shape {distances.shape} for ids of shape {ids.shape}")
    found, values = np.full((case.batch, case.k), -1, dtype=np.int64), np.full((case.batch, case.k), np.nan)
    found[:, :count], values[:, :count] = ids, distances
    return found, values
