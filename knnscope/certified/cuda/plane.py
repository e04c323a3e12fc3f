"""Few queries by the plane: one kernel (kernels/exact_plane.cu)."""

from __future__ import annotations

import math
from typing import Any

import cupy as cp
import numpy as np
import numpy.typing as npt

from knnscope.certified import plane_bound
from knnscope.certified.cuda import prices
from knnscope.certified.cuda.answer import Mask, Told
from knnscope.certified.cuda.codes import PLANE_ROWS, Codes
from knnscope.certified.cuda.fallback import Fallback
from knnscope.certified.cuda.launch import BYTE, DOUBLE, INT, LONG, POINTER, SHORT, Prepared, kernel, pointer, structure
from knnscope.certified.cuda.table import Table, most_shared, processors
from knnscope.kernels import sources

TOGETHER, MEETING = 4, 4
"""Queries of one scan: two digits each, eight columns of a product. Warps of a block that do not scan."""
MOST_K = 256
"""Neighbors up to which a threshold is made from the rows that blocks choose."""
CHOSEN, SHARE = 100, 768
"""Rows that make a threshold: so many more than three times k, and at most."""
HITS, CHUNK, KINDS, COPIES, OWN_SHARED = 1024, 128, 8, 8, 28 << 10
"""As the kernel has them: rows of a query that are ranked at most, terms of a warp, words of a block's report, copies of words that all blocks wait for;
bytes of its static shared memory at most."""
MOST_BLOCKS = 256
"""Whose reports one of them reads."""
EARLY, LAST_STEPS = 1 / 2, (5, 7)
"""Share of a scan after which its threshold is made; in a long one it is made so many steps before the end, which take as long as making it: of two tiles,
and of one."""

Plane = structure(
    "Plane",
    queries=POINTER, directions=POINTER, centre=POINTER, state=POINTER, scaling=DOUBLE, dim=INT, blocks=SHORT, wide=BYTE, queries_count=BYTE,
    words=POINTER, asked=POINTER, tiles=POINTER, count=LONG, bounds=POINTER, allowed=POINTER, allowed_stride=LONG, kept=INT, place=INT,
    rho=DOUBLE, meeting=POINTER, reports=POINTER, rows=POINTER, row_norms=POINTER, steps=INT, each=INT, meet=INT, k=INT,
    names=POINTER, longest=DOUBLE, most_length2=DOUBLE, most_written=DOUBLE, most_error=DOUBLE, most_tail=DOUBLE,
    hit_keys=POINTER, hit_rows=POINTER, told=POINTER, values=POINTER, ids=POINTER, base=LONG, known=POINTER,
)  # fmt: skip
TOLD = np.dtype(
    [("alpha", np.float64), ("beta", np.float64), ("skipped", np.uint64)]
    + [(name, np.uint32) for name in ("least", "candidates", "computed", "errors")]
)
"""What the kernel says of a query."""
TOLD_BYTES = TOLD.itemsize
STATE = 4 + 3 * 4 + 2 * TOGETHER * 4
"""Bytes of its own numbers."""


class Workspace:
    """Memory of one search by the plane at a time, and its kernel; a search allocates nothing else."""

    def __init__(self, table: Table, codes: Codes, count: int, k: int) -> None:
        self.table, self.codes, self.count, self.k = table, codes, count, k
        rows, dim = table.rows.shape
        threads = sources.plane_threads(codes.leading)
        scanning = threads // 32 - MEETING
        self.blocks = min(processors(), MOST_BLOCKS)
        each = min(scanning, SHARE // self.blocks, max(2, -(-(3 * k + CHOSEN) // self.blocks)))
        alone = (
            count == 1 and rows >= 2 * PLANE_ROWS * self.blocks * each
        )  # two tiles a step; fewer rows would make few steps to choose from
        step = PLANE_ROWS * (2 if alone else 1)
        steps = -(-rows // (step * self.blocks * scanning))
        place = steps * scanning * step
        source = sources.exact(
            "plane", table.macros(**codes.macros(), THREADS=threads, QUERIES=1 if alone else TOGETHER)
        )
        terms, most_bytes = 8 * CHUNK * (threads // 32), most_shared() - OWN_SHARED
        bounds_fit = terms + 4 * count * place <= most_bytes
        kept = max(16 * HITS, 4 * count * codes.full, terms + 4 * count * place * bounds_fit)
        queries_fit = kept + 8 * count * dim <= most_bytes
        shared = kept + 8 * count * dim * queries_fit
        self.words = cp.zeros(COPIES * count * codes.leading, dtype=cp.uint64)
        self.meeting = cp.zeros(COPIES * count * self.blocks * each + SHARE, dtype=cp.uint64)
        self.reports = cp.zeros(
            2 * (count * KINDS * self.blocks + MOST_BLOCKS), dtype=cp.uint64
        )  # what comes after is read as well
        self.bounds = None if bounds_fit else cp.empty(self.blocks * count * place, dtype=cp.float32)
        self.asked = None if queries_fit else cp.empty(count * dim)
        self.hit_keys, self.hit_rows = cp.empty((count, HITS), cp.uint64), cp.empty((count, HITS), cp.int64)
        self.state, self.fallback = cp.zeros(STATE, dtype=cp.uint8), Fallback(table, count, k)
        most = codes.most
        self.fixed = Plane(
            directions=pointer(codes.directions), centre=pointer(codes.centre), state=pointer(self.state), scaling=codes.scaling, dim=dim,
            blocks=self.blocks, queries_count=count, words=pointer(self.words), asked=pointer(self.asked), tiles=pointer(codes.plane),
            count=rows, bounds=pointer(self.bounds), kept=kept, place=place, rho=codes.rho, meeting=pointer(self.meeting),
            reports=pointer(self.reports), rows=pointer(table.rows), row_norms=pointer(table.norms), steps=steps, each=each,
            meet=max(1, round(EARLY * steps), steps - LAST_STEPS[not alone]), k=k, names=pointer(table.names),
            longest=math.sqrt(codes.reach2) / codes.scaling, most_length2=most.length2, most_written=most.written, most_error=most.error,
            most_tail=most.tail, hit_keys=pointer(self.hit_keys), hit_rows=pointer(self.hit_rows), base=table.base,
        )  # fmt: skip
        found = kernel(source, "plane_search", table.device, shared)
        self.start = Prepared(found, (self.blocks, threads, shared), self.fixed, together=True)

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


def told(found: npt.NDArray[np.uint8], last: npt.NDArray[np.float64], metric: int) -> Told:
    """What the kernel says; last: the k-th values, (queries,)."""
    each = found.view(TOLD)
    made = Told(each["candidates"], each["computed"], np.full(len(each), np.inf), each["errors"], "plane")
    for number, (one, value) in enumerate(zip(each, last.tolist(), strict=True)):
        bounds = [_key64(one["skipped"])] if one["skipped"] != np.uint64(2**64 - 1) else []
        if one["least"] != np.uint32(2**32 - 1):
            bounds.append(plane_bound.least(_float32(one["least"]), float(one["alpha"]), float(one["beta"])))
        made.margins[number] = margin(value, min(bounds, default=math.inf), metric)
    return made


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
