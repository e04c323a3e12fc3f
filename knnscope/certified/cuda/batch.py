"""Queries by a byte a component: thresholds from some rows, products of all, values of what is left.

Products are those of kernels/exact_few.cu, exact_batch.cu or exact_wide.cu, by how many queries there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cupy as cp
import numpy as np
import numpy.typing as npt

from knnscope.certified import bound
from knnscope.certified.cuda import few, query_kernels, ranking, tiled, wide
from knnscope.certified.cuda.answer import Mask, Told
from knnscope.certified.cuda.codes import Codes, Map
from knnscope.certified.cuda.fallback import Fallback
from knnscope.certified.cuda.launch import (
    DOUBLE,
    INT,
    LONG,
    POINTER,
    Prepared,
    kernel,
    pointer,
    structure,
)
from knnscope.certified.cuda.passes import Grid, Kernels, Passes, Stops
from knnscope.certified.cuda.streaming import CODES, TILE
from knnscope.certified.cuda.table import Table, most_shared, processors
from knnscope.certified.cuda.wide import Layout
from knnscope.kernels import sources

REFRESH = 256
"""Threads of a block that makes a threshold again."""
BLOCK_BYTES = 1 << 30
"""Of hits: so many queries share a pass."""
SAMPLE = 32768
"""Rows that make the first threshold."""
STOPS = tuple(1 << shift for shift in range(16, 32, 2))
"""Rows after which thresholds are made again: the first two always, others where three times as many follow."""
SHARP, SHARP_FEW, SHARP_WIDE = 1 << 18, 1 << 22, 1024
"""Rows from which thresholds are made of distances, with many queries and with few; components from which they always are."""
_ASKED = dict.fromkeys(
    (
        "lengths2",
        "errors",
        "bases",
        "gains",
        "blurs",
        "bars",
        "steps",
        "limits",
        "coefficients",
        "starts",
        "tails",
        "far",
    ),
    POINTER,
)
Asked = structure("Asked", **_ASKED)
Batch = structure(
    "Batch",
    codes=POINTER, sides=POINTER, query_codes=POINTER, asked=Asked, counts=POINTER, hits=POINTER, groups=POINTER,
    room=LONG, groups_stride=LONG, first=LONG, last=LONG, count=LONG, each=INT, query_tiles=INT, queries=INT,
)  # fmt: skip
Queries = structure(
    "Queries",
    given=POINTER, wide=LONG, count=LONG, padded=LONG, map=Map, values=POINTER, norms=POINTER, flat=POINTER, rotated=POINTER, own2=POINTER,
    codes=POINTER, counts=POINTER, asked=Asked,
)  # fmt: skip
Rows = structure("Rows", rows=POINTER, row_norms=POINTER, dim=LONG, queries=POINTER, query_norms=POINTER)
Bars = structure(
    "Bars",
    table=Rows, asked=Asked, sides=POINTER, groups=POINTER, groups_stride=LONG, group_count=INT, counts=POINTER, hits=POINTER, room=LONG,
    count=LONG, widen=DOUBLE, longest2=DOUBLE, widest=DOUBLE, ratio=DOUBLE, k=INT, held=INT,
)  # fmt: skip
Rank = structure(
    "Rank",
    table=Rows, names=POINTER, asked=Asked, codes=POINTER, sides=POINTER, counts=POINTER, hits=POINTER, room=LONG, widen=DOUBLE,
    values=POINTER, ids=POINTER, candidates=POINTER, computed=POINTER, errors=POINTER, rests=POINTER, bases=POINTER, gains=POINTER, k=INT, count=INT,
)  # fmt: skip
Turn = structure("Turn", number=INT, held=INT, most=INT)


@dataclass(frozen=True, slots=True)
class Shape:
    """How queries are tiled.

    queries: of a tile. threads, shared: of a block, and bytes of its shared memory. blocks: that a multiprocessor holds. groups: of a tile
    of rows, whose nearest row makes a threshold. wide: of products by warpgroups, None where exact_batch.cu does it: queries are those of a cluster.
    few: macros of exact_few.cu where that does it: a warp's rows are a group there. tiles: of exact_batch.cu.
    """

    queries: int
    threads: int
    shared: int
    blocks: int
    groups: int
    wide: Layout | None = None
    few: tuple[tuple[str, int], ...] = ()
    tiles: tiled.Tiles | None = None


def shape(width: int, count: int, may_be_few: bool) -> Shape | None:
    """The tile for so many queries of this width; None where none fits. may_be_few: whether rows are enough for groups of exact_few.cu."""
    macros = sources.few_macros(width, count) if may_be_few else None
    if macros:
        return Shape(dict(macros)["QUERIES"], few.THREADS, 0, few.BLOCKS, 0, few=macros)
    if str(cp.cuda.Device().compute_capability) == "90" and count > wide.LEAST:
        found = wide.layout(width, count, most_shared())
        if found:
            return Shape(found.queries, wide.THREADS, found.shared, 1, 4, found)
    tiles = tiled.layout(width, count, most_shared())
    if tiles is None:
        return None
    shared = tiled.shared(width, tiles.queries, tiles.stages)
    blocks = max(1, min(2, most_shared() // shared))
    return Shape(tiles.queries, tiled.THREADS, shared, blocks, 8 if tiles.queries == 128 else 16, tiles=tiles)


def usable(table: Table, codes: Codes | None, k: int) -> bool:
    """Whether codes answer so many neighbors."""
    return (
        codes is not None
        and ranking.usable(k, most_shared())
        and 16 * k <= len(table.rows) < 2**31 - TILE
        and shape(codes.width, 1, False) is not None
    )


def step_of(k: int, rows: int) -> int:
    """Queries that share a pass: their hits fill ``BLOCK_BYTES``."""
    return max(128, BLOCK_BYTES // (8 * ranking.room_of(k, ranking.ROOMY + 1, rows, most_shared())) // 128 * 128)


TOLD_BYTES = 3 * 8 + 3 * 4
"""Bytes that the kernels say of a query: rests, bases and gains, float64; candidates, computed and errors, uint32."""


def told(found: npt.NDArray[np.uint8], last: npt.NDArray[np.float64], metric: int) -> Told:
    """What the kernels say; last: the k-th values, (queries,)."""
    count = len(last)
    rests, bases, gains = found[: 24 * count].view(np.float64).reshape(3, count)
    candidates, computed, errors = found[24 * count :].view(np.uint32).reshape(3, count)
    return Told(candidates, computed, margins(last, rests, bases, gains, metric), errors, "codes")


def margins(last: Any, rests: Any, bases: Any, gains: Any, metric: int) -> Any:
    """How much further than the k-th value every row is whose distance is at least ``rests``; see ranking.margin."""
    with np.errstate(all="ignore"):
        found = rests / np.sqrt(gains) - np.sqrt(last) if metric == 0 else last - (rests * rests - bases) / gains
    return np.where(np.isfinite(rests) & np.isfinite(last), np.maximum(found, 0.0), np.inf)


def is_sharp(rows: int, width: int, count: int) -> bool:
    """Whether thresholds of ``count`` queries are made of distances, which lets fewer rows in, but takes time.

    Measured on an H200, 384 components: of 1,000,000 rows 1,000 queries take 880 us instead of 921, isotropic ones 1,027 instead of 1,730, but 16 take
    145 instead of 136; of 75,000 rows 100 queries take 78 instead of 74. The more components, the more a bound blurs beside what distances differ by:
    of 1,536 it leaves 3,000 to 7,000 of 40,000 rows instead of 500 to 900 (reckoned).
    """
    return width >= SHARP_WIDE or rows >= (SHARP_FEW if count <= sources.MOST_FEW else SHARP)


class Workspace:
    """Memory of one search by codes at a time, and its kernels; a search allocates nothing else."""

    def __init__(self, table: Table, codes: Codes, count: int, k: int) -> None:
        self.table, self.codes, self.count, self.k = table, codes, count, k
        rows, dim = table.rows.shape
        may_be_few = few.usable(rows, k) and codes.streaming is None
        chosen = shape(codes.width, count, may_be_few)
        assert chosen is not None
        self.shape, self.fallback = chosen, Fallback(table, count, k)
        self.room, self.is_sharp = ranking.room_of(k, count, rows, most_shared()), is_sharp(rows, codes.width, count)
        self.tiles = -(-rows // TILE)
        piece = self.tiles if codes.streaming is None else codes.streaming.least(CODES)
        self.sampled = min(piece, max(SAMPLE, 64 * k) // TILE)
        self.stops = tuple(
            stop // TILE for at, stop in enumerate(STOPS) if stop < rows and (at < 2 or 4 * stop <= rows)
        )
        groups = self.sampled * chosen.groups
        if chosen.few:
            plan = few.plan(rows, k, self.room, processors(), chosen.few)
            self.blocks, self.sampled, self.stops, groups = (
                plan.blocks,
                plan.sampled,
                plan.stops,
                few.WARPS * plan.blocks,
            )
        padded = query_kernels.padded(count, chosen.queries)
        self.values, self.norms = cp.empty((count, dim)), cp.empty(count if table.metric == 2 else 0)
        self.flat, self.rotated = (cp.empty((padded, codes.full), dtype=cp.float32) for _ in range(2))
        self.query_codes = cp.empty(max(padded, TILE) * codes.width, dtype=cp.uint8)
        self.own2, self.lengths2, self.errors, self.bases, self.gains, self.blurs, self.bars = cp.empty((7, padded))
        self.steps, self.limits, self.coefficients, self.starts, self.tails = cp.empty((5, padded), dtype=cp.float32)
        self.far = cp.empty(padded, dtype=cp.uint8)
        self.done = cp.zeros(chosen.queries // query_kernels.EIGHT, dtype=cp.uint32)
        self.counts = cp.empty(padded, dtype=cp.uint32)
        self.hits = cp.empty((padded, self.room, 2), dtype=cp.int32)
        self.groups = cp.empty((count, groups, 2), dtype=cp.float32)
        self.padded = padded
        self.asked = Asked(*(pointer(getattr(self, name)) for name in _ASKED))
        self.queries = Queries(
            None, 0, count, padded, codes.map(dim), pointer(self.values), pointer(self.norms), pointer(self.flat), pointer(self.rotated),
            pointer(self.own2), pointer(self.query_codes), pointer(self.counts), self.asked,
        )  # fmt: skip
        widen = bound.widening(table.metric, dim)
        given = Rows(pointer(table.rows), pointer(table.norms), dim, pointer(self.values), pointer(self.norms))
        bars = Bars(
            given, self.asked, pointer(codes.sides), pointer(self.groups), groups, groups, pointer(self.counts), pointer(self.hits),
            self.room, rows, widen, codes.most.coded2, codes.most.step, codes.most.ratio, k,
            ranking.held_of(self.count, self.room, processors()),
        )  # fmt: skip
        self.ranked = Rank(
            given, pointer(table.names), self.asked, pointer(codes.codes), pointer(codes.sides), pointer(self.counts), pointer(self.hits),
            self.room, widen, None, None, None, None, None, None, None, None, k, count,
        )  # fmt: skip
        self.kernels: list[Callable[[int], None]] = [*self._prepared(), self._scanned(bars), *self._rank()]

    def _prepared(self) -> list[Prepared]:
        """Kernels that write queries as codes."""
        codes, device, warps = self.codes, self.table.device, -(-self.padded // 8)
        macros = self.table.macros(**codes.macros())
        source = sources.exact("queries", (*macros, ("ALIKE", int(self.shape.wide is not None))))
        flat, directions, rotated = (POINTER(pointer(a)) for a in (self.flat, codes.directions, self.rotated))
        chosen = query_kernels.launch(self.count, self.padded, codes.full, most_shared(), processors())
        shape = chosen.blocks, chosen.threads, chosen.shared
        if chosen.name == "take_few":
            take = kernel(source, chosen.name, device, chosen.shared)
            return [Prepared(take, shape, self.queries, directions, POINTER(pointer(self.done)))]
        prepare, encode = (kernel(source, name, device) for name in ("prepare_queries", "encode_queries"))
        if chosen.name == "rotate":
            by_all = kernel(sources.exact("codes", macros), chosen.name, device)
            rotate = Prepared(by_all, shape, flat, LONG(self.padded), directions, rotated)
        else:
            rotate = Prepared(kernel(source, chosen.name, device, chosen.shared), shape, flat, directions, rotated)
        return [
            Prepared(prepare, (warps, 256, 0), self.queries),
            rotate,
            Prepared(encode, (warps, 256, 0), self.queries),
        ]

    def _scanned(self, bars: Any) -> Passes:
        """Products of rows and queries, and the thresholds before and between."""
        table, codes, chosen = self.table, self.codes, self.shape
        macros = table.macros(**codes.macros())
        names = "batch_sample", "batch_scan"
        if chosen.tiles:
            scan = sources.exact("batch", (*macros, ("QUERIES", chosen.queries), ("STAGES", chosen.tiles.stages)))
        elif chosen.wide:
            scan = sources.exact(chosen.wide.name, (*macros, *chosen.wide.macros))
            names = wide.KERNELS[chosen.wide.name]
        else:
            scan, names = sources.exact("few", (*macros, *chosen.few)), ("few_sample", "few_scan")
        rank = self._rank_source(self._turns()[0].threads)
        first_shared, shared = 4 * bars.group_count, 4 * bars.held
        first = kernel(rank, "batch_bars", table.device, first_shared)
        again = kernel(rank, "batch_refresh", table.device, shared)
        sample, products = (kernel(scan, name, table.device, chosen.shared) for name in names)
        refresh = Prepared(
            again, (self.count, min(REFRESH, ranking.threads_of(self.count, processors())), shared), bars
        )
        query_tiles = -(-self.count // chosen.queries)
        given = Batch(
            None, None, pointer(self.query_codes), self.asked, pointer(self.counts), pointer(self.hits), pointer(self.groups), self.room,
            bars.groups_stride, 0, 0, len(table.rows), 0, query_tiles, self.count,
        )  # fmt: skip
        slots, together = self.blocks if chosen.few else processors() * chosen.blocks, 1
        if chosen.wide and chosen.wide.blocks > 1:
            together = chosen.wide.blocks
            slots = products.clusters(together, chosen.threads, chosen.shared)
        return Passes(
            codes,
            given,
            Kernels(
                sample,
                products,
                Prepared(first, (self.count, ranking.threads_of(self.count, processors()), first_shared), bars),
                refresh,
            ),
            Grid(
                chosen.threads,
                chosen.shared,
                slots,
                bool(chosen.few),
                together,
                chosen.wide.tiles if chosen.wide else 1,
            ),
            Stops(self.sampled, self.stops, self.tiles),
        )

    def _rank_source(self, threads: int) -> sources.Source:
        macros = self.table.macros(**self.codes.macros(), RANK=threads, SHARP=int(self.is_sharp))
        return sources.exact("rank", macros)

    def _turns(self) -> tuple[ranking.Turn, ...]:
        is_whole = self.codes.width == self.codes.full and not self.is_sharp
        return ranking.turns(self.count, self.k, self.room, is_whole, processors())

    def _rank(self) -> list[Prepared]:
        """The kernels that order what is left."""
        found = []
        for turn in self._turns():
            run = kernel(self._rank_source(turn.threads), "batch_rank", self.table.device, turn.shared)
            given = Turn(turn.number, turn.held, turn.most)
            found.append(Prepared(run, (turn.blocks, turn.threads, turn.shared), self.ranked, given))
        return found

    def queue(self, stream: int, queries: Any, mask: Mask, told: int, answer: tuple[int, int]) -> None:
        """Queue a search.

        Args:
            stream: where.
            queries: float32 or float64, (count, dim), in GPU memory.
            mask: ``EVERY``: all rows may be answers.
            told: where ``TOLD_BYTES`` of each query are written, a line of all queries for each number.
            answer: where ids and values, (count, k), are.
        """
        count, ranked = self.count, self.ranked
        self.queries.given, self.queries.wide = pointer(queries), queries.dtype.itemsize == 8
        ranked.rests, ranked.bases, ranked.gains = (told + 8 * count * i for i in range(3))
        counted = [told + 24 * count + 4 * count * i for i in range(3)]
        ranked.candidates, ranked.computed, ranked.errors = counted
        ranked.ids, ranked.values = answer
        for start in self.kernels:
            start(stream)
        self.fallback.queue(stream, queries, mask, (counted[2], 4), answer)
