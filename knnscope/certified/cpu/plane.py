"""The plane: four bits for each of the leading components of rows, and four float16 beside them (plane_bound.py).

Blocks of 16 rows. In a block, m / 8 groups of 64 bytes, 4 bytes of each row: byte j of group g holds component 4 g + j in its low four bits and
m / 2 + 4 g + j in its high ones. Then 16 values each of s, N, e1 and e2. One stream of m / 2 + 8 bytes a row.
"""

from __future__ import annotations

import bisect
import math
import threading
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified import components, forks
from knnscope.certified.components import Directions, Prices
from knnscope.certified.cpu import blas
from knnscope.certified.cpu.passing import over
from knnscope.certified.cpu.plane_products import LANES as LANES
from knnscope.certified.cpu.plane_writing import SIDES as SIDES
from knnscope.certified.cpu.plane_writing import way_of, writer
from knnscope.certified.cpu.quantise import FAR, aligned, refuse_infinite
from knnscope.certified.cpu.workers import Workers

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
VNNI = Prices("vnni", 1.0, 0.12, 0.13)
"""The most usual ones; see dispatch.PRICES."""
BEYOND = 4096
"""Bytes after the last block that may be asked for ahead."""


class Most(NamedTuple):
    """The largest over all rows that may be left out: |z|^2, |y|, e1 and e2; and over all, |2 c - 15|^2."""

    length2: float
    written: float
    error: float
    tail: float
    levels2: float


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


def directions_of(rows: npt.NDArray[Any], mapping: Any, prices: Prices) -> Directions | None:
    """The directions of a plane of rows, from a sample of them; None where none is worth its bytes."""
    if not may_be(rows.shape, mapping):
        return None
    with np.errstate(all="ignore"), forks.held_off(), blas.one_thread():
        directions = components.choose(rows, mapping.metric, mapping.centre)
    if directions is None or directions.cost(10) > WORTH * prices.codes * (rows.shape[1] + 12):
        return None
    return directions


def may_be(shape: tuple[int, ...], mapping: Any) -> bool:
    """Whether directions of rows of this shape are looked for."""
    count, dim = shape
    if count < FEWEST or not DIMS[0] <= dim <= DIMS[1] or not 2.0**-EXPONENTS < mapping.scaling < 2.0**EXPONENTS:
        return False
    return bool(mapping.reach2 < FAR * FAR)


def nbytes(rows: int, directions: Directions) -> int:
    """Bytes of a plane of so many rows."""
    m, dim = directions.matrix.shape
    return -(-rows // LANES) * (8 * m + SIDES) + 4 * m * -(-dim // LANES) * LANES


class Writing:
    """A plane that is written some rows at a time, in any order, by several threads."""

    def __init__(self, rows: int, mapping: Any, directions: Directions, prices: Prices) -> None:
        """Room for so many rows.

        Args:
            rows: how many.
            mapping: quantise.Mapping.
            directions: chosen for these rows.
            prices: what searches cost, and by which instruction set.
        """
        self._rows, self._mapping, self._directions, self._prices = rows, mapping, directions, prices
        self._blocks = aligned((-(-rows // LANES), 8 * len(directions.matrix) + SIDES), np.uint8, BEYOND)
        with forks.held_off(), blas.one_thread():
            self._way = way_of(directions, mapping, prices.isa)
        self._write = writer(prices.isa)
        self._most, self._free = np.zeros(6), threading.Lock()
        self.long = 0
        """Rows that are never left out so far: too long, or not finite."""

    def write(self, some: npt.NDArray[Any], first: int) -> bool:
        """Write rows from ``first``, a multiple of 16, on; False where too many are too long by now."""
        found = np.empty(6)
        self._write(some, self._way, self._blocks[first // LANES : -(-(first + len(some)) // LANES)], found)
        with self._free:
            np.maximum(self._most, found, out=self._most)
            self.long += int(found[4])
            return self.long <= MOST_LONG * self._rows

    def ended(self) -> Plane:
        """The plane, all rows written."""
        m, dim = self._directions.matrix.shape
        up, most, mapping = 1 + 2.0**-10, self._most.tolist(), self._mapping
        largest = Most(most[0] * up, math.sqrt(most[1]) * up, most[2] * up, most[3] * up, most[5])
        wide = np.zeros((m, -(-dim // LANES) * LANES), dtype=np.float32)
        wide[:, :dim] = self._directions.matrix
        longest = math.sqrt(mapping.reach2) / mapping.scaling
        rho = self._directions.rho
        ways = Map(wide, rho, mapping.metric, mapping.centre, mapping.scaling, largest, longest)
        return Plane(self._blocks, self._rows, self._directions.most_neighbors(self._prices), ways)


def build(
    rows: npt.NDArray[Any], mapping: Any, directions: Directions, workers: Workers, prices: Prices
) -> Plane | None:
    """Write rows as a plane and nothing else; None where too many are too long.

    Args:
        rows: (rows, dim), as ``dtypes.computable`` gives them.
        mapping: quantise.Mapping.
        directions: chosen for these rows.
        workers: who computes.
        prices: what searches cost, and by which instruction set.

    Raises:
        KnnscopeError: a number that is not finite; names where.
    """
    made = Writing(len(rows), mapping, directions, prices)
    done = over(rows, workers, made.write)
    if made.long:
        refuse_infinite(rows)
    return made.ended() if done else None
