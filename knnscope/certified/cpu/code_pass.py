"""One pass over the codes for some queries: they are written, rows scanned, and what is left ranked, each step shared out among threads.

An item of the scan has one part of the rows and one group of tiles. It is a few numbers, and finds its arrays in compiled code. All steps of a size of
searches are laid out once (programs.py): what Python does for sixteen items takes as long as their scan, and nobody else does anything meanwhile.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import allowed, dispatch, joint, ranking, scratch
from knnscope.certified.cpu.grids import shortest
from knnscope.certified.cpu.jit import compiled
from knnscope.certified.cpu.programs import Program, steps_of
from knnscope.certified.cpu.quantise import PANEL, Codes
from knnscope.certified.cpu.queries import Plan, blank, write
from knnscope.certified.cpu.ranking import Answers, Batch, blank_answers
from knnscope.certified.cpu.rotation import LANES
from knnscope.certified.cpu.scan import Memory, Part, Shared, State
from knnscope.certified.cpu.table import Table
from knnscope.certified.cpu.workers import Workers

ITEM_WORDS = 64
"""Numbers and addresses of an item, and some more."""
PART_BYTES = 1 << 30
"""Bytes of candidates of all threads together: where k is large, fewer threads take part."""
RANKED = 2
"""Queries whose candidates one thread ranks sooner than another one has found them."""
NEAR = 1 << 26
"""Bytes of codes that caches hold: each item has some tiles of queries, as far as there are enough, and reads them for itself."""
FAR_TILES = 8
"""Tiles of queries a thread from which on each thread has its own queries, not its own rows, of more codes: there reading them twice is what counts
(100 queries of 1,000,000 rows: 1.5 times one thread's time instead of 1.02)."""


class Scanned(NamedTuple):
    """What is scanned: codes, and which rows of ``every`` these are, ascending; None for all of them."""

    codes: Codes
    chosen: npt.NDArray[np.int32] | None
    every: Codes


class Size(NamedTuple):
    """How queries are scanned, how many there are, neighbors, candidates of a query, and threads."""

    plan: Plan
    queries: int
    k: int
    room: int
    threads: int


@compiled()
def begin(asked: Any, shared: Any) -> None:
    """Nothing known of queries that will be written over those of the pass before.

    Args:
        asked: queries.EncodedQueries.
        shared: scan.Shared.
    """
    asked.steps[:] = np.float32(0)  # of those that are not written, which keep no row
    shared.taken[:] = 0
    shared.bars[:] = np.inf
    shared.said[:] = np.inf


@compiled()
def settled(answers: Any, rows: int) -> bool:
    """Whether all queries are answered, none by a row that was changed or that is no number; those that all rows were computed for have no margin.

    Args:
        answers: Answers.
        rows: how many there are.
    """
    every = True
    for query in range(answers.candidates.shape[0]):
        every = every and answers.candidates[query] >= 0 and answers.computed[query] >= 0
        if answers.computed[query] == rows:
            answers.margins[query] = np.inf
    return every


class CodePass:
    """Passes for queries that are alike: they are scanned by one plan, and laid out once."""

    def __init__(self, table: Table, scanned: Scanned, size: Size, mask: npt.NDArray[np.bool_]) -> None:
        """Lay out.

        Args:
            table: the rows.
            scanned: what is scanned.
            size: of each pass.
            mask: rows that may be answers, see ``scan.admit``.
        """
        plan, count, k, room, threads = self.size = size
        self.scanned = scanned
        coded, mapping = scanned.codes.coded, scanned.codes.mapping
        self.panels, each = len(coded.scales) // PANEL, plan.width // plan.digits
        self._asked = asked = blank(count, coded.codes.shape[1], plan)
        tiles = len(asked.packed)
        parts, groups = self._grid(tiles, count * (8 * k + 16 * room))
        some = shares(tiles, groups)
        wide = max(last - first for first, last in some) * each
        self._own, self._whole, self._every = (parts * groups, wide), (parts, count), np.arange(count)
        shared = Shared(
            np.zeros((groups, 8), dtype=np.int64),
            np.full(tiles * each, np.inf),
            np.full((parts, tiles * each, joint.distances(parts, k)), np.inf),
        )
        rows, width, digits, widen = scanned.codes.rows, plan.width, plan.digits, table.widen
        items = [
            (Part(0, self.panels, *one, rows, width, digits, widen, part * groups + group, part, group),)
            for part in range(parts)
            for group, one in enumerate(some)
        ]
        written = [(LANES * first, min(LANES * last, count)) for first, last in shares(*_pieces(count, threads))]
        queries, numbers, own, whole, answers = (
            np.empty((count, table.rows.shape[1])), np.empty(count, np.int64), _no_state(), _no_state(), blank_answers(count, k),
        )  # fmt: skip
        ranked = shares(count, min(threads, -(-count // RANKED)))
        steps = [
            *steps_of((asked, shared), ((begin, [()]),)),
            *steps_of((queries, mapping, digits, asked), ((write, [(one,) for one in written]),)),
            *steps_of((coded, asked, mask, Memory(own, shared, whole)), ((dispatch.scan(plan), items),)),
            *([] if scanned.chosen is None else steps_of((whole, scanned.chosen), ((allowed.renamed, [()]),))),
            *steps_of(
                (table, scanned.every.coded, asked, whole),
                ((ranking.finish, [(Batch(queries, numbers, *one), answers) for one in ranked]),),
            ),
            *steps_of((answers, len(table.rows)), ((settled, [()]),)),
        ]
        self._program = Program(steps, threads, (queries, numbers, *own, *whole, *answers))
        self.nbytes = asked.packed.nbytes + shared.said.nbytes + 8 * len(items) * ITEM_WORDS

    def run(
        self, queries: npt.NDArray[np.float64], numbers: npt.NDArray[np.int64], answers: Answers, workers: Workers
    ) -> bool:
        """Write, scan and rank.

        Args:
            queries: float64, (queries, dim), C order.
            numbers: where the answer of each goes.
            answers: written; candidates stay -1 where a query had no room.
            workers: as many threads as it was laid out for.

        Returns:
            Whether all of ``answers`` are there, and nothing is left to be looked at.

        Raises:
            MemoryError: there was none for a step.
        """
        k, room = self.size.k, self.size.room
        own, whole = scratch.borrow("own", self._own, k, room), scratch.borrow("all", self._whole, k, room)
        done = bool(workers.run(self._program, queries, numbers, *own.state, *whole.state, *answers))
        scratch.give_back("own", own)
        scratch.give_back("all", whole)
        return done

    def answer(self, queries: npt.NDArray[np.float64], answers: Answers, workers: Workers) -> bool:
        """As ``run``, of all queries of ``answers``."""
        return self.run(queries, self._every, answers, workers)

    @property
    def far(self) -> npt.NDArray[np.bool_]:
        """Queries of the last pass that codes cannot tell about, (queries,)."""
        return self._asked.far[: self.size.queries]

    def _grid(self, tiles: int, size: int) -> tuple[int, int]:
        """Parts of the rows and groups of tiles: an item has one of each; ``size``: bytes of candidates of a part."""
        threads = self.size.threads
        most = max(1, min(threads, self.panels, PART_BYTES // size))
        if threads > 1 and self.scanned.codes.nbytes <= NEAR:
            most = max(1, min(most, scratch.KEPT_BYTES // size))
            return shortest(threads, tiles, most, self.scanned.codes.rows.bit_length())
        return (1, threads) if tiles >= FAR_TILES * threads else (most, 1)


def _no_state() -> State:
    """In place of what ``scratch`` gives."""
    return State(np.empty((0, 0, 0)), np.empty((0, 0, 0)), np.empty((0, 0, 0), np.int64), np.empty((0, 0), np.int64))


def _pieces(count: int, threads: int) -> tuple[int, int]:
    """How many times sixteen queries there are, and in how many pieces threads write them."""
    every = -(-count // LANES)
    return every, min(threads, every)


def shares(total: int, pieces: int) -> list[tuple[int, int]]:
    """Shares of ``range(total)``; the first ones get what division leaves."""
    return list(pairwise(-(-number * total // pieces) for number in range(pieces + 1)))
