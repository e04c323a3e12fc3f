"""Searches in the steps of plane_parts.py, as Python has them: laid out once for all searches of one size, since that takes as long as 30,000 rows.

What changes from search to search, queries and answers, is filled in (programs.py); all steps are one call of Python's.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np

from knnscope.certified.cpu import lines, plane_direct, plane_parts, plane_queries, plane_scan, plane_search
from knnscope.certified.cpu.jit import compiled
from knnscope.certified.cpu.plane import LANES, Plane
from knnscope.certified.cpu.plane_scan import PlanePart
from knnscope.certified.cpu.programs import Program, steps_of
from knnscope.certified.cpu.quantise import Mapping, aligned
from knnscope.certified.cpu.ranking import Answers, blank_answers
from knnscope.certified.cpu.table import Table
from knnscope.certified.cpu.workers import Workers
from knnscope.certified.scanner import UNKNOWN, Request

KEPT_BYTES = 1 << 25
"""Of arrays of one size of searches; larger ones are laid out each time, as are those with masks."""


class Ground(NamedTuple):
    """What is searched: the rows; their plane; lines, or rows again where there are none, and what queries go through for lines."""

    table: Table
    plane: Plane
    near: Any
    mapping: Mapping | None


class Size(NamedTuple):
    """Instruction set, queries, neighbors, parts of the rows, threads, rows of a part that a query may leave, and whether k-th keys are known before."""

    isa: str
    queries: int
    k: int
    parts: int
    threads: int
    room: int
    is_known: bool


Shares = Callable[[int, int], list[tuple[int, int]]]
"""Shares of so many, in so many pieces."""


@compiled(apart=True)
def begin(given: Any, way: Any, of_lines: Any, width: tuple[int, int], asked: Any, kept: Any) -> None:
    """Write queries over those of the search before.

    Args:
        given: queries, float64, (queries, dim), and ``most`` as in scanner.Request.
        way: plane.Map.
        of_lines: quantise.Mapping, and digits as in ``lines.write_lines``.
        width: query vectors of a tile, and digits of a query.
        asked: plane_queries.PlaneQueries, and EncodedQueries of lines.py.
        kept: Kept.
    """
    queries, most = given
    to_plane, to_lines = asked
    mapping, digits = of_lines
    _begin_plane(queries, most, way, width[1], to_plane, kept)
    lines.write_lines(queries, mapping, digits, to_lines)


@compiled(apart=True)
def begin_direct(queries: Any, most: Any, way: Any, width: tuple[int, int], asked: Any, kept: Any) -> None:
    """The same where there are no lines: rows are asked by the queries as they are."""
    _begin_plane(queries, most, way, width[1], asked[0], kept)


@compiled()
def _begin_plane(queries: Any, most: Any, way: Any, digits: int, made: Any, kept: Any) -> None:
    words = made.words
    for tile in range(words.shape[0]):
        for group in range(words.shape[1]):
            for vector in range(words.shape[2]):
                words[tile, group, vector, 0] = words[tile, group, vector, 1] = 0
    made.far[:] = True
    kept.bars[:] = np.inf
    for query in range(most.shape[0]):
        kept.bars[query] = most[query]
    kept.reaches[:] = np.inf
    kept.said[:] = np.inf
    plane_queries.write(queries, way, digits, made)


class Steps:
    """Searches of one size."""

    def __init__(self, ground: Ground, size: Size, allowed: Any, shares: Shares) -> None:
        """Lay out.

        Args:
            ground: what is searched.
            size: of each search.
            allowed: mask of all, as in scanner.Request; as many rows as there are queries, or one, or none.
            shares: how rows and queries are shared out.
        """
        table, plane, near, mapping = ground
        direct, blocks = mapping is None, len(plane.blocks)
        forms = (plane_search.direct_forms if direct else plane_search.forms)(size.isa)
        width, k, parts = plane_search.width(size.isa, size.queries), size.k, size.parts
        queries, most = np.empty((size.queries, table.rows.shape[1])), np.empty(size.queries if size.is_known else 0)
        answers = blank_answers(size.queries, k)
        to_plane = plane_queries.blank.py_func(size.queries, len(plane.map.matrix), *width)
        tiles, every = len(to_plane.words), len(to_plane.far)
        kept = plane_search.new_kept.py_func(parts + 1 - size.is_known, every, k, size.is_known)
        items = [
            PlanePart(first, last, tile, tile + 1, part, last - first)
            for tile in range(tiles)
            for part, (first, last) in enumerate(shares(blocks, parts))
        ]
        room = -(-min(size.room, -(-blocks // parts) * LANES + LANES) // LANES) * LANES
        needed = [part.needed(every // tiles, room) if size.is_known else 2 * room for part in items]
        of_all = plane_scan.bounds_size(
            every, blocks + LANES
        )  # a part reads 16 of the smallest at once, from any block on
        ends = list(accumulate(needed, initial=0 if size.is_known else of_all))
        memory = aligned((ends[-1],), np.float32)
        if mapping is None:
            asked = to_plane, plane_direct.ask(queries)
            steps = steps_of((queries, most, plane.map, width, asked, kept), ((begin_direct, [()]),))
        else:
            codes = near.shape[1] - lines.HEAD
            asked = to_plane, lines.blank.py_func(size.queries, codes)
            digits = np.zeros((2 * size.queries, codes), dtype=np.int8)
            steps = steps_of(((queries, most), plane.map, (mapping, digits), width, asked, kept), ((begin, [()]),))
        lists = [memory[first:last] for first, last in pairwise(ends)]
        first = table, (plane.blocks, near), asked, Request(queries, k, allowed)
        if size.is_known:  # then each part knows what it leaves from the beginning
            given = [(part, memory, kept) for part, memory in zip(items, lists, strict=True)]
            steps += steps_of(first, ((forms.scan, given),))
        else:
            told = plane_parts.common(plane_scan.bounds_in.py_func(memory, every, blocks + LANES), parts, k)
            steps += steps_of(
                (*first, kept, told),
                (
                    (forms.bounded, [(part,) for part in items]),
                    (forms.between, [(some,) for some in shares(size.queries, min(size.threads, size.queries))]),
                    (forms.remaining, list(zip(items, lists, strict=True))),
                ),
            )
        steps += steps_of((kept, table, asked[1]), ((forms.merge, [(answers,)]),))
        self._program = Program(steps, size.threads, (queries, most, *answers))
        self.nbytes = memory.nbytes

    def answer(self, queries: Any, answers: Answers, workers: Workers) -> bool:
        """As ``run``, of queries alone."""
        return bool(workers.run(self._program, queries, UNKNOWN, *answers))

    def run(self, request: Request, answers: Answers, workers: Workers) -> bool:
        """Answer queries; whether that is all of them.

        Raises:
            MemoryError: there was none for a step.
        """
        return bool(workers.run(self._program, request.queries, request.most, *answers))
