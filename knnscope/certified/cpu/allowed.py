"""Few allowed rows: their numbers are listed, and only these are looked at, by their byte codes in lines, or computed where there are no lines.

Many queries that share a mask share a gathered copy of the codes as well, in the order of a scan.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import bounds, lines
from knnscope.certified.cpu.exact_sums import TOGETHER
from knnscope.certified.cpu.heaps import further, sink
from knnscope.certified.cpu.jit import compiled, specialised
from knnscope.certified.cpu.levels import Levels
from knnscope.certified.cpu.llvm import Emit, T, instructions, ir, trailing_zeros
from knnscope.certified.cpu.quantise import PANEL, TILE_BYTES, Coded, Codes, aligned
from knnscope.certified.cpu.queries import EncodedQueries
from knnscope.certified.cpu.ranking import (
    CHANGED,
    Answers,
    Asked,
    Near,
    Scale,
    Table,
    finish_heap,
    keys_of,
    length_of,
    margin,
    nearest,
    new_pool,
)
from knnscope.certified.cpu.scan import replace_top
from knnscope.certified.cpu.workers import Workers

SHARE = 16
"""Rows that are allowed are few where they are one in so many: looking at one by its line costs 25 to 40 ns, and passing it by the plane 3 to 6."""
SHARED = 4
"""The same where many queries share a mask: a row of the gathered codes costs 6 ns."""
DIRECT = 64
"""The same where there are no lines: computing a row of 384 components costs 250 ns."""
MANY = 8
"""Queries from which on gathering pays."""
BLOCK = 512
"""Rows that are looked at together."""
evaluate: Any = None
"""The bounds of lines.py: ``form`` gives each instruction set its own."""


@instructions
def _set(emit: Emit, address: Any) -> Any:
    """A bit for each of 64 truth values."""
    b = emit.builder
    values = emit.load(T.BYTES, address)
    return b.bitcast(b.icmp_unsigned("!=", values, ir.Constant(T.BYTES, [0] * 64)), T.I64)


@compiled(apart=True)
def listed(mask: Any, rows: Any) -> int:
    """The rows that a mask allows: how many; ``rows``, int64, is written, and has room for all."""
    count, place, end = mask.shape[0], 0, mask.shape[0] // 64 * 64
    for first in range(0, end, 64):
        bits = _set(mask.ctypes.data + first)
        while bits:
            rows[place] = first + trailing_zeros(bits)
            bits &= bits - 1
            place += 1
    for row in range(end, count):
        if mask[row]:
            rows[place] = row
            place += 1
    return place


def rows_of(mask: npt.NDArray[np.bool_], count: int) -> npt.NDArray[np.int64]:
    """The rows that a mask, (rows,), allows, of which there are so many."""
    rows = np.empty(count, dtype=np.int64)
    return rows[: listed(mask, rows)]


def _by_lines(table: Any, lines: Any, asked: Any, rows: Any, one: Any, answers: Any) -> None:
    """Answer a query from some rows only.

    Args:
        table: ranking.Table.
        lines: see lines.py.
        asked: EncodedQueries of ``lines.write_lines``.
        rows: int64: those that may be answers.
        one: the query, float64, (dim,); its number.
        answers: ranking.Answers, written.
    """
    vector, number = one
    ids, values, k, count = answers.ids[number], answers.values[number], answers.ids.shape[1], rows.shape[0]
    found, lows, highs, left, heap = (
        np.empty((5, BLOCK)), np.empty(count), np.empty(count), np.empty(count, dtype=np.int64), np.full((1, k), np.inf),
    )  # fmt: skip
    scale, some = Scale(asked.bases[number], asked.gains[number], asked.blurs[number]), 0
    bar = np.inf
    for first in range(0, count, BLOCK):
        size = min(BLOCK, count - first)
        evaluate(lines, rows[first:], size, asked, number, found)
        for i in range(size):
            if found[0, i] <= bar:
                lows[some], highs[some], left[some] = found[0, i], found[1, i], rows[first + i]
                some += 1
                if found[1, i] < heap[0, 0]:
                    replace_top(heap, 0, found[1, i])
                    bar = bounds.reach(heap[0, 0], table.widen, scale.blur)
    near = 0
    for i in range(some):
        if lows[i] <= bar:
            lows[near], highs[near], left[near] = lows[i], highs[i], left[i]
            near += 1
    ranked = Asked(vector, length_of(vector), scale, new_pool())
    done, rest = nearest(table, Near(left[:near], lows[:near], highs[:near]), ranked, ids, values)
    answers.candidates[number], answers.computed[number] = near, done
    if done != CHANGED:
        answers.margins[number] = np.inf
        if done < count:
            answers.margins[number] = margin(values[k - 1], min(rest, bar), scale, table.metric)


@compiled(apart=True)
def by_rows(table: Any, rows: Any, one: Any, answers: Any) -> None:
    """As ``_by_lines``, by computing all of the rows; computed is -1 where a value is not a number."""
    vector, number = one
    ids, values, k, count = answers.ids[number], answers.values[number], answers.ids.shape[1], rows.shape[0]
    ids[:], values[:] = np.iinfo(np.int64).max, np.inf
    pool, length = new_pool(), length_of(vector)
    for first in range(0, count, TOGETHER):
        some = min(TOGETHER, count - first)
        for i in range(TOGETHER):
            pool.places[i] = rows[first + min(i, some - 1)]
        if first + TOGETHER < count:
            for i in range(first + TOGETHER, min(first + 2 * TOGETHER, count)):
                lines.ask_ahead(table.rows, rows[i])
        keys_of(table.rows, vector, table.metric, length, pool)
        for i in range(some):
            key, name = pool.keys[i], pool.places[i]
            if table.names.shape[0]:
                name = table.names[name]
            if np.isnan(key):
                answers.computed[number] = -1
            elif further(values[0], ids[0], key, name):
                sink(values, ids, k, key, name)
    finish_heap(ids, values, min(k, count), table.metric)
    answers.margins[number], answers.candidates[number] = np.inf, count
    if answers.computed[number] >= 0:
        answers.computed[number] = count


@cache
def form(isa: str) -> Any:
    """``_by_lines`` for an instruction set."""
    return specialised(_by_lines, f"allowed_{isa}", apart=True, evaluate=lines.evaluation(isa))


class Few(NamedTuple):
    """Rows that may be answers, few for every query.

    mask: bool, (1 or queries, rows). counts: int64: how many of each line. is_shared: whether codes are gathered for all queries.
    """

    mask: npt.NDArray[np.bool_]
    counts: npt.NDArray[np.int64]
    is_shared: bool

    def answer(
        self, table: Table, asked: EncodedQueries | None, near: npt.NDArray[np.int8] | None, answers: Answers, how: How
    ) -> None:
        """Answer each query by its own rows.

        Args:
            table: the rows.
            asked: queries as lines are asked; None where there are no lines.
            near: lines.
            answers: written; candidates stay -1 where lines cannot tell.
            how: the queries, the instruction set, and who works.
        """
        shared = rows_of(self.mask[0], int(self.counts[0])) if len(self.mask) == 1 else None

        def work(number: int) -> None:
            rows = rows_of(self.mask[number], int(self.counts[number])) if shared is None else shared
            one = (how.queries[number], number)
            if asked is None or near is None or asked.far[number]:
                by_rows(table, rows, one, answers)
            else:
                form(how.isa)(table, near, asked, rows, one, answers)

        how.workers.map(work, range(len(how.queries)))


class How(NamedTuple):
    """Queries, float64, (queries, dim); an instruction set; who works."""

    queries: npt.NDArray[np.float64]
    isa: str
    workers: Workers


def few(mask: npt.NDArray[np.bool_], levels: Levels, queries: int) -> Few | None:
    """The allowed rows, where they are few for each query; None where another way costs less.

    Args:
        mask: bool, (1 or queries, rows).
        levels: what there is beside the rows.
        queries: how many.
    """
    rows = mask.shape[1]
    counts = np.array([np.count_nonzero(line) for line in mask], dtype=np.int64)
    most = int(counts.max())
    if len(mask) == 1 and queries >= MANY and levels.codes is not None and most * SHARED <= rows:
        return Few(mask, counts, True)
    return Few(mask, counts, False) if most * (DIRECT if levels.lines is None else SHARE) <= rows else None


def gathered(
    codes: Codes, near: npt.NDArray[np.int8] | None, rows: npt.NDArray[np.int64], workers: Workers
) -> Codes:
    """Codes of some rows only, in the order of a scan.

    Args:
        codes: of all rows.
        near: their lines; None where the codes lie in the order of a scan.
        rows: int64, ascending.
        workers: who copies.
    """
    blocks, groups = -(-len(rows) // PANEL) * (PANEL // 16), codes.coded.codes.shape[1]
    sides = [aligned((16 * blocks,), np.float32) for _ in range(3)]
    coded = Coded(aligned((blocks, groups, 16, 4), np.int8, TILE_BYTES), *sides)
    each = -(-blocks // workers.count)
    pieces = [(first, min(first + each, blocks)) for first in range(0, blocks, each)]
    copy = partial(_copy_lines, near) if near is not None else _copy_blocks
    workers.map(lambda piece: copy(codes.coded, rows, *piece, coded), pieces)
    return replace(codes, rows=len(rows), coded=coded)


@compiled(apart=True)
def _copy_lines(near: Any, coded: Any, rows: Any, first: int, last: int, made: Any) -> None:
    """Write some blocks from lines; rows that there are not are never kept."""
    words, given, head = made.codes.view(np.int32), near.view(np.int32), lines.HEAD // 4
    for block in range(first, last):
        for lane in range(16):
            place = 16 * block + lane
            row = rows[min(place, rows.shape[0] - 1)]
            if place + 16 < rows.shape[0]:
                lines.ask_ahead(near, rows[place + 16])
            for group in range(words.shape[1]):
                words[block, group, lane, 0] = given[row, head + group]
            _copy_sides(coded, rows, place, made)


@compiled(apart=True)
def _copy_blocks(coded: Any, rows: Any, first: int, last: int, made: Any) -> None:
    """The same from blocks."""
    words, given = made.codes.view(np.int32), coded.codes.view(np.int32)
    for block in range(first, last):
        for lane in range(16):
            place = 16 * block + lane
            row = rows[min(place, rows.shape[0] - 1)]
            for group in range(words.shape[1]):
                words[block, group, lane, 0] = given[row // 16, group, row % 16, 0]
            _copy_sides(coded, rows, place, made)


@compiled()
def _copy_sides(coded: Any, rows: Any, place: int, made: Any) -> None:
    if place < rows.shape[0]:
        row = rows[place]
        made.scales[place], made.errors[place], made.terms[place] = (
            coded.scales[row], coded.errors[row], coded.terms[row],
        )  # fmt: skip
    else:
        made.scales[place], made.errors[place], made.terms[place] = np.float32(0), np.float32(0), np.float32(np.inf)


@compiled(apart=True)
def renamed(state: Any, rows: Any) -> None:
    """Candidates among gathered rows become candidates among all: ``state`` is scan.State of every part."""
    for part in range(state.counts.shape[0]):
        for query in range(state.counts.shape[1]):
            for i in range(state.counts[part, query]):
                state.ids[part, query, i] = rows[state.ids[part, query, i]]
