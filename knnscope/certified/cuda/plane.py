"""Few queries by the plane: one kernel (kernels/exact_plane.cu)."""

from __future__ import annotations

import math
from typing import Any

import cupy as cp

from knnscope.certified.cuda import plane_layout, plane_told, prices
from knnscope.certified.cuda.answer import Mask
from knnscope.certified.cuda.codes import Codes
from knnscope.certified.cuda.fallback import Fallback
from knnscope.certified.cuda.launch import BYTE, DOUBLE, INT, LONG, POINTER, SHORT, Prepared, kernel, pointer, structure
from knnscope.certified.cuda.plane_layout import HITS, OWN_SHARED
from knnscope.certified.cuda.table import Table, most_shared, processors
from knnscope.kernels import sources

TOGETHER, TOLD_BYTES, told = plane_layout.TOGETHER, plane_told.TOLD_BYTES, plane_told.told
"""What every path has: see there."""
MOST_K = 256
"""Neighbors up to which a threshold is made from the rows that blocks choose."""

Plane = structure(
    "Plane",
    queries=POINTER, directions=POINTER, centre=POINTER, state=POINTER, scaling=DOUBLE, dim=INT, blocks=SHORT, wide=BYTE, queries_count=BYTE,
    words=POINTER, asked=POINTER, tiles=POINTER, count=LONG, bounds=POINTER, allowed=POINTER, allowed_stride=LONG, kept=INT, place=INT,
    rho=DOUBLE, meeting=POINTER, reports=POINTER, rows=POINTER, row_norms=POINTER, steps=INT, each=INT, meet=INT, k=INT,
    names=POINTER, longest=DOUBLE, most_length2=DOUBLE, most_written=DOUBLE, most_error=DOUBLE, most_tail=DOUBLE,
    hit_keys=POINTER, hit_rows=POINTER, told=POINTER, values=POINTER, ids=POINTER, base=LONG, known=POINTER,
)  # fmt: skip
STATE = 4 + 3 * 4 + 2 * TOGETHER * 4
"""Bytes of its own numbers."""


class Workspace:
    """Memory of one search by the plane at a time, and its kernel; a search allocates nothing else."""

    def __init__(self, table: Table, codes: Codes, count: int, k: int) -> None:
        self.table, self.codes, self.count, self.k = table, codes, count, k
        rows, dim = table.rows.shape
        sizes = plane_layout.Sizes(rows, dim, codes.full, codes.leading, count, k)
        made = plane_layout.layout(sizes, processors(), most_shared())
        macros = table.macros(**codes.macros(), THREADS=made.threads, QUERIES=made.queries)
        self.words, self.meeting = (cp.zeros(size, dtype=cp.uint64) for size in (made.words, made.meeting))
        self.reports = cp.zeros(2 * made.reports, dtype=cp.uint64)
        self.bounds = cp.empty(made.bounds, dtype=cp.float32) if made.bounds else None
        self.asked = cp.empty(made.asked) if made.asked else None
        self.hit_keys, self.hit_rows = cp.empty((count, HITS), cp.uint64), cp.empty((count, HITS), cp.int64)
        self.state, self.fallback = cp.zeros(STATE, dtype=cp.uint8), Fallback(table, count, k)
        most = codes.most
        self.fixed = Plane(
            directions=pointer(codes.directions), centre=pointer(codes.centre), state=pointer(self.state), scaling=codes.scaling, dim=dim,
            blocks=made.blocks, queries_count=count, words=pointer(self.words), asked=pointer(self.asked), tiles=pointer(codes.plane),
            count=rows, bounds=pointer(self.bounds), kept=made.kept, place=made.place, rho=codes.rho, meeting=pointer(self.meeting),
            reports=pointer(self.reports), rows=pointer(table.rows), row_norms=pointer(table.norms), steps=made.steps, each=made.each,
            meet=made.meet, k=k, names=pointer(table.names),
            longest=math.sqrt(codes.reach2) / codes.scaling, most_length2=most.length2, most_written=most.written, most_error=most.error,
            most_tail=most.tail, hit_keys=pointer(self.hit_keys), hit_rows=pointer(self.hit_rows), base=table.base,
        )  # fmt: skip
        found = kernel(sources.exact("plane", macros), "plane_search", table.device, made.shared)
        self.start = Prepared(found, (made.blocks, made.threads, made.shared), self.fixed, together=True)

    def at(self, part: Table, tiles: int, known: int | None) -> None:
        """Search as many rows elsewhere.

        Args:
            part: the rows.
            tiles: where their plane is.
            known: where values of an answer over other rows are, (count, k): what is further than the last of a query is left out; None for none.
        """
        p = self.fixed
        p.rows, p.row_norms, p.names, p.base = pointer(part.rows), pointer(part.norms), pointer(part.names), part.base
        p.tiles, p.known = tiles, known
        self.fallback.at(part)

    def queue(self, stream: int, queries: Any, mask: Mask, told: int, answer: tuple[int, int]) -> None:
        """Queue a search.

        Args:
            stream: where, the current one.
            queries: float32 or float64, (count, dim), in GPU memory.
            mask: rows that may be answers.
            told: where ``TOLD`` of each query is written.
            answer: where ids and values, (count, k), are.
        """
        p = self.fixed
        p.queries, p.wide, p.told = pointer(queries), queries.dtype.itemsize == 8, told
        p.allowed, p.allowed_stride = mask
        p.ids, p.values = answer
        self.start(stream)
        self.fallback.queue(stream, queries, mask, (told + TOLD_BYTES - 4, TOLD_BYTES), answer)


def step_of(_k: int, _rows: int) -> int:
    """Queries of one scan."""
    return TOGETHER


def pays(table: Table, codes: Codes, k: int) -> bool:
    """Whether the plane is faster than codes for few queries, predicted from a sample."""
    rows, dim = table.rows.shape
    row = dim * table.rows.dtype.itemsize
    sizes = prices.Sizes(rows, codes.leading, codes.width, row, codes.streaming is not None)
    return prices.by_plane(sizes, k, prices.left(codes.survivors, k)) < prices.by_codes(sizes, k)


def usable(table: Table, codes: Codes | None, k: int) -> bool:
    """Whether the plane answers so many neighbors."""
    if codes is None or codes.plane is None or k > MOST_K or len(table.rows) >= 2**32 - 64:
        return False
    return 4 * TOGETHER * codes.full <= most_shared() - OWN_SHARED
