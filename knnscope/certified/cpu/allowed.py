"""Few allowed rows: their numbers are listed, and only these are looked at, by their byte codes in lines, or computed where there are no lines.

Many queries that share a mask share a gathered copy of the codes as well, in the order of a scan.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import lines
from knnscope.certified.cpu.allowed_look import by_rows, forms, listed
from knnscope.certified.cpu.jit import compiled
from knnscope.certified.cpu.levels import Levels
from knnscope.certified.cpu.quantise import PANEL, TILE_BYTES, Coded, Codes, aligned
from knnscope.certified.cpu.queries import EncodedQueries
from knnscope.certified.cpu.ranking import Answers
from knnscope.certified.cpu.table import Table
from knnscope.certified.cpu.workers import Workers

SHARE = 16
"""Rows that are allowed are few where they are one in so many: looking at one by its line costs 25 to 40 ns, and passing it by the plane 3 to 6."""
SHARED = 4
"""The same where many queries share a mask: a row of the gathered codes costs 6 ns."""
DIRECT = 64
"""The same where there are no lines: computing a row of 384 components costs 250 ns."""
MANY = 8
"""Queries from which on gathering pays."""


class Few(NamedTuple):
    """Rows that may be answers, few for every query.

    lists: int32, (1 or queries, room). counts: int64: how many each has. is_shared: whether codes are gathered for all queries.
    """

    lists: npt.NDArray[np.int32]
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
        count, each = len(how.queries), len(self.lists) > 1
        if each and count >= MANY and asked is not None and near is not None:
            answer = forms(how.isa).by_lists
            step = -(-count // how.workers.count)
            parts = [(first, min(first + step, count)) for first in range(0, count, step)]
            given = how.queries, self.lists, self.counts
            how.workers.map(lambda part: answer(table, near, asked, given, part, answers), parts)
            return

        def work(number: int) -> None:
            own = number if each else 0
            rows, one = self.lists[own, : self.counts[own]], (how.queries[number], number)
            if asked is None or near is None or asked.far[number]:
                by_rows(table, rows, one, answers)
            else:
                forms(how.isa).by_list(table, near, asked, rows, one, answers)

        how.workers.map(work, range(count))


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
    is_shared = len(mask) == 1 and queries >= MANY and levels.codes is not None and not levels.is_fixed
    room = rows // (SHARED if is_shared else DIRECT if levels.lines is None else SHARE)
    if rows >= 1 << 31 or (len(mask) > 1 and np.count_nonzero(mask[-1]) > room):
        return None
    lists, counts = np.empty((len(mask), room + 64), dtype=np.int32), np.empty(len(mask), dtype=np.int64)
    for number, both in enumerate(zip(mask, lists, strict=True)):
        counts[number] = found = listed(*both)
        if found < 0:  # it stops where there is no more room
            return None
    return Few(lists, counts, is_shared)


def gathered(codes: Codes, near: npt.NDArray[np.int8] | None, rows: npt.NDArray[np.int32], workers: Workers) -> Codes:
    """Codes of some rows only, in the order of a scan.

    Args:
        codes: of all rows.
        near: their lines; None where the codes lie in the order of a scan.
        rows: int32, ascending.
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
