"""Rows written as codes on the GPU: a byte for each of their principal components, and half a byte for the leading ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cupy as cp
import numpy as np
import numpy.typing as npt

from knnscope.certified import components, plane_bound
from knnscope.certified.cuda.launch import DOUBLE, LONG, POINTER, kernel, pointer, structure
from knnscope.certified.cuda.table import Table, host, processors
from knnscope.certified.dtypes import widened
from knnscope.kernels import sources

SLICE = 128
"""Components, and bytes, of a slice of codes: rows are padded to whole ones."""
TILE = 128
"""Rows of a tile of codes."""
DIMS = (16, 4096)
"""Components with which rows are written as codes; others compete by their values."""
FEWEST = 4096
"""Rows from which on codes are worth their launches."""
PLANE_ROWS, PLANE_STEP = 16, 64
SAMPLE = 1 << 16
"""Rows that the centre and the directions are taken from."""
CHUNK = 1 << 17
"""Rows that are rotated at once."""
EXPONENTS = 60
"""Rows are scaled by a power of two up to this: float32 then holds what the bounds need."""
MOST_LONG = 1e-3
"""Share of rows too long for float16 with which a plane is of no use."""

Map = structure("Map", centre=POINTER, scaling=DOUBLE, reach2=DOUBLE, rho=DOUBLE, dim=LONG)


@dataclass(frozen=True, slots=True)
class Most:
    """The largest over all rows: |z|^2, |y|, e1 and e2 of the plane's bound, |y|^2 and s of the other's."""

    length2: float
    written: float
    error: float
    tail: float
    coded2: float
    step: float


@dataclass(frozen=True, slots=True)
class Codes:
    """Rows as they are scanned.

    width: components, padded. leading: of the plane, 0 where there is none. directions: float32, (width, width). centre: float64, (dim,).
    codes: uint8, tiles of ``TILE`` rows. sides: float32, (tiles, 3 TILE): s and N of bound.py side by side, then e. plane: uint8, or None.
    survivors: share of rows that the plane leaves, by k of components.KS. scaling, reach2, rho:
    as in quantise.Mapping and plane_bound.py.
    """

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

    @property
    def nbytes(self) -> int:
        """Bytes beside the rows."""
        return sum(
            int(part.nbytes) for part in (self.directions, self.codes, self.sides, self.plane) if part is not None
        )

    def map(self, dim: int) -> Any:
        """For kernels."""
        return Map(pointer(self.centre), self.scaling, self.reach2, self.rho, dim)

    def macros(self) -> dict[str, int]:
        """Of the kernels that read them."""
        return {"WIDTH": self.width, "LEADING": self.leading}


def build(table: Table) -> Codes | None:
    """Write rows as codes; None where that is of no use: few rows, few or very many components, lengths that bounds have no room for."""
    count, dim = table.rows.shape
    if count < FEWEST or not DIMS[0] <= dim <= DIMS[1]:
        return None
    step = -(-count // SAMPLE)
    sample = host(table.rows[::step])
    if table.cell == "float16":
        sample = sample.view(np.uint16)
    centre, largest = _centre(sample, table.metric)
    exponent = math.frexp(largest or float(np.abs(centre).max()) or 1.0)[1] if math.isfinite(largest) else EXPONENTS + 1
    longest2 = _longest2(table.rows) if table.metric == 1 else 1.0
    if abs(exponent) > EXPONENTS or not longest2 < math.inf:
        return None
    scaling = 2.0**-exponent
    reach2 = longest2 * (1 + dim * 2.0**-50) * scaling**2 if table.metric else 0.0
    directions, leading, rho, survivors = _directions(sample, table.metric, centre)
    return _write(table, _Plan(centre, scaling, reach2, directions, leading, rho, survivors))


@dataclass(frozen=True, slots=True)
class _Plan:
    """What rows go through; see Codes."""

    centre: npt.NDArray[np.float64]
    scaling: float
    reach2: float
    directions: npt.NDArray[np.float32]
    leading: int
    rho: float
    survivors: tuple[float, ...]


def _centre(sample: npt.NDArray[Any], metric: int) -> tuple[npt.NDArray[np.float64], float]:
    """The mean, and the largest distance from it; infinite where a number is not finite."""
    values = widened(sample).astype(np.float64)
    if metric == 2:
        lengths = np.sqrt(np.einsum("ij,ij->i", values, values))[:, None]
        values = np.divide(values, lengths, out=np.zeros_like(values), where=lengths != 0)
    centre = values.mean(axis=0)
    values -= centre
    length2 = float(np.einsum("ij,ij->i", values, values).max())
    return (centre, math.sqrt(length2)) if math.isfinite(length2) else (np.zeros(len(centre)), math.inf)


def _longest2(rows: Any) -> float:
    """The largest squared length."""
    longest = 0.0
    for first in range(0, len(rows), CHUNK):
        some = rows[first : first + CHUNK]
        wide = (some.astype(cp.int32) << 16).view(cp.float32) if some.dtype == cp.int16 else some
        longest = max(longest, float((wide.astype(cp.float64) ** 2).sum(axis=1).max()))
    return longest


def _directions(
    sample: npt.NDArray[Any], metric: int, centre: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float32], int, float, tuple[float, ...]]:
    """Principal directions of a sample, spread within the leading ones and within the others; then ``leading``, ``rho`` and ``survivors``."""
    dim = sample.shape[1]
    random = np.random.default_rng(0)
    some = components.prepared(sample[:: max(1, len(sample) // max(8192, 10 * dim))], metric, centre)
    values, vectors = np.linalg.eigh((some.T @ some).astype(np.float64))
    vectors = vectors[:, np.argsort(values)[::-1]].T
    leading, survivors = 0, tuple[float, ...]()
    if dim >= PLANE_STEP:
        chosen = components.choose(sample, metric, centre)
        if chosen is not None:
            leading = min(dim // PLANE_STEP * PLANE_STEP, -(-len(chosen.matrix) // PLANE_STEP) * PLANE_STEP)
            survivors = chosen.survivors
    cut = leading or dim
    parts = [components.spreading(size, random) for size in (cut, dim - cut) if size]
    ends = (vectors[:cut], vectors[cut:])
    rotated = np.concatenate([part @ those for part, those in zip(parts, ends, strict=False)])
    width = -(-dim // SLICE) * SLICE
    matrix = np.zeros((width, width), dtype=np.float32)
    matrix[:dim, :dim] = rotated
    wide = matrix[:dim, :dim].astype(np.float64)
    defect = float(np.linalg.norm(wide @ wide.T - np.eye(dim))) * 1.001
    return matrix, leading, plane_bound.strayed(dim, dim, defect), survivors


def _write(table: Table, plan: _Plan) -> Codes | None:
    """See ``build``; None where too many rows have lengths without bounds."""
    count, dim = table.rows.shape
    width = len(plan.directions)
    tiles = -(-count // TILE)
    codes = cp.zeros(tiles * TILE * width, dtype=cp.uint8)
    sides = cp.zeros((tiles, 3 * TILE), dtype=cp.float32)
    sides[-1, 2 * (count - (tiles - 1) * TILE) + 1 : 2 * TILE : 2] = cp.inf  # no query keeps what is not there
    plane = None
    if plan.leading:
        plane = cp.zeros(-(-count // PLANE_ROWS) * (8 * plan.leading + 128), dtype=cp.uint8)
    directions, centre = cp.asarray(plan.directions), cp.asarray(plan.centre)
    source = sources.exact("codes", table.macros(WIDTH=width, LEADING=plan.leading))
    prepare, rotate, encode = (kernel(source, name, table.device) for name in ("prepare_rows", "rotate", "encode_rows"))
    room = min(CHUNK, count)
    flat, rotated = (cp.empty((room, width), dtype=cp.float32) for _ in range(2))
    lengths2, extras = cp.empty(room), cp.empty(room)
    most = cp.zeros(8, dtype=cp.uint64)
    way = Map(pointer(centre), plan.scaling, plan.reach2, plan.rho, dim)
    for first in range(0, count, room):
        some = min(room, count - first)
        grid = (min(-(-some // 8), processors() * 16),)
        prepare(grid, 256, table.rows, LONG(first), LONG(some), way, flat, lengths2, extras, most)
        rotate((-(-some // 128), width // 128), 256, flat, LONG(some), directions, rotated)
        encode(grid, 256, rotated, LONG(first), LONG(some), way, lengths2, extras, codes, sides, plane, most)
    found = host(most)
    length2, written2, error, tail, coded2, step = found[:6].view(np.float64).tolist()
    if found[7]:
        return None
    up = 1 + 2.0**-10
    largest = Most(length2 * up, math.sqrt(written2) * up, error * up, tail * up, coded2 * up, step)
    leading = plan.leading
    if found[6] > MOST_LONG * count:
        plane, leading = None, 0
    return Codes(
        width, leading, directions, centre, codes, sides, plane, plan.scaling, plan.reach2, plan.rho, largest, plan.survivors
    )  # fmt: skip
