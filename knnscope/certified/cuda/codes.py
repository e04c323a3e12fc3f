"""Rows written as codes on the GPU: a byte for each of their principal components, and half a byte for the leading ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cupy as cp
import numpy as np
import numpy.typing as npt

from knnscope.certified import components, forks, plane_bound
from knnscope.certified.cuda.host_rows import Plan
from knnscope.certified.cuda.launch import DOUBLE, LONG, POINTER, kernel, pointer, structure
from knnscope.certified.cuda.streaming import TILE, Streaming
from knnscope.certified.cuda.table import Table, host, on_gpu, processors
from knnscope.certified.cuda.written import InHost, OnGpu, Written
from knnscope.kernels import sources

SLICE = 128
"""Components, and bytes, of a slice of codes: rows are padded to whole ones."""
DIMS = (16, 4096)
"""Components with which rows are written as codes; others compete by their values."""
FEWEST = 4096
"""Rows from which on codes are worth their launches."""
PLANE_STEP = 64
"""Leading components of a plane are a multiple of it."""
SAMPLE = 1 << 16
"""Rows that the centre and the directions are taken from."""
CHUNK = 1 << 17
"""Rows that are rotated at once."""
WIDENED = 1 << 24
"""Components that are float64 at once, several times: 128 MiB each, within what ``host_rows.LEFT`` leaves."""
EXPONENTS = 60
"""Rows are scaled by a power of two up to this: float32 then holds what the bounds need."""
MOST_LONG = 1e-3
"""Share of rows too long for float16 with which a plane is of no use."""

Map = structure("Map", centre=POINTER, scaling=DOUBLE, reach2=DOUBLE, rho=DOUBLE, dim=LONG)


@dataclass(frozen=True, slots=True)
class Most:
    """The largest over all rows: |z|^2, |y|, e1 and e2 of the plane's bound, |y|^2, s and e / s of the other's."""

    length2: float
    written: float
    error: float
    tail: float
    coded2: float
    step: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Codes:
    """Rows as they are scanned.

    full: components, padded. width: those that are written, of which the last is the length of what is left out where there are fewer (exact_codes.cu).
    leading: of the plane, 0 where there is none. directions: float32, (full, full). centre: float64, (dim,).
    codes: uint8, tiles of ``TILE`` rows. sides: float32, (tiles, SIDE of written.py): s and N of bound.py and more, see SIDE of kernels/batch.cuh.
    plane: uint8, or None.
    survivors: share of rows that the plane leaves, by k of components.KS. scaling, reach2, rho:
    as in quantise.Mapping and plane_bound.py. streaming: how codes and plane come from host memory; None where all lies on the GPU.
    """

    full: int
    width: int
    leading: int
    directions: Any
    centre: Any
    codes: Any
    sides: Any
    plane: Any
    scaling: float
    reach2: float
    rho: float
    most: Most
    survivors: tuple[float, ...]
    streaming: Streaming | None = None

    @property
    def nbytes(self) -> int:
        """Bytes beside the rows, on the GPU and in host memory; what comes there in pieces is counted once."""
        return sum(
            int(part.nbytes) for part in (self.directions, self.codes, self.sides, self.plane) if part is not None
        )

    def map(self, dim: int) -> Any:
        """For kernels."""
        return Map(pointer(self.centre), self.scaling, self.reach2, self.rho, dim)

    def macros(self) -> dict[str, int]:
        """Of the kernels that read them."""
        return {"FULL": self.full, "WIDTH": self.width, "LEADING": self.leading}


def are_written(shape: tuple[int, int]) -> bool:
    """Whether so many rows of so many components may have codes."""
    return shape[0] >= FEWEST and DIMS[0] <= shape[1] <= DIMS[1]


def build(table: Table, place: Plan) -> Codes | None:
    """Write rows as codes; None where that is of no use: few rows, few or very many components, lengths that bounds have no room for.

    Args:
        table: the rows.
        place: where codes go.
    """
    count, dim = table.rows.shape
    if not are_written((count, dim)):
        return None
    step = -(-count // SAMPLE)
    centre, largest = _centre(table.rows[::step], table.metric)
    sample = host(table.rows[::step])
    if table.cell == "float16":
        sample = sample.view(np.uint16)
    exponent = math.frexp(largest or float(np.abs(centre).max()) or 1.0)[1] if math.isfinite(largest) else EXPONENTS + 1
    longest2 = _longest2(_widened(table.rows, 1)) if table.metric == 1 else 1.0
    if abs(exponent) > EXPONENTS or not longest2 < math.inf:
        return None
    scaling = 2.0**-exponent
    reach2 = longest2 * (1 + dim * 2.0**-50) * scaling**2 if table.metric else 0.0
    return _write(table, _Mapping(centre, scaling, reach2, _directions(table, sample, centre)), place)


@dataclass(frozen=True, slots=True)
class _Rotation:
    """Directions, and what of them is written; see Codes."""

    directions: npt.NDArray[np.float32]
    width: int
    leading: int
    rho: float
    survivors: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Mapping:
    """What rows go through; see Codes."""

    centre: npt.NDArray[np.float64]
    scaling: float
    reach2: float
    rotation: _Rotation


def _wide(rows: Any) -> Any:
    """Rows as float64; int16 stands for the bits of bfloat16."""
    return ((rows.astype(cp.int32) << 16).view(cp.float32) if rows.dtype == cp.int16 else rows).astype(cp.float64)


def _widened(rows: Any, metric: int) -> Iterator[Any]:
    """Rows as float64, some at a time, of length 1 for cosine."""
    step = max(1, WIDENED // rows.shape[1])
    for first in range(0, len(rows), step):
        values = _wide(rows[first : first + step])
        if metric == 2:
            lengths = cp.sqrt((values * values).sum(axis=1))[:, None]
            values /= cp.where(lengths == 0, 1, lengths)
        yield values


def _centre(sample: Any, metric: int) -> tuple[npt.NDArray[np.float64], float]:
    """The mean of rows that lie on the GPU, and the largest distance from it; infinite where a number is not finite."""
    centre = sum((values.sum(axis=0) for values in _widened(sample, metric)), cp.zeros(sample.shape[1])) / len(sample)
    length2 = _longest2(values - centre for values in _widened(sample, metric))
    return (host(centre), math.sqrt(length2)) if math.isfinite(length2) else (np.zeros(len(centre)), math.inf)


def _longest2(some: Iterable[Any]) -> float:
    """The largest squared length of vectors; infinite where one is no number."""
    found = [float((values * values).sum(axis=1).max()) for values in some]
    return max(found) if all(map(math.isfinite, found)) else math.inf


@forks.held_off()
def _directions(table: Table, sample: npt.NDArray[Any], centre: npt.NDArray[np.float64]) -> _Rotation:
    """Principal directions of a sample, spread within the parts of which some codes take only the first ones."""
    dim = sample.shape[1]
    random = np.random.default_rng(0)
    some = components.prepared(sample[:: max(1, len(sample) // max(8192, 10 * dim))], table.metric, centre)
    values, vectors = np.linalg.eigh((some.T @ some).astype(np.float64))
    vectors = vectors[:, np.argsort(values)[::-1]].T
    leading, survivors = 0, tuple[float, ...]()
    if dim >= PLANE_STEP:
        chosen = components.choose(sample, table.metric, centre, vectors, len(table.rows))
        if chosen is not None:
            leading = min(dim // PLANE_STEP * PLANE_STEP, -(-len(chosen.matrix) // PLANE_STEP) * PLANE_STEP)
            survivors = chosen.survivors
    full = -(-dim // SLICE) * SLICE
    width = _width(table, sample, centre, vectors, leading) if table.metric != 1 else full
    cuts = sorted({0, leading, width - 1 if width < full else dim, dim})
    rotated = np.concatenate([components.spreading(b - a, random) @ vectors[a:b] for a, b in pairwise(cuts)])
    matrix = np.zeros((full, full), dtype=np.float32)
    matrix[:dim, :dim] = rotated
    wide = matrix[:dim, :dim].astype(np.float64)
    defect = float(np.linalg.norm(wide @ wide.T - np.eye(dim))) * 1.001
    return _Rotation(matrix, width, leading, plane_bound.strayed(dim, dim, defect), survivors)


ASKED, NEIGHBORS = 32, 10
"""Rows that stand for queries, and neighbors of each, by which codes are made narrower."""
HIT = 4e5
"""A row that a query has to look at costs what so many components of products do: 1 ns against 2.4e-15 s, on an H200."""
MOST_HITS = 500
"""Such rows a query, predicted, with which a list has room for queries that leave several times as many."""
BLUR = 0.02
"""About what a byte a component adds to a distance, in units of a row's length."""


def _width(
    table: Table,
    sample: npt.NDArray[Any],
    centre: npt.NDArray[np.float64],
    vectors: npt.NDArray[np.float64],
    leading: int,
) -> int:
    """Components that are written: all, or fewer, the plane's among them, where the rows that these cannot tell apart cost less than products.

    For l2 and cosine, as if rows asked; of ip nobody knows how long queries are.
    """
    count, dim = len(table.rows), sample.shape[1]
    full = -(-dim // SLICE) * SLICE
    rows = cp.asarray(components.prepared(sample, table.metric, centre)) @ cp.asarray(vectors.T, dtype=cp.float32)
    lengths2 = (rows * rows).sum(axis=1)
    asked = cp.asarray(np.random.default_rng(1).choice(len(rows), min(ASKED, len(rows)), replace=False))
    own = cp.arange(len(asked)), asked
    distances = cp.maximum(lengths2 + lengths2[asked][:, None] - 2 * rows[asked] @ rows.T, 0)
    distances[own] = cp.inf
    place = max(0, round(NEIGHBORS * len(rows) / count) - 1)
    nearest = cp.sqrt(cp.partition(distances, place, axis=1)[:, place])
    limits = (nearest + BLUR * cp.sqrt(lengths2.mean())) ** 2
    best, cost = full, float(full)
    for width in range(max(SLICE, -(-leading // SLICE) * SLICE), full, SLICE):
        kept = rows[:, : width - 1]
        tails = cp.sqrt(cp.maximum(lengths2 - (kept * kept).sum(axis=1), 0))
        seen = cp.concatenate([kept, tails[:, None]], axis=1)
        lower = lengths2 + lengths2[asked][:, None] - 2 * seen[asked] @ seen.T
        lower[own] = cp.inf
        share = components.UNLIKE * float((lower <= limits[:, None]).mean())
        if share * count <= MOST_HITS and width + HIT * share < cost:
            best, cost = width, width + HIT * share
    return best


def _write(table: Table, plan: _Mapping, place: Plan) -> Codes | None:
    """See ``build``; None where too many rows have lengths without bounds."""
    count, dim = table.rows.shape
    rotation = plan.rotation
    full, width, leading = len(rotation.directions), rotation.width, rotation.leading
    room = min(CHUNK, -(-count // TILE) * TILE)
    written: Written = (
        InHost((count, width, leading), room, table.device, place.codes)
        if place.codes_stay
        else OnGpu(count, width, leading)
    )
    directions, centre = on_gpu(rotation.directions), on_gpu(plan.centre)
    source = sources.exact("codes", table.macros(FULL=full, WIDTH=width, LEADING=leading))
    prepare, rotate, encode = (kernel(source, name, table.device) for name in ("prepare_rows", "rotate", "encode_rows"))
    flat, rotated = (cp.empty((room, full), dtype=cp.float32) for _ in range(2))
    lengths2, extras = cp.empty(room), cp.empty(room)
    most = cp.zeros(9, dtype=cp.uint64)
    way = Map(pointer(centre), plan.scaling, plan.reach2, rotation.rho, dim)
    for first in range(0, count, room):
        some = min(room, count - first)
        grid = (min(-(-some // 8), processors() * 16),)
        prepare(grid, 256, table.rows, LONG(first), LONG(some), way, flat, lengths2, extras, most)
        rotate((-(-some // 128), full // 128), 256, flat, LONG(some), directions, rotated)
        encode(
            (min(-(-some // TILE), grid[0]),),
            256,
            rotated,
            LONG(some),
            way,
            lengths2,
            extras,
            *written.at(first, some),
            most,
        )
        written.keep(first, some)
    found = host(most)
    length2, written2, error, tail, coded2, step, ratio = found[:7].view(np.float64).tolist()
    if found[8]:
        return None
    up = 1 + 2.0**-10
    largest = Most(length2 * up, math.sqrt(written2) * up, error * up, tail * up, coded2 * up, step, ratio * up)
    plane = written.plane
    if found[7] > MOST_LONG * count:
        plane, leading = None, 0
    return Codes(
        full, width, leading, directions, centre, written.codes, written.sides, plane, plan.scaling, plan.reach2, rotation.rho, largest,
        rotation.survivors, written.streaming,
    )  # fmt: skip
