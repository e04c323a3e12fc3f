"""Few queries by the plane: four kernels, one after the other (kernels/exact_plane.cu)."""

from __future__ import annotations

import math
from typing import Any

import cupy as cp
import numpy as np

from knnscope.certified import components, plane_bound
from knnscope.certified.cuda.all_rows import query_norms
from knnscope.certified.cuda.answer import Answers
from knnscope.certified.cuda.codes import PLANE_ROWS, Codes
from knnscope.certified.cuda.launch import DOUBLE, INT, LONG, POINTER, kernel, pointer, structure
from knnscope.certified.cuda.table import Table, host, processors
from knnscope.kernels import sources

TOGETHER = 4
"""Queries of one scan: two digits each, eight columns of a product."""
MOST_K = 256
"""Neighbors up to which a threshold is made from 1,024 rows."""
HITS = 2048
SCAN, PROBE, FINISH = 384, 512, 256
"""Threads of a block."""
BLOCKS = 2
"""Blocks of a scan on each multiprocessor."""

Plane = structure(
    "Plane",
    rows=POINTER, row_norms=POINTER, names=POINTER, tiles=POINTER, directions=POINTER, centre=POINTER, count=LONG, dim=LONG,
    scaling=DOUBLE, rho=DOUBLE, longest=DOUBLE,
    most_length2=DOUBLE, most_written=DOUBLE, most_error=DOUBLE, most_tail=DOUBLE,
    queries=POINTER, query_norms=POINTER, allowed=POINTER, allowed_stride=LONG, words=POINTER, bounds=POINTER, minima=POINTER,
    hit_keys=POINTER, hit_rows=POINTER, asked=POINTER, values=POINTER, ids=POINTER, padded=LONG, queries_count=INT, k=INT, warps=INT, together=INT,
)  # fmt: skip
ASKED = np.dtype(
    [(name, np.float64) for name in ("length2", "length", "cross", "alpha", "beta", "key", "known", "rest", "gap")]
    + [("limit", np.float32)]
    + [(name, np.uint32) for name in ("least", "hits", "candidates", "computed", "done", "errors")]
    + [("skipped", np.uint64)],
    align=True,
)
"""A query at work, as the kernels have it."""


class Workspace:
    """Memory of one search by the plane, and its kernels; a search allocates nothing else."""

    def __init__(self, table: Table, codes: Codes, count: int, k: int) -> None:
        self.table, self.codes, self.count, self.k = table, codes, count, k
        rows, dim = table.rows.shape
        tiles = -(-rows // PLANE_ROWS)
        self.blocks = min(processors() * BLOCKS, -(-tiles // (SCAN // 32)))
        warps, padded = self.blocks * (SCAN // 32), -(-rows // 64) * 64
        together = 4 if padded > processors() * 8 * FINISH else 1
        self.finishing = min(processors() * 8, -(-padded // (together * FINISH)))
        self.words = cp.empty((count, codes.leading), dtype=cp.float32)
        self.bounds = cp.full((count, padded), cp.inf, dtype=cp.float32)
        self.minima = cp.full((count, warps), 2**64 - 1, dtype=cp.uint64)
        self.hit_keys, self.hit_rows = cp.empty((count, HITS), cp.uint64), cp.empty((count, HITS), cp.int64)
        self.asked = cp.zeros((count, ASKED.itemsize), dtype=cp.uint8)
        self.values, self.ids = cp.empty((count, k)), cp.empty((count, k), dtype=cp.int64)
        source = sources.exact("plane", table.macros(**codes.macros()))
        names = ("plane_words", "plane_scan", "plane_probe", "plane_finish")
        self.kernels = [kernel(source, name, table.device) for name in names]
        most = codes.most
        self.fixed = Plane(
            pointer(table.rows), pointer(table.norms), pointer(table.names), pointer(codes.plane), pointer(codes.directions),
            pointer(codes.centre), rows, dim, codes.scaling, codes.rho, math.sqrt(codes.reach2) / codes.scaling,
            most.length2, most.written, most.error, most.tail,
            None, None, None, 0, pointer(self.words), pointer(self.bounds), pointer(self.minima), pointer(self.hit_keys),
            pointer(self.hit_rows), pointer(self.asked), pointer(self.values), pointer(self.ids), padded, count, k, warps, together,
        )  # fmt: skip

    def queue(self, queries: Any, allowed: Any = None, norms: Any = None) -> None:
        """Queue a search on the current stream.

        Args:
            queries: float64, (count, dim), in GPU memory.
            allowed: bool, (1 or count, rows), or None.
            norms: of the queries as defined, for cosine.
        """
        p = self.fixed
        p.queries, p.query_norms, p.allowed = pointer(queries), pointer(norms), pointer(allowed)
        p.allowed_stride = 0 if allowed is None or len(allowed) == 1 else allowed.shape[1]
        words, scan, probe, finish = self.kernels
        words((self.codes.leading // 8, self.count), 256, p)
        scan((self.blocks,), SCAN, p, early=True)
        probe((self.count,), PROBE, p, early=True)
        finish((self.finishing, self.count), FINISH, p, early=True)


SCAN_RATE, BEGIN, ROW = 3.5e6, (20.0, 60.0), 1.5e-3
"""Bytes a microsecond; microseconds that one query takes whatever it reads, by the plane and by codes; and for each row that the plane leaves."""


def pays(table: Table, codes: Codes, k: int) -> bool:
    """Whether the plane is faster than codes for few queries, predicted from a sample."""
    rows = len(table.rows)
    share = float(np.interp(np.log(k), np.log(components.KS), codes.survivors)) * max(1.0, k / components.KS[-1])
    left = min(1.0, components.UNLIKE * share)
    plane = BEGIN[0] + rows * ((codes.leading / 2 + 8) / SCAN_RATE + left * ROW)
    return plane < BEGIN[1] + rows * (codes.width + 12) / SCAN_RATE


def usable(table: Table, codes: Codes | None, k: int) -> bool:
    """Whether the plane answers so many neighbors."""
    return codes is not None and codes.plane is not None and k <= MOST_K and len(table.rows) < 2**32 - 64


def search(table: Table, codes: Codes, queries: Any, k: int, allowed: Any) -> Answers:
    """The k nearest rows; see all_rows.search."""
    made = Answers.empty(len(queries), k)
    norms = query_norms(table, queries)
    space: Workspace | None = None
    for first in range(0, len(queries), TOGETHER):
        some = queries[first : first + TOGETHER]
        if space is None or space.count != len(some):
            space = Workspace(table, codes, len(some), k)
        mask = allowed if allowed is None or len(allowed) == 1 else allowed[first : first + TOGETHER]
        space.queue(some, mask, None if norms is None else norms[first:])
        where = slice(first, first + len(some))
        made.ids[where], made.values[where] = space.ids, space.values
        _certify(made, where, host(space.asked).view(ASKED)[:, 0], host(space.values[:, k - 1]), table.metric)
    made.path = "plane"
    return made


def _certify(made: Answers, where: slice, asked: Any, last: Any, metric: int) -> None:
    """What the kernels have counted, and the margin."""
    made.candidates[where], made.computed[where] = asked["candidates"], np.maximum(asked["computed"], asked["hits"])
    made.errors[where] = asked["errors"]
    for number, (one, value) in enumerate(zip(asked, last.tolist(), strict=True), where.start):
        bounds = [_key64(one["skipped"])] if one["skipped"] != np.uint64(2**64 - 1) else []
        if one["least"] != np.uint32(2**32 - 1):
            bounds.append(plane_bound.least(_float32(one["least"]), float(one["alpha"]), float(one["beta"])))
        made.margins[number] = margin(value, min(bounds, default=math.inf), metric)


def margin(last: float, key: float, metric: int) -> float:
    """How much further than the k-th value every row is whose key is at least ``key``: for l2 in plain distance."""
    if not key < math.inf or not abs(last) < math.inf:
        return math.inf
    if metric == 0:
        return max(0.0, math.sqrt(max(0.0, key)) - math.sqrt(last))
    return max(0.0, last + key)


def _float32(order: Any) -> float:
    bits = int(order)
    return float(np.uint32(bits ^ 0x80000000 if bits >> 31 else ~bits & 0xFFFFFFFF).view(np.float32))


def _key64(order: Any) -> float:
    bits = int(order)
    return float(np.uint64(bits ^ 1 << 63 if bits >> 63 else ~bits & 2**64 - 1).view(np.float64))
