"""Many queries by a byte a component: thresholds from some rows, products of all, values of what is left (kernels/exact_batch.cu)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cupy as cp
import numpy as np
import numpy.typing as npt

from knnscope.certified import bound
from knnscope.certified.cuda.all_rows import query_norms
from knnscope.certified.cuda.answer import Mask, Told
from knnscope.certified.cuda.codes import SLICE, TILE, Codes
from knnscope.certified.cuda.fallback import Fallback
from knnscope.certified.cuda.launch import DOUBLE, INT, LONG, POINTER, kernel, pointer, structure
from knnscope.certified.cuda.table import Table, most_shared, processors
from knnscope.kernels import sources

MOST_K = 512
"""Neighbors up to which the lists of hits have room."""
STAGES, THREADS, RANK, CANDIDATES = 3, 128, 256, 1024
"""As the kernels have them."""
BLOCK_BYTES = 1 << 30
"""Of hits: so many queries share a pass."""
SAMPLE = 32768
"""Rows that make the first threshold."""
STOPS = (1 << 16, 1 << 18)
"""Rows after which thresholds are made again."""
LEAST_WIDE = 64
"""Queries from which on products by warpgroups are faster, where there are any."""
SIDES, KEPT = 3, 8 * 64 * 8 + 32
"""Tiles of rows whose numbers are on their way, and bytes of hits that wait to be written, in exact_wide.cu."""
FEW = 1024
"""Queries up to which directions are read again for each eight of them."""
DEEP = 40
"""Tiles of rows of one item at most: its queries are loaded once."""

_ASKED = dict.fromkeys(
    ("lengths2", "errors", "bases", "gains", "blurs", "bars", "steps", "limits", "coefficients", "tails", "far"),
    POINTER,
)
Asked = structure("Asked", **_ASKED)
Batch = structure(
    "Batch",
    codes=POINTER, sides=POINTER, query_codes=POINTER, asked=Asked, counts=POINTER, hits=POINTER, groups=POINTER,
    room=LONG, groups_stride=LONG, first=LONG, last=LONG, count=LONG, each=INT, query_tiles=INT, queries=INT,
)  # fmt: skip
Rows = structure("Rows", rows=POINTER, row_norms=POINTER, dim=LONG, queries=POINTER, query_norms=POINTER)
Bars = structure(
    "Bars",
    table=Rows, asked=Asked, sides=POINTER, groups=POINTER, groups_stride=LONG, group_count=INT, counts=POINTER, hits=POINTER, room=LONG,
    count=LONG, widen=DOUBLE, longest2=DOUBLE, widest=DOUBLE, k=INT,
)  # fmt: skip
Rank = structure(
    "Rank",
    table=Rows, names=POINTER, asked=Asked, codes=POINTER, sides=POINTER, counts=POINTER, hits=POINTER, room=LONG, widen=DOUBLE,
    values=POINTER, ids=POINTER, candidates=POINTER, computed=POINTER, errors=POINTER, rests=POINTER, k=INT,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shape:
    """How queries are tiled.

    queries: of a tile. threads, shared: of a block, and bytes of its shared memory. blocks: that a multiprocessor holds. groups: of a tile
    of rows, whose nearest row makes a threshold. tall, ahead: of exact_wide.cu, 0 where exact_batch.cu does it.
    """

    queries: int
    threads: int
    shared: int
    blocks: int
    groups: int
    tall: int = 0
    ahead: int = 0


def shape(width: int, count: int) -> Shape | None:
    """The tile for so many queries of this width; None where none fits."""
    if str(cp.cuda.Device().compute_capability) == "90" and count > LEAST_WIDE:
        for tall in (2, 1):
            fixed = 128 * tall * width + SIDES * TILE * 12 + KEPT + 512
            ahead = min(8, (most_shared() - fixed) // (TILE * SLICE))
            if ahead >= width // SLICE + 2 and (tall == 1 or count > 128):
                return Shape(128 * tall, 384, fixed + ahead * TILE * SLICE, 1, 4, tall, ahead)
    for queries in (128, 64, 32):
        shared = queries * width + STAGES * TILE * SLICE + 2 * TILE * 12 + 3 * 4 * queries
        if shared <= most_shared() and (queries == 32 or queries // 2 < count):
            return Shape(queries, THREADS, shared, max(1, min(2, most_shared() // shared)), 8 if queries == 128 else 16)
    return None


def usable(table: Table, codes: Codes | None, k: int) -> bool:
    """Whether codes answer so many neighbors."""
    return (
        codes is not None
        and k <= MOST_K
        and 16 * k <= len(table.rows) < 2**31 - TILE
        and shape(codes.width, 1) is not None
    )


def step_of(k: int) -> int:
    """Queries that share a pass: their hits fill ``BLOCK_BYTES``."""
    return max(128, BLOCK_BYTES // (8 * _room(k)) // 128 * 128)


def _room(k: int) -> int:
    return max(2048, 16 * k)


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


class Workspace:
    """Memory of one search by codes, and its kernels."""

    def __init__(self, table: Table, codes: Codes, count: int, k: int) -> None:
        self.table, self.codes, self.count, self.k = table, codes, count, k
        chosen = shape(codes.width, count)
        assert chosen is not None
        self.shape, self.room, self.fallback = chosen, _room(k), Fallback(table, count, k)
        rows = len(table.rows)
        self.tiles = -(-rows // TILE)
        self.sampled = min(self.tiles, max(SAMPLE, 64 * k) // TILE)
        self.per_tile = chosen.groups
        groups = self.sampled * self.per_tile
        padded = -(-count // 256) * 256
        width = codes.width
        self.flat, self.rotated = (cp.empty((padded, codes.full), dtype=cp.float32) for _ in range(2))
        self.query_codes = cp.empty(padded * width, dtype=cp.uint8)
        self.own2 = cp.empty(padded)
        self.lengths2, self.errors, self.blurs, self.bars = cp.empty((4, padded))
        self.steps, self.limits, self.coefficients, self.tails = cp.empty((4, padded), dtype=cp.float32)
        self.far = cp.empty(padded, dtype=cp.uint8)
        self.counts = cp.empty(padded, dtype=cp.uint32)
        self.hits = cp.empty((padded, self.room, 2), dtype=cp.int32)
        self.groups = cp.empty((count, groups, 2), dtype=cp.float32)
        self.padded = padded
        self.asked = Asked(*(pointer(getattr(self, name, None)) for name in _ASKED))
        macros = table.macros(**codes.macros())
        encode = sources.exact("codes", macros)
        rank = sources.exact("rank", macros)
        scan, names = sources.exact("batch", (*macros, ("QUERIES", chosen.queries))), ("batch_sample", "batch_scan")
        if chosen.tall:
            scan = sources.exact("wide", (*macros, ("TALL", chosen.tall), ("AHEAD", chosen.ahead)))
            names = ("wide_sample", "wide_scan")
        device = table.device
        self.prepare, self.rotate, self.rotate_few, self.encode = (
            kernel(encode, name, device) for name in ("prepare_queries", "rotate", "rotate_few", "encode_queries")
        )
        self.sample, self.scan = (kernel(scan, name, device, chosen.shared) for name in names)
        self.first_bars = kernel(rank, "batch_bars", device, 4 * groups)
        self.refresh = kernel(rank, "batch_refresh", device, 4 * self.room)
        self.rank_shared = 8 * self.room + 16 * CANDIDATES
        self.rank = kernel(rank, "batch_rank", device, self.rank_shared)

    def queue(self, stream: int, queries: Any, mask: Mask, told: int, answer: tuple[int, int]) -> None:
        """Queue a search.

        Args:
            stream: where, the current one.
            queries: float64, (count, dim), in GPU memory.
            mask: ``EVERY``: all rows may be answers.
            told: where ``TOLD_BYTES`` of each query are written, a line of all queries for each number.
            answer: where ids and values, (count, k), are.
        """
        table, codes, count, k = self.table, self.codes, self.count, self.k
        norms = query_norms(table, queries)
        rests, self.asked.bases, self.asked.gains = (told + 8 * count * i for i in range(3))
        counted = [told + 24 * count + 4 * count * i for i in range(3)]
        dim = table.rows.shape[1]
        warps = -(-self.padded // 8)
        way = codes.map(dim)
        self.counts.fill(0)
        self.prepare((warps,), 256, queries, LONG(count), LONG(self.padded), way, self.flat, self.own2, self.asked)
        if count <= FEW:
            self.rotate_few((-(-count // 8), codes.full // 8), 256, self.flat, codes.directions, self.rotated)
        else:
            tiles = (self.padded // TILE, codes.full // TILE)
            self.rotate(tiles, 256, self.flat, LONG(self.padded), codes.directions, self.rotated)
        self.encode((warps,), 256, self.rotated, LONG(self.padded), way, self.own2, self.asked, self.query_codes)
        widen = bound.widening(table.metric, dim)
        groups = self.sampled * self.per_tile
        rows = Rows(pointer(table.rows), pointer(table.norms), dim, pointer(queries), pointer(norms))
        bars = Bars(
            rows, self.asked, pointer(codes.sides), pointer(self.groups), groups, groups, pointer(self.counts), pointer(self.hits),
            self.room, len(table.rows), widen, codes.most.coded2, codes.most.step, k,
        )  # fmt: skip
        self._pass(self.sample, 0, self.sampled)
        self.first_bars((count,), 1024, bars, shared=4 * groups)
        stops = [stop // TILE for stop in STOPS if stop // TILE < self.tiles]
        for begin, end in zip((0, *stops), (*stops, self.tiles), strict=True):
            self._pass(self.scan, begin, end)
            if end < self.tiles:
                self.refresh((count,), RANK, bars, shared=4 * self.room)
        ranked = Rank(
            rows, pointer(table.names), self.asked, pointer(codes.codes), pointer(codes.sides), pointer(self.counts), pointer(self.hits),
            self.room, widen, answer[1], answer[0], *counted, rests, k,
        )  # fmt: skip
        self.rank((count,), RANK, ranked, shared=self.rank_shared)
        self.fallback.queue(stream, queries, mask, (counted[2], 4), answer)

    def _pass(self, run: Any, begin: int, end: int) -> None:
        """Products of some tiles of rows with all queries."""
        query_tiles = -(-self.count // self.shape.queries)
        slots = processors() * self.shape.blocks
        each = next(
            each
            for waves in range(1, 1 << 20)
            if (each := math.ceil((end - begin) * query_tiles / (waves * slots))) <= DEEP
        )
        items = -(-(end - begin) // each) * query_tiles
        given = Batch(
            pointer(self.codes.codes), pointer(self.codes.sides), pointer(self.query_codes), self.asked, pointer(self.counts),
            pointer(self.hits), pointer(self.groups), self.room, self.sampled * self.per_tile, begin, end, len(self.table.rows),
            each, query_tiles, self.count,
        )  # fmt: skip
        run((min(items, slots),), self.shape.threads, given, shared=self.shape.shared)
