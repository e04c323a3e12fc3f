"""Few rows: a whole search by one thread in one call, with plain arguments, since what Python does around it is most of the time.

Handing over what a search is told takes 0.3 µs an array, so what stays the same is handed over once (``jit.Bound``). What a call cannot answer
it leaves to ``search.Search``.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from knnscope.arithmetic import is_ieee
from knnscope.certified.cpu import dispatch
from knnscope.certified.cpu.jit import Bound, compiled, specialised
from knnscope.certified.cpu.quantise import PANEL, Coded, Codes, Mapping
from knnscope.certified.cpu.queries import TYPES, EncodedQueries, Plan, write
from knnscope.certified.cpu.ranking import Answers, Batch, exhaustive, finish, finish_heap, length_of
from knnscope.certified.cpu.scan import Memory, Part, Shared, State
from knnscope.certified.cpu.search import BLOCK, FEW, MOST, ROOMS
from knnscope.certified.cpu.table import Table
from knnscope.certified.scanner import Ranked

DIRECT = ("exhaustive",)
"""The path where all rows compete."""
WORK, AVX2_WORK, ROW = (72_000, 36_000, 20_000), (48_000, 28_000, 24_000), 110
"""Rows times their components and ``ROW`` up to which all rows compete: for one query, up to ``FEW``, and more. Measured where a row
costs as much either way. EPYC with AVX-512: 160 rows of 384 components for one query, 350 of 64, 650 of 4; for 20 queries 50, 105 and 150.
EPYC with AVX2: 95 rows of 384 components for one query, 300 of 64; for 20 queries 65 and 105."""
LITTLE = 1 << 21
"""Bytes of codes, times tiles of queries, up to which one call answers, since they are read before another thread has woken up."""
ONLY = 16 * LITTLE
"""The same where there is one thread."""


class _Call(NamedTuple):
    """A path, what answers by it, and query vectors in a tile and digits of a query."""

    path: tuple[str, ...]
    form: Bound
    plan: tuple[int, int]


scan: Any = None
asks: Any = None
unwritten: Any = None
"""The scan of a plan, ``_ask``, and memory for its digits: ``alone`` gives each compiled form its own."""


@compiled(unrolled=True)
def direct(table: Any, queries: Any, answers: Any) -> bool:
    """Let all rows compete for all queries; whether that answers them: not where a number overflows, or a query has one that is not finite.

    Args:
        table: the fields of ranking.Table.
        queries: float64, (queries, dim).
        answers: the fields of ranking.Answers, written.
    """
    ids, values, candidates, computed, margins = answers
    rows, names, metric, widen, handle, start = table
    whole, none = Table(rows, names, metric, widen, handle, start), np.empty(0, dtype=np.bool_)
    for number in range(queries.shape[0]):
        query, found, keys = queries[number], ids[number], values[number]
        if not length_of(query) < np.inf:
            return False
        found[:], keys[:] = np.iinfo(np.int64).max, np.inf
        if exhaustive(whole, 0, query, none, found, keys) < 0:
            return False
        finish_heap(found, keys, found.shape[0], metric)
        candidates[number] = computed[number] = rows.shape[0]
        margins[number] = np.inf
    return True


def _alone(table: Any, coded: Any, mapping: Any, plan: tuple[int, int, int], queries: Any, answers: Any) -> bool:
    """Ask the codes; whether that answers all queries.

    Args:
        table: the fields of ranking.Table.
        coded: the fields of quantise.Coded.
        mapping: the fields of quantise.Mapping.
        plan: query vectors in a tile, digits of a query, and candidates of a query for which there is room.
        queries: float64, (queries, dim).
        answers: the fields of ranking.Answers, written.
    """
    ids, values, candidates, computed, margins = answers
    rows, names, metric, widen, handle, start = table
    codes, scales, errors, terms = coded
    whole = Coded(codes, scales, errors, terms)
    k, count, each = ids.shape[1], queries.shape[0], plan[0] // plan[1]
    tiles = (count + each - 1) // each
    asked = asks(queries, mapping, plan, codes.shape[1])
    for number in range(count):
        if asked.far[number]:
            return False
    every = _new_state(count, k, plan[2])
    shared = Shared(np.zeros((1, 8), dtype=np.int64), np.empty(0), np.empty((1, 0, 0)))
    memory = Memory(_new_state(tiles * each, k, plan[2]), shared, every)
    part = Part(0, scales.shape[0] // PANEL, 0, tiles, rows.shape[0], plan[0], plan[1], widen, 0, 0, 0)
    scan(whole, asked, np.empty((0, rows.shape[0]), dtype=np.bool_), memory, part)
    candidates[:] = -1
    batch, found = Batch(queries, np.arange(count), 0, count), Answers(ids, values, candidates, computed, margins)
    finish(Table(rows, names, metric, widen, handle, start), whole, asked, every, batch, found)
    for number in range(count):
        if candidates[number] < 0 or computed[number] < 0:
            return False
        if computed[number] == rows.shape[0]:
            margins[number] = np.inf
    return True


@compiled()
def _new_state(queries: int, k: int, room: int) -> Any:
    """Memory of a scan by one thread, as it comes."""
    heaps, squares = np.empty((1, queries, k)), np.empty((1, queries, room))
    return State(heaps, squares, np.empty((1, queries, room), dtype=np.int64), np.empty((1, queries), dtype=np.int64))


def _ask(queries: Any, mapping: Any, plan: tuple[int, int, int], groups: int) -> Any:
    """As ``queries.ask``."""
    metric, centre, scaling, reach2, factors, ends, roundings = mapping
    width, digits = plan[0], plan[1]
    tiles = (queries.shape[0] * digits + width - 1) // width
    total = tiles * width // digits
    biases, steps = np.zeros((tiles, width), dtype=np.int32), np.zeros(total, dtype=np.float32)
    lengths2, errors, bases, gains, blurs = (
        np.zeros(total), np.zeros(total), np.zeros(total), np.zeros(total), np.zeros(total),
    )  # fmt: skip
    far = np.ones(total, dtype=np.bool_)
    made = EncodedQueries(unwritten(tiles, groups, width), biases, steps, lengths2, errors, bases, gains, blurs, far)
    whole = Mapping(metric, centre, scaling, reach2, factors, ends, roundings)
    write(queries, whole, digits, made, (0, queries.shape[0]))
    return made


@compiled()
def _bytes(tiles: int, groups: int, width: int) -> Any:
    """Digits of eight bits, to be written."""
    return np.zeros((tiles, groups, width, 4), dtype=np.int8)


@compiled()
def _shorts(tiles: int, groups: int, width: int) -> Any:
    """The same, of 16 bits."""
    return np.zeros((tiles, groups, width, 4), dtype=np.int16)


def alone(plan: Plan) -> Any:
    """``_alone`` for the scan of a plan; None for AMX, which has other tiles."""
    if plan.scan == "amx":
        return None
    name = f"alone_{plan.scan}_{plan.width}" if plan.scan == "stream" else f"alone_{plan.scan}"
    return _form(name, dispatch.scan(plan), _shorts if plan.scan == "avx2" else _bytes)


@cache
def _form(name: str, scan: Any, unwritten: Any) -> Any:
    return specialised(_alone, name, scan=scan, asks=specialised(_ask, f"{name}_asks", unwritten=unwritten))


class Few:
    """What is fixed of a search: rows, codes, and which call answers how many queries."""

    def __init__(self, table: Table, codes: Codes | None, isa: str, otherwise: int, threads: int) -> None:
        """Prepare.

        Args:
            table: the rows.
            codes: beside them; None where these are of no use.
            isa: instruction set.
            otherwise: queries up to which there is a plane to ask.
            threads: how many could work at once.
        """
        self._rows, self._dim = table.rows.shape
        self._table, self._isa, self._otherwise = tuple(table), isa, otherwise
        self._codes, self._most = codes, LITTLE if threads > 1 else ONLY
        self._coded, self._mapping = (tuple(codes.coded), tuple(codes.mapping)) if codes else ((), ())
        self._direct = direct.bound(self._table)
        self._calls: dict[int, _Call | None] = {}

    def answer(self, queries: Any, k: Any) -> Ranked | None:
        """See ``Scanner.prompt``."""
        if type(queries) is not np.ndarray or type(k) is not int or queries.dtype not in TYPES:
            return None
        shape = queries.shape
        if not 1 <= len(shape) <= 2 or shape[-1] != self._dim or not 0 < k <= self._rows:
            return None
        count = shape[0] if len(shape) == 2 else 1
        call = self._calls[count] if count in self._calls else self._call(count)
        if call is None or (call.path != DIRECT and k * MOST > self._rows) or not is_ieee():
            return None
        try:
            asked = np.array(queries, dtype=np.float64, order="C", ndmin=2)
        except (
            FloatingPointError,
            RuntimeWarning,
        ):  # of a NaN that signals; ``wide`` would take a tenth of the time of a small search
            return None
        answers = (
            np.empty((count, k), dtype=np.int64), np.empty((count, k)), np.empty(count, dtype=np.int64),
            np.empty(count, dtype=np.int64), np.empty(count),
        )  # fmt: skip
        if call.path == DIRECT:
            done = call.form((asked, answers), id(asked), *map(id, answers))
        else:
            plan = (*call.plan, min(ROOMS[0][0] * k + ROOMS[0][1], self._rows + self._rows // 2))
            done = call.form((plan, asked, answers), *plan, id(asked), *map(id, answers))
        return Ranked(*answers, call.path) if done else None

    def _call(self, count: int) -> _Call | None:
        """Which call answers so many queries, None where it takes several."""
        found = self._chosen(count)
        if count <= BLOCK:
            self._calls[count] = found
        return found

    def _chosen(self, count: int) -> _Call | None:
        if not 0 < count <= BLOCK:
            return None
        work = AVX2_WORK if self._isa == "avx2" else WORK
        if self._rows * (self._dim + ROW) <= work[(count > 1) + (count > FEW)]:
            return _Call(DIRECT, self._direct, (0, 0))
        if self._codes is None or count <= self._otherwise:
            return None
        plan = dispatch.plan(self._isa, count)
        if plan.scan == "avx2":  # codes lie in the caches, so products are what counts
            plan = dispatch.narrow(count)
        tiles = -(-count * plan.digits // plan.width)
        form = alone(plan)
        if form is None or tiles * self._codes.nbytes > self._most:
            return None
        return _Call((plan.scan,), form.bound(self._table, self._coded, self._mapping), plan[1:])
