"""One pass over the codes for some queries: they are written, rows scanned, and what is left ranked, each step shared out among threads.

An item of the scan has one part of the rows and one group of tiles. It is a few numbers, and finds its arrays in compiled code: what Python does for
sixteen items takes as long as their scan, and nobody else does anything meanwhile.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import allowed, dispatch, joint, ranking, scratch
from knnscope.certified.cpu.grids import shortest
from knnscope.certified.cpu.quantise import PANEL, Codes
from knnscope.certified.cpu.queries import EncodedQueries, Plan, blank, write
from knnscope.certified.cpu.ranking import Answers, Batch
from knnscope.certified.cpu.rotation import LANES
from knnscope.certified.cpu.scan import Memory, Part, Shared
from knnscope.certified.cpu.table import Table
from knnscope.certified.cpu.workers import Workers

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


class CodePass:
    """A pass for queries that are alike: they are scanned by one plan."""

    def __init__(self, table: Table, scanned: Scanned, plan: Plan, workers: Workers) -> None:
        self.table, self.scanned, self.plan, self.workers = table, scanned, plan, workers
        self.coded = scanned.codes.coded
        self.each, self.panels = plan.width // plan.digits, len(self.coded.scales) // PANEL

    def run(self, batch: Batch, mask: npt.NDArray[np.bool_], room: int, answers: Answers) -> npt.NDArray[np.bool_]:
        """Write, scan and rank.

        Args:
            batch: all of some queries.
            mask: rows that may be answers, see ``scan.admit``.
            room: candidates of a query.
            answers: written at ``batch.numbers``; candidates stay -1 where a query had no room.

        Returns:
            Queries that codes cannot tell about, (queries,).
        """
        asked, count, k = self._asked(batch.queries), len(batch.queries), answers.ids.shape[1]
        tiles = len(asked.packed)
        parts, groups = self._grid(tiles, count * (8 * k + 16 * room))
        some = shares(tiles, groups)
        wide = max(last - first for first, last in some) * self.each
        whole, own = (
            scratch.borrow("all", (parts, count), k, room),
            scratch.borrow("own", (parts * groups, wide), k, room),
        )
        shared = Shared(
            np.zeros((groups, 8), dtype=np.int64),
            np.full(tiles * self.each, np.inf),
            np.full((parts, tiles * self.each, joint.distances(parts, k)), np.inf),
        )
        rows, width, digits, widen = self.scanned.codes.rows, self.plan.width, self.plan.digits, self.table.widen
        items = [
            (Part(0, self.panels, *one, rows, width, digits, widen, part * groups + group, part, group),)
            for part in range(parts)
            for group, one in enumerate(some)
        ]
        memory, scan = Memory(own.state, shared, whole.state), dispatch.scan(self.plan)
        self.workers.call(scan, (self.coded, asked, mask, memory), items)
        if self.scanned.chosen is not None:
            allowed.renamed(whole.state, self.scanned.chosen)
        pieces = shares(count, min(self.workers.count, -(-count // RANKED)))
        self.workers.call(
            ranking.finish,
            (self.table, self.scanned.every.coded, asked, whole.state),
            [(batch._replace(first=first, last=last), answers) for first, last in pieces],
        )
        scratch.give_back("own", own)
        scratch.give_back("all", whole)
        return asked.far[:count]

    def _asked(self, queries: npt.NDArray[np.float64]) -> EncodedQueries:
        count = len(queries)
        made = blank(count, self.coded.codes.shape[1], self.plan)
        ends = [
            (LANES * first, min(LANES * last, count)) for first, last in shares(*_pieces(count, self.workers.count))
        ]
        self.workers.call(
            write, (queries, self.scanned.codes.mapping, self.plan.digits, made), [(one,) for one in ends]
        )
        return made

    def _grid(self, tiles: int, size: int) -> tuple[int, int]:
        """Parts of the rows and groups of tiles: an item has one of each; ``size``: bytes of candidates of a part."""
        threads = self.workers.count
        most = max(1, min(threads, self.panels, PART_BYTES // size))
        if threads > 1 and self.scanned.codes.nbytes <= NEAR:
            most = max(1, min(most, scratch.KEPT_BYTES // size))
            return shortest(threads, tiles, most, self.scanned.codes.rows.bit_length())
        return (1, threads) if tiles >= FAR_TILES * threads else (most, 1)


def _pieces(count: int, threads: int) -> tuple[int, int]:
    """How many times sixteen queries there are, and in how many pieces threads write them."""
    every = -(-count // LANES)
    return every, min(threads, every)


def shares(total: int, pieces: int) -> list[tuple[int, int]]:
    """Shares of ``range(total)``; the first ones get what division leaves."""
    return list(pairwise(-(-number * total // pieces) for number in range(pieces + 1)))
