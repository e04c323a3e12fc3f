"""Exact search that reads a quarter of the float32 rows: codes exclude almost all of them for certain, the rest is ranked by definition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope import threads as budgets
from knnscope.arithmetic import Ieee
from knnscope.certified.bound import WIDEN
from knnscope.certified.cpu import dispatch, scratch
from knnscope.certified.cpu import quantise as coding
from knnscope.certified.cpu import ranking as rerank
from knnscope.certified.cpu.quantise import PANEL, Codes, chunk
from knnscope.certified.cpu.queries import ask
from knnscope.certified.cpu.scan import State
from knnscope.certified.cpu.workers import Workers
from knnscope.certified.dtypes import computable
from knnscope.certified.rows import as_ids, as_mask, as_queries, as_rows
from knnscope.checks import check_whole
from knnscope.errors import KnnscopeError, unknown_name
from knnscope.search import definition
from knnscope.search.engine import check_k

ROOMS = ((22, 512), (64, 4096))
"""Candidates that a query has room for: so many times k, and so many. Queries that overflow the first are scanned once more."""
BLOCK = 1024
"""Queries that share a pass over the codes, if their candidates fit in ``BLOCK_BYTES``."""
BLOCK_BYTES = 1 << 27
PART_BYTES = 1 << 30
"""Bytes of candidates of all threads together: where k is large, fewer threads take part."""
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


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """Why an answer is exact.

    rows_scanned: rows whose bound was looked at. candidates: int64, (queries,): rows that it could not exclude. computed: of those,
    distances computed. margin: float64, (queries,): the rows left out are at least this much further than the k-th neighbor (for l2
    in plain distance, not squared; infinite where none was left out). path: the scans used (``dispatch.plan``), and "exhaustive" where bounds were of
    no use. A single query has arrays of one element.
    """

    rows_scanned: int
    candidates: npt.NDArray[np.int64]
    computed: npt.NDArray[np.int64]
    margin: npt.NDArray[np.float64]
    path: tuple[str, ...]
    exact: bool = True

    def __repr__(self) -> str:
        count = len(self.candidates)
        some = f", candidates={_range(self.candidates)}, margin={_range(self.margin)}" if count else ""
        path = ", ".join(self.path) or "nothing to scan"
        return f"Certificate(exact={self.exact}, queries={count}, rows_scanned={self.rows_scanned}{some}, path={path})"


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The answer to some queries, or to a single one.

    ids: int64, (queries, k), or (k,) for a query of one dimension; -1 where fewer than k rows are allowed. distances: float64, alike; l2
    is squared. Where a row is missing, they are infinite, with the sign that sorts last: negative for similarities.
    """

    ids: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float64]
    certificate: Certificate

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.ids.shape))
        return f"Found(ids={shape} int64, distances={shape} float64, {self.certificate!r})"


class ExactIndex:
    """The k nearest rows, equal to float64's answer (search/definition.py), ties by the smallest id; may be asked by several threads at once."""

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
                ``__array__`` or ``__dlpack__`` (also bfloat16). Kept as they are, for the last step: do not change them. Other types, and
                another byte order, are copied into one of these, if it holds the numbers exactly.
            metric: l2, ip or cosine.
            ids: whole numbers from 0, (rows,), none twice: what rows are called (default: their numbers).
            device: auto or cpu.
            threads: how many work at once (default: the thread budget).
            kind: of products, one of ``dispatch.available()`` (default: the fastest).

        Raises:
            KnnscopeError: a wrong shape or type, or a number that is not finite; names where.
        """
        if metric not in definition.METRICS:
            raise unknown_name("metric", str(metric), definition.METRICS)
        if device not in DEVICES:
            raise KnnscopeError(f"device {device!r}: certified search runs on {' or '.join(DEVICES)}")
        self._kind = dispatch.choose(kind)
        self._workers = Workers(budgets.budget() if threads is None else _threads(threads))
        with np.errstate(all="ignore"), Ieee():
            self._rows = as_rows(vectors)
            self._metric = metric
            self._names = as_ids(ids, len(self._rows))
            self._codes = coding.build(computable(self._rows), metric, self._workers)

    def __repr__(self) -> str:
        rows, dim = self.shape
        return f"ExactIndex({rows} rows x {dim}, {self._metric}, {self._kind}, {self.nbytes} bytes beside the rows)"

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
            queries: (queries, dim), or (dim,) for a single one; finite, of a type that rows may have.
            k: 1 to the number of rows.
            where: bool, (rows,) or (queries, rows): rows that may be answers.
            threads: how many work at once (default: as built).

        Raises:
            KnnscopeError: a wrong shape, type, k or number; values that float64 cannot hold; rows that were changed after the index was
                built, where that shows.
        """
        rows, dim = self.shape
        k = check_k(k, rows)
        workers = self._workers if threads is None else self._workers.of(_threads(threads))
        with np.errstate(all="ignore"), Ieee():
            values, single = as_queries(queries, dim)
            allowed = as_mask(where, len(values), rows)
            found = _Search(self, values, k, allowed, workers).run()
        return Found(found.ids[0], found.distances[0], found.certificate) if single else found


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
        self.metric = definition.METRICS.index(index._metric)
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
        codes = self.index._codes
        if codes is not None and self.k * MOST <= codes.rows:
            for factor, more in ROOMS:
                # with room for half as many again as there are rows, none overflows
                room = min(factor * self.k + more, codes.rows + codes.rows // 2)
                left = np.flatnonzero((self.candidates < 0) & ~self.far)
                size = max(1, min(BLOCK, BLOCK_BYTES // (32 * room + 16 * self.k)))
                for first in range(0, len(left), size):
                    self._block(codes, left[first : first + size], room)
        scanned = self.candidates >= 0
        if not scanned.all():
            self._exhaust(np.flatnonzero(~scanned))
        if (self.computed < 0).any():
            raise self._problem()
        self.margin[self.computed == len(self.rows)] = np.inf
        path = (*(sorted(self.kinds) if scanned.any() else ()), *(() if scanned.all() else ("exhaustive",)))
        proof = Certificate(len(self.rows), self.candidates, self.computed, self.margin, path)
        return Found(self.ids, self.distances, proof)

    def _problem(self) -> KnnscopeError:
        changed = np.flatnonzero(self.computed == rerank.CHANGED)
        if len(changed):
            row = int(self.ids[changed[0], 0])
            return KnnscopeError(
                f"the vectors were changed after the index was built: row {row:,} is not where its code says: build the index again"
            )
        return KnnscopeError(f"{self.index._metric} of finite numbers overflows: scale the vectors down")

    def _block(self, codes: Codes, numbers: npt.NDArray[np.int64], room: int) -> None:
        """Some queries by one pass over the codes."""
        count = len(numbers)
        every = count == len(self.queries)
        queries = self.queries if every else self.queries[numbers]
        kind, width, digits = dispatch.plan(self.index._kind, count)
        self.kinds.add(kind)
        asked = ask(queries, codes, kind, width, digits)
        tiles, panels = len(asked.packed), len(codes.coded.scales) // PANEL
        by_query = tiles >= OWN_TILES[codes.nbytes > NEAR] * self.workers.count
        most = max(1, PART_BYTES // (count * (8 * self.k + 16 * room)))
        parts = 1 if by_query else max(1, min(self.workers.count, panels, most))
        whole = scratch.borrow("all", (parts, count), self.k, room)
        state = whole.state
        self.far[numbers] = asked.far[:count]
        allowed = self.allowed if every or len(self.allowed) < 2 else self.allowed[numbers]
        scan = dispatch.scan(kind, width)
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
                self.rows, self.index._names, codes.coded, queries, self.metric, self.widen, asked, *state, numbers,
                first, last, self.ids, self.distances, self.candidates, self.computed, self.margin,
            )  # fmt: skip

        def scanned(given: tuple[Any, ...]) -> None:
            own = scratch.borrow("own", ((given[8] - given[7]) * each,), self.k, room)
            scan(*given[:-1], own.state, given[-1])
            scratch.give_back("own", own)

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
        else:
            self.workers.map(scanned, [scanning(piece) for piece in range(pieces)])
            pieces = min(self.workers.count, -(-count // RANKED))
            self.workers.map(
                lambda given: rerank.finish(*given), [ranking(*share(count, piece)) for piece in range(pieces)]
            )
        scratch.give_back("all", whole)

    def _exhaust(self, numbers: npt.NDArray[np.int64]) -> None:
        """Let all rows compete for these queries."""
        rows, each = len(self.rows), chunk(self.rows.shape[1])

        def work(number: int) -> None:
            mask = self.allowed[min(number, len(self.allowed) - 1)] if len(self.allowed) else np.empty(0, np.bool_)
            found, values = self.ids[number], self.distances[number]
            found[:], values[:] = np.iinfo(np.int64).max, np.inf
            done = 0
            for first in range(0, rows, each):
                more = rerank.exhaustive(
                    self.rows[first : first + each], first, self.index._names, self.queries[number], self.metric, mask, found, values
                )  # fmt: skip
                if more < 0:
                    done = -1
                    break
                done += more
            rerank.ordered(found, values, min(self.k, max(0, done)), self.metric)
            self.candidates[number] = self.computed[number] = done

        self.workers.map(work, numbers.tolist())


def _threads(count: int) -> int:
    return check_whole(count, "threads", 1, budgets.LIMIT, f"1 to {budgets.LIMIT}")


def _range(values: npt.NDArray[Any]) -> str:
    least, most = values.min(), values.max()
    return f"{least:g}" if least == most else f"{least:g} to {most:g}"
