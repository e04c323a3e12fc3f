"""The plane: four bits for each of the leading components of rows, and four float16 beside them (plane_bound.py).

Blocks of 16 rows. In a block, m / 8 groups of 64 bytes, 4 bytes of each row: byte j of group g holds component 4 g + j in its low four bits and
m / 2 + 4 g + j in its high ones. Then 16 values each of s, N, e1 and e2. One stream of m / 2 + 8 bytes a row.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified import components
from knnscope.certified.bound import U
from knnscope.certified.components import START, Directions, Prices
from knnscope.certified.cpu import plane_bounds
from knnscope.certified.cpu.jit import compiled
from knnscope.certified.cpu.quantise import aligned
from knnscope.certified.cpu.workers import Workers

LANES = 16
SIDES = 128
"""Bytes of s, N, e1 and e2 of a block."""
CHUNK = 4096
"""Rows that are mapped by one matrix product."""
LARGEST = 64.0
"""Scaled length of a row up to which its numbers fit into float16 with room: a longer one is never left out."""
MOST_LONG = 1e-3
"""Share of longer rows with which a plane is of no use."""
FEWEST = 8192
"""Rows from which on a plane is built."""
DIMS = (64, 2048)
"""Components with which it is: with fewer there is little to leave out, with more the directions take longer than they save."""
UP_TO = (1, 4, 16)
"""Sizes of batches that are alike: see ``components.BATCHES``."""
EXPONENTS = 20
"""Rows are scaled by a power of two up to this: what float32 loses below its range is then less than bound.TINY."""
WORTH = 0.8
"""Share of what a query by the byte codes costs that one by the plane may cost at most, predicted."""
VNNI = Prices(1.0, 0.12, 0.13)
"""The most usual ones; see dispatch.PRICES."""
BEYOND = 4096
"""Bytes after the last block that may be asked for ahead."""


class Most(NamedTuple):
    """The largest over all rows that may be left out: |z|^2, |y|, e1 and e2."""

    length2: float
    written: float
    error: float
    tail: float


class Map(NamedTuple):
    """What a query goes through.

    matrix: float32, (m, dim padded to whole lanes); rho. metric: its number.
    centre: float64, (dim,). scaling: a power of two. most: of rows. longest: at least the
    length of every row, for ip.
    """

    matrix: npt.NDArray[np.float32]
    rho: float
    metric: int
    centre: npt.NDArray[np.float64]
    scaling: float
    most: Most
    longest: float


@dataclass(frozen=True, slots=True)
class Plane:
    """Rows as the scan reads them.

    blocks: uint8, (blocks, 8 m + 128). rows: without padding. neighbors: the largest k for which each query of a batch costs less than by a byte
    a component, predicted, for batches of ``UP_TO`` and for larger ones.
    """

    blocks: npt.NDArray[np.uint8]
    rows: int
    neighbors: tuple[int, ...]
    map: Map

    def answers(self, queries: int, k: int) -> bool:
        """Whether it is worth asking, by so many queries for so many neighbors."""
        return queries > 0 and k <= self.neighbors[bisect.bisect_left(UP_TO, queries)]

    @property
    def nbytes(self) -> int:
        """Bytes of blocks and directions."""
        return self.blocks.nbytes + self.map.matrix.nbytes


def of(rows: npt.NDArray[Any], mapping: Any, workers: Workers, prices: Prices = VNNI) -> Plane | None:
    """The plane of rows, None where none is worth its bytes; see ``build``."""
    count, dim = rows.shape
    if count < FEWEST or not DIMS[0] <= dim <= DIMS[1] or not 2.0**-EXPONENTS < mapping.scaling < 2.0**EXPONENTS:
        return None
    with np.errstate(all="ignore"):
        directions = components.choose(rows, mapping.metric, mapping.centre)
        if directions is None or directions.cost(10) > WORTH * prices.codes * (dim + 12):
            return None
        return build(rows, mapping, directions, workers, prices)


def build(
    rows: npt.NDArray[Any], mapping: Any, directions: Directions, workers: Workers, prices: Prices = VNNI
) -> Plane | None:
    """Write rows as a plane; None where too many are too long.

    Args:
        rows: (rows, dim), as ``dtypes.computable`` gives them, finite.
        mapping: quantise.Mapping.
        directions: chosen for these rows.
        workers: who computes.
        prices: what searches cost.
    """
    count, m = len(rows), len(directions.matrix)
    padded = -(-count // LANES) * LANES
    blocks = aligned((padded // LANES, 8 * m + SIDES), np.uint8, BEYOND)
    words, sides = blocks.view(np.int32), blocks[:, 8 * m :].view(np.float16).reshape(-1, 4, LANES)
    matrix, most, longer = directions.matrix * np.float32(mapping.scaling), np.zeros(4), 0
    for first in range(0, count, CHUNK):
        centred, lengths2 = _centred(rows[first : first + CHUNK], mapping)
        some = len(centred)
        z = matrix @ centred.T
        if some % LANES:
            z = np.pad(z, ((0, 0), (0, -some % LANES)))
            lengths2 = np.pad(lengths2, (0, -some % LANES))
        lengths2 = lengths2 * (mapping.scaling * mapping.scaling)
        steps, block = np.empty(len(lengths2)), first // LANES
        pieces = _pieces(len(lengths2), workers.count)
        workers.map(partial(_fit_piece, z, steps), pieces)
        halves = steps.astype(np.float16)
        errors, tails, written2 = np.empty_like(steps), np.empty_like(steps), np.empty_like(steps)
        made = Written(halves.astype(np.float32), lengths2, errors, tails, written2, words[block:])
        workers.map(partial(_write_piece, z, directions.rho, made), pieces)
        long = ~(lengths2 <= LARGEST * LARGEST)
        longer += int(long.sum())
        halves[long], errors[long] = 0, np.inf
        if (
            mapping.metric == 2
        ):  # a row divided by its length is rounded, by this much of the length and not of the centred row
            blur = (rows.shape[1] + 8) * 2.0**-53 * mapping.scaling
            errors, tails = errors + blur, tails + blur
        short = ~long
        if short.any():
            most = np.maximum(most, [x[short].max() for x in (lengths2, written2, errors, tails)])
        terms = np.zeros_like(lengths2) if mapping.metric else lengths2 * (1 - 5 * (rows.shape[1] + 8) * U)
        last = block + len(lengths2) // LANES
        parts = (halves, _down(terms), _up(errors), _up(tails))
        sides[block:last] = np.stack([x.reshape(-1, LANES) for x in parts], axis=1)
    if longer > MOST_LONG * count:
        return None
    if count % LANES:  # padding is always left out, but where nothing is: the scan stops at ``rows``
        sides[-1, :, count % LANES :] = np.array([0, np.inf, 0, 0], dtype=np.float16)[:, None]
    up = 1 + 2.0**-10
    largest = Most(most[0] * up, math.sqrt(most[1]) * up, most[2] * up, most[3] * up)
    wide = np.zeros((m, -(-rows.shape[1] // LANES) * LANES), dtype=np.float32)
    wide[:, : rows.shape[1]] = directions.matrix
    longest = math.sqrt(mapping.reach2) / mapping.scaling
    way = Map(wide, directions.rho, mapping.metric, mapping.centre, mapping.scaling, largest, longest)
    return Plane(blocks, count, directions.most_neighbors(prices), way)


def _centred(some: npt.NDArray[Any], mapping: Any) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Rows less the centre, rounded once to float32 (of their lengths for cosine), and their squared lengths before that."""
    centred = components.prepared(some, mapping.metric, mapping.centre)
    lengths2 = np.einsum("ij,ij->i", centred, centred).astype(np.float64)
    return centred, lengths2 * (1 + 2 * (centred.shape[1] + 8) * U)


def _pieces(total: int, count: int) -> list[tuple[int, int]]:
    each = -(-total // (LANES * count)) * LANES
    return [(first, min(first + each, total)) for first in range(0, total, each)]


def _fit_piece(z: Any, steps: Any, piece: tuple[int, int]) -> None:
    _fit(z, *piece, steps)


def _write_piece(z: Any, rho: float, made: Any, piece: tuple[int, int]) -> None:
    _write(z, *piece, rho, made)


def _up(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float16]:
    halves = values.astype(np.float16)
    return np.where(halves < values, np.nextafter(halves, np.float16(np.inf)), halves)


def _down(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float16]:
    halves = values.astype(np.float16)
    return np.where(halves > values, np.nextafter(halves, np.float16(-np.inf)), halves)


class Written(NamedTuple):
    """What ``_write`` reads and writes of a chunk, a number a row.

    steps: float32, s. lengths2: |x'|^2. errors, tails: e1 and e2, written. written2: |y|^2, written. words: int32, (blocks, words),
    written.
    """

    steps: npt.NDArray[np.float32]
    lengths2: npt.NDArray[np.float64]
    errors: npt.NDArray[np.float64]
    tails: npt.NDArray[np.float64]
    written2: npt.NDArray[np.float64]
    words: npt.NDArray[np.int32]


@compiled(inline=True)
def _level(value: np.float32, inverse: np.float32) -> np.float32:
    """C from 0 to 15."""
    return min(max(np.floor(value * inverse) + np.float32(8), np.float32(0)), np.float32(15))


@compiled()
def _fit(z: Any, first: int, last: int, steps: Any) -> None:
    """The scale of each row: that of least squares for the levels that the usual one gives.

    Args:
        z: float32, (m, rows).
        first: row, a multiple of 16.
        last: row, likewise.
        steps: float64, (rows,), written.
    """
    m = z.shape[0]
    length2, dot, square = np.empty(LANES, np.float32), np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    inverse = np.empty(LANES, np.float32)
    for start in range(first, last, LANES):
        length2[:] = np.float32(0)
        dot[:] = np.float32(0)
        square[:] = np.float32(0)
        for j in range(m):
            for lane in range(LANES):
                length2[lane] += z[j, start + lane] * z[j, start + lane]
        for lane in range(LANES):
            step = np.float32(START) * np.sqrt(length2[lane] / np.float32(m))
            inverse[lane] = np.float32(1) / step if step > np.float32(1e-18) else np.float32(0)
        for j in range(m):
            for lane in range(LANES):
                level = _level(z[j, start + lane], inverse[lane]) - np.float32(7.5)
                dot[lane] += level * z[j, start + lane]
                square[lane] += level * level
        for lane in range(LANES):
            steps[start + lane] = max(0.0, np.float64(dot[lane]) / np.float64(square[lane]))


@compiled()
def _write(z: Any, first: int, last: int, rho: float, made: Any) -> None:
    """Levels of rows, each the nearest for the scale that it has, with what they miss; see ``_fit`` and ``Written``."""
    words = made.words
    m = z.shape[0]
    leading2, missed2, squares = np.empty(LANES, np.float32), np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    inverse, word, step = np.empty(LANES, np.float32), np.empty(LANES, np.int32), np.empty(LANES, np.float32)
    rounding = 2 * (m + 8) * np.float64(U)
    for start in range(first, last, LANES):
        leading2[:] = np.float32(0)
        missed2[:] = np.float32(0)
        squares[:] = np.float32(0)
        for lane in range(LANES):
            step[lane] = made.steps[start + lane]
            inverse[lane] = np.float32(1) / step[lane] if step[lane] > np.float32(1e-18) else np.float32(0)
        for group in range(m // 8):
            word[:] = np.int32(0)
            for byte in range(4):
                for half in range(2):
                    j = half * (m // 2) + 4 * group + byte
                    shift = np.int32(8 * byte + 4 * half)
                    for lane in range(LANES):
                        component = z[j, start + lane]
                        level = _level(component, inverse[lane])
                        word[lane] |= np.int32(level) << shift
                        # exact: 11 digits of the step, 5 of the level
                        written = step[lane] * (level - np.float32(7.5))
                        rest = component - written
                        leading2[lane] += component * component
                        missed2[lane] += rest * rest
                        squares[lane] += written * written
            for lane in range(LANES):
                words[start // LANES, group * LANES + lane] = word[lane]
        for lane in range(LANES):
            row, length2 = start + lane, made.lengths2[start + lane]
            missed, leading = np.float64(missed2[lane]), np.float64(leading2[lane])
            made.errors[row] = plane_bounds.residual(missed * (1 + rounding), math.sqrt(length2), rho)
            made.tails[row] = plane_bounds.rest(length2, leading * (1 - rounding), rho)
            made.written2[row] = np.float64(squares[lane]) * (1 + rounding)
