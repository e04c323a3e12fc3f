"""Exact search that reads a quarter of the float32 rows: codes exclude almost all of them for certain, the rest is ranked by definition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope import threads as budgets
from knnscope.certified import codes as coding
from knnscope.certified import kinds, rerank, scratch
from knnscope.certified.arrays import as_queries, as_rows
from knnscope.certified.asked import ask
from knnscope.certified.certificate import WIDEN
from knnscope.certified.codes import CHUNK, PANEL, Codes
from knnscope.certified.scan import State
from knnscope.certified.values import computable
from knnscope.certified.workers import Workers
from knnscope.errors import KnnscopeError, unknown_name
from knnscope.search import topk
from knnscope.search.engine import check_k

ROOMS = ((22, 512), (64, 4096))
"""Candidates that a query has room for: so many times k, and so many. Queries that overflow the first are scanned once more."""
BLOCK = 1024
"""Queries that share a pass over the codes, if their candidates fit in ``BLOCK_BYTES``."""
BLOCK_BYTES = 1 << 27
RANKED = 64
"""Queries whose candidates are ranked sooner than another thread has woken up."""
OWN_TILES = (2, 8)
"""Tiles of queries a thread from which on each thread has its own queries, not its own rows: of codes up to ``NEAR``, and beyond, where
reading them twice is what counts (100 queries of 1,000,000 rows: 1.5 times one thread's time instead of 1.02)."""
NEAR = 1 << 26
"""Bytes of codes."""
LEAD = 1 << 21
"""Bytes of codes that the caller reads while another thread wakes up: so many more are its own. Who waits is put to sleep and woken, for
0.03 ms of CPU time; with more than this the others would wait instead."""
MOST = 4
"""A k above one in so many rows: bounds would exclude little, so all rows compete."""
DEVICES = ("auto", "cpu")


@dataclass(frozen=True, slots=True)
class Certificate:
    """Why an answer is exact.

    rows_scanned: rows whose bound was looked at. candidates: int64, (queries,): rows that it could not exclude. computed: of those,
    distances computed. margin: float64, (queries,): the rows left out are at least this much further than the k-th neighbor (for l2
    in plain distance, not squared; infinite where none was left out). path: the scans used (``kinds.plan``), and "exhaustive" where bounds were of
    no use.
    """

    rows_scanned: int
    candidates: npt.NDArray[np.int64]
    computed: npt.NDArray[np.int64]
    margin: npt.NDArray[np.float64]
    path: tuple[str, ...]
    exact: bool = True


@dataclass(frozen=True, slots=True)
class Found:
    """ids: int64, (queries, k), -1 where fewer than k rows are allowed. distances: float64, infinite there; l2 is squared."""

    ids: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float64]
    certificate: Certificate


class ExactIndex:
    """The k nearest rows, equal to float64's answer (search/topk.py), ties by the smallest id; may be asked by several threads at once."""

    def __init__(
        self,
        vectors: Any,
        metric: str = "l2",
        ids: npt.ArrayLike | None = None,
        device: str = "auto",
        threads: int | None = None,
        kind: str | None = None,
    ) -> None:
        """Write the rows as codes.

        Args:
            vectors: (rows, dim), finite: float64, float32, float16, int8, uint8 or int32, as an array, a memory map, or anything with
                ``__array__`` or ``__dlpack__`` (also bfloat16). Kept as they are, for the last step: do not change them.
            metric: l2, ip or cosine.
            ids: whole numbers from 0, (rows,): what rows are called (default: their numbers).
            device: auto or cpu.
            threads: how many work at once (default: the thread budget).
            kind: of products, one of ``kinds.available()`` (default: the fastest).

        Raises:
            KnnscopeError: a wrong shape or type, or a number that is not finite; names where.
        """
        if metric not in topk.METRICS:
            raise unknown_name("metric", metric, topk.METRICS)
        if device not in DEVICES:
            raise KnnscopeError(f"device {device!r}: certified search runs on {' or '.join(DEVICES)}")
        self._rows = as_rows(vectors)
        self._metric = metric
        self._names = _names(ids, len(self._rows))
        self._crews: dict[int, Workers] = {}
        self._workers = self._crew(budgets.budget() if threads is None else threads)
        self._kind = kinds.choose(kind)
        self._codes = coding.build(computable(self._rows), metric, self._workers)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and components."""
        rows, dim = self._rows.shape
        return rows, dim

    @property
    def nbytes(self) -> int:
        """Bytes beside the rows: codes and bounds."""
        return self._codes.nbytes if self._codes else 0

    def search(
        self, queries: Any, k: int, where: npt.NDArray[np.bool_] | None = None, threads: int | None = None
    ) -> Found:
        """The k nearest rows of each query.

        Args:
            queries: (queries, dim), finite, of a type that rows may have.
            k: 1 to the number of rows.
            where: bool, (rows,) or (queries, rows): rows that may be answers.
            threads: how many work at once (default: as built).

        Raises:
            KnnscopeError: a wrong shape, type, k or number; or values that float64 cannot hold.
        """
        rows, dim = self.shape
        values = as_queries(queries, dim)
        check_k(k, rows)
        allowed = _allowed(where, len(values), rows)
        workers = self._workers if threads is None else self._crew(threads)
        return _Search(self, values, k, allowed, workers).run()

    def _crew(self, threads: int) -> Workers:
        if threads < 1:
            raise KnnscopeError(f"threads {threads}: at least 1")
        return self._crews.setdefault(threads, Workers(threads))


class _Search:
    """One call of ``ExactIndex.search``."""

    def __init__(
        self,
        index: ExactIndex,
        queries: npt.NDArray[np.float64],
        k: int,
        allowed: npt.NDArray[np.bool_],
        workers: Workers,
    ) -> None:
        count = len(queries)
        self.index, self.queries, self.k, self.allowed, self.workers = index, queries, k, allowed, workers
        self.rows = computable(index._rows)
        self.metric = topk.METRICS.index(index._metric)
        self.ids = np.empty((count, k), dtype=np.int64)
        self.distances = np.empty((count, k))
        self.candidates = np.full(count, -1, dtype=np.int64)
        self.computed = np.zeros(count, dtype=np.int64)
        self.margin = np.full(count, np.inf)
        self.far = np.zeros(count, dtype=np.bool_)
        self.kinds: set[str] = set()
        dim = queries.shape[1]
        self.widen = (1 + 2 * (dim + 8) * 2.0**-53 if self.metric == 0 else 1.0) * WIDEN

    def run(self) -> Found:
        """Scan, rank, and let all rows compete where the scan was of no use."""
        codes, index = self.index._codes, self.index
        if codes is not None and self.k * MOST <= codes.rows:
            for factor, more in ROOMS:
                room = factor * self.k + more
                left = np.flatnonzero((self.candidates < 0) & ~self.far)
                size = max(1, min(BLOCK, BLOCK_BYTES // (32 * room + 16 * self.k)))
                for first in range(0, len(left), size):
                    self._block(codes, left[first : first + size], room)
        scanned = self.candidates >= 0
        if not scanned.all():
            self._exhaust(np.flatnonzero(~scanned))
        if (self.computed < 0).any():
            raise KnnscopeError(f"{index._metric} of finite numbers overflows: scale the vectors down")
        self.margin[self.computed == len(self.rows)] = np.inf
        path = (*(sorted(self.kinds) if scanned.any() else ()), *(() if scanned.all() else ("exhaustive",)))
        proof = Certificate(len(self.rows), self.candidates, self.computed, self.margin, path)
        return Found(self.ids, self.distances, proof)

    def _block(self, codes: Codes, numbers: npt.NDArray[np.int64], room: int) -> None:
        """Some queries by one pass over the codes."""
        count = len(numbers)
        every = count == len(self.queries)
        queries = self.queries if every else self.queries[numbers]
        kind, width, digits = kinds.plan(self.index._kind, count)
        self.kinds.add(kind)
        asked = ask(queries, codes, kind, width, digits)
        tiles, panels = len(asked.packed), len(codes.coded.scales) // PANEL
        by_query = tiles >= OWN_TILES[codes.nbytes > NEAR] * self.workers.count
        parts = 1 if by_query else max(1, min(self.workers.count, panels))
        state = scratch.state("all", (parts, count), self.k, room)
        self.far[numbers] = asked.far[:count]
        allowed = self.allowed if every or len(self.allowed) < 2 else self.allowed[numbers]
        scan = kinds.scan(kind, width)
        pieces = self.workers.count if by_query else parts
        each = width // digits

        lead = 0 if by_query or parts == 1 else min(panels // 4, LEAD * panels // (tiles * codes.nbytes))

        def share(total: int, piece: int, lead: int = 0) -> tuple[int, int]:
            """The caller, who begins with piece 0, gets so much more, and what division leaves."""
            low, high = (lead - (number * (lead - total) // pieces) for number in (piece, piece + 1))
            return low if piece else 0, high

        def scanning(piece: int) -> tuple[Any, ...]:
            part, (low, high), (first, last) = (
                (0, (0, panels), share(tiles, piece)) if by_query else (piece, share(panels, piece, lead), (0, tiles))
            )
            return (
                codes.coded, codes.rows, low, high, asked, width, digits, first, last, self.widen, allowed,
                State(*(field[part] for field in state)),
            )  # fmt: skip

        def ranking(first: int, last: int) -> tuple[Any, ...]:
            return (
                self.rows, self.index._names, codes.coded.errors, queries, self.metric, self.widen, asked, *state, numbers,
                first, last, self.ids, self.distances, self.candidates, self.computed, self.margin,
            )  # fmt: skip

        def scanned(given: tuple[Any, ...]) -> None:
            own = scratch.state("own", ((given[8] - given[7]) * each,), self.k, room)
            scan(*given[:-1], own, given[-1])

        def both(given: tuple[tuple[Any, ...], tuple[Any, ...]]) -> None:
            scanned(given[0])
            rerank.finish(*given[1])

        # arguments first: whoever wakes up finds the interpreter's lock free
        if by_query:
            work = [
                (scanning(piece), ranking(*(min(t * each, count) for t in share(tiles, piece))))
                for piece in range(pieces)
            ]
            self.workers.map(both, work)
            return
        self.workers.map(scanned, [scanning(piece) for piece in range(pieces)])
        pieces = min(self.workers.count, -(-count // RANKED))
        self.workers.map(
            lambda given: rerank.finish(*given), [ranking(*share(count, piece)) for piece in range(pieces)]
        )

    def _exhaust(self, numbers: npt.NDArray[np.int64]) -> None:
        """Let all rows compete for these queries."""
        rows = len(self.rows)

        def work(number: int) -> None:
            mask = self.allowed[min(number, len(self.allowed) - 1)] if len(self.allowed) else np.empty(0, np.bool_)
            found, values = self.ids[number], self.distances[number]
            found[:], values[:] = np.iinfo(np.int64).max, np.inf
            done = 0
            for first in range(0, rows, CHUNK):
                more = rerank.exhaustive(
                    self.rows[first : first + CHUNK], first, self.index._names, self.queries[number], self.metric, mask, found, values
                )  # fmt: skip
                if more < 0:
                    done = -1
                    break
                done += more
            rerank.ordered(found, values, min(self.k, max(0, done)), self.metric)
            self.candidates[number] = self.computed[number] = done

        self.workers.map(work, numbers.tolist())


def _names(ids: npt.ArrayLike | None, rows: int) -> npt.NDArray[np.int64]:
    if ids is None:
        return np.empty(0, dtype=np.int64)
    given = np.asarray(ids)
    if given.dtype.kind not in "iu" or given.shape != (rows,):
        raise KnnscopeError(
            f"ids have shape {given.shape} and type {given.dtype}: whole numbers, ({rows},), were expected"
        )
    if rows and (int(given.min()) < 0 or int(given.max()) >= np.iinfo(np.int64).max):
        raise KnnscopeError("ids lie between 0 and 2^63 - 2: -1 stands for no row")
    return np.ascontiguousarray(given, dtype=np.int64)


def _allowed(where: npt.NDArray[np.bool_] | None, queries: int, rows: int) -> npt.NDArray[np.bool_]:
    if where is None:
        return np.empty((0, rows), dtype=np.bool_)
    mask = np.asarray(where)
    if mask.dtype != np.bool_ or mask.shape not in ((rows,), (queries, rows)):
        raise KnnscopeError(
            f"where has shape {mask.shape} and type {mask.dtype}: bool, ({rows},) or ({queries}, {rows}), was expected"
        )
    return np.ascontiguousarray(np.atleast_2d(mask))
