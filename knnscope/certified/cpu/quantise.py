"""Rows as int8 codes with what their bounds need: 12 bytes and a code for each component, in the order that the scan reads them.

Blocks of 16 rows; in a block, groups of 4 components; in a group, 4 bytes of each row: one register of a VNNI product, and 16 groups
are one tile of an AMX product.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import bounds, rotation
from knnscope.certified.cpu.jit import compiled
from knnscope.certified.cpu.passing import CHUNK as CHUNK
from knnscope.certified.cpu.passing import PANEL as PANEL
from knnscope.certified.cpu.passing import chunk as chunk
from knnscope.certified.cpu.passing import over
from knnscope.certified.cpu.rotation import LANES, Rotation
from knnscope.certified.cpu.values import centred, value
from knnscope.certified.cpu.workers import Workers
from knnscope.certified.dtypes import widened
from knnscope.certified.row_file import piece
from knnscope.certified.row_file import some as some_of
from knnscope.checks import check_finite

LEVELS = 127
MOST_DIM = (2**31 - 1) // LEVELS**2
"""133,144 components: with more, a sum of products of codes may not fit into int32."""
SAMPLE = 4096
"""Rows that the centre is the mean of: any centre is right, a near one is tight."""
FAR = 2.0**40
"""Scaled lengths up to this have squares that float32 holds."""
EXPONENTS = 400
"""Squares of lengths between 2^-400 and 2^400 neither overflow nor lose digits in float64."""
SINGLE = 60
"""Rows whose scale is a larger power of two are scaled in float64 first."""
TILE_BYTES = 1024
"""What an AMX load of the last components may read beyond a block."""


class Coded(NamedTuple):
    """codes: int8, (blocks, groups, 16, 4). scales, errors, terms: float32, (padded rows,): s, e and N of bound.py."""

    codes: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]
    errors: npt.NDArray[np.float32]
    terms: npt.NDArray[np.float32]


class Mapping(NamedTuple):
    """The map that rows and queries go through before they are written as codes.

    metric: 0 l2, 1 ip, 2 cosine. centre: float64, (dim,). scaling: a power of two. reach2: M^2, scaled. factors, ends, roundings: of the
    Rotation.
    """

    metric: int
    centre: npt.NDArray[np.float64]
    scaling: float
    reach2: float
    factors: npt.NDArray[np.float64]
    ends: npt.NDArray[np.int64]
    roundings: int


@dataclass(frozen=True, slots=True)
class Codes:
    """Rows as the scan reads them, and the map that queries go through as well."""

    rows: int
    coded: Coded
    mapping: Mapping

    @property
    def nbytes(self) -> int:
        """Bytes of codes and bounds."""
        return sum(part.nbytes for part in self.coded)


def aligned(shape: tuple[int, ...], dtype: Any, beyond: int = 0) -> npt.NDArray[Any]:
    """An array that begins with a cache line; ``beyond`` more bytes may be read. Not initialised."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.empty(size + 64 + beyond, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


def mapping_of(rows: npt.NDArray[Any], metric: str, workers: Workers, turn: Rotation | None = None) -> Mapping | None:
    """The map that rows go through; None as in ``build``, which has the arguments and errors too."""
    dim = rows.shape[1]
    if dim > MOST_DIM:
        refuse_infinite(rows)
        return None
    turn = turn or rotation.make(dim)
    longest2 = 1.0
    if metric == "ip":
        longest2 = _reach2(rows, workers)
    centre, largest = _centre(rows, metric)
    largest = largest or float(np.abs(centre).max()) or 1.0  # rows that are all alike
    exponent = math.frexp(largest)[1] if math.isfinite(largest) else EXPONENTS + 1
    if abs(exponent) > (SINGLE if metric == "cosine" else EXPONENTS) or not longest2 < math.inf:
        refuse_infinite(rows)
        return None
    scaling, reach2 = 2.0**-exponent, longest2 * (1 + dim * 2.0**-50) * 2.0 ** (-2 * exponent)
    number = ("l2", "ip", "cosine").index(metric)
    return Mapping(number, centre, scaling, reach2, turn.factors, turn.ends, turn.roundings)


def build(rows: npt.NDArray[Any], metric: str, workers: Workers, turn: Rotation | None = None) -> Codes | None:
    """Centre, rotate and quantise; None where lengths are such that the bounds would overflow, and beyond ``MOST_DIM``.

    Args:
        rows: (rows, dim), as ``dtypes.computable`` gives them; may be a memory map.
        metric: l2, ip or cosine.
        workers: who computes.
        turn: how to rotate (default: ``rotation.make``).

    Raises:
        KnnscopeError: a number that is not finite; names row and component.
    """
    mapping = mapping_of(rows, metric, workers, turn)
    if mapping is None:
        return None
    return of(rows, mapping, workers)


def of(rows: npt.NDArray[Any], mapping: Mapping, workers: Workers) -> Codes | None:
    """``build`` with a map that is known."""
    made, quantiser = new_coded(*rows.shape), Quantiser(mapping)
    if not quantiser.holds or not over(rows, workers, lambda some, first: quantiser.write(some, first, made)):
        refuse_infinite(rows)
        return None
    return quantiser.codes(len(rows), made)


def new_coded(count: int, dim: int, in_order: bool = True) -> Coded:
    """Room for the codes of so many rows, padded to whole panels; for bounds alone where codes do not lie in the order of a scan."""
    groups, padded = -(-dim // 4), -(-count // PANEL) * PANEL
    return Coded(
        aligned((padded // 16 if in_order else 0, groups, 16, 4), np.int8, TILE_BYTES),
        *(aligned((padded,), np.float32) for _ in range(3)),
    )


def nbytes(count: int, dim: int) -> int:
    """Bytes of codes of so many rows in the order of a scan, and of their bounds."""
    return -(-count // PANEL) * PANEL * (4 * -(-dim // 4) + 12)


class Quantiser:
    """Writes rows as byte codes, some at a time.

    holds: whether bounds of such lengths hold.
    """

    def __init__(self, mapping: Mapping) -> None:
        self._mapping, self.holds = mapping, bool(mapping.reach2 < FAR * FAR)
        scaling = mapping.scaling
        self._first = abs(math.log2(scaling)) > SINGLE
        """Whether rows are scaled in float64 before anything else."""
        self._steps = (mapping.factors * (1.0 if self._first else scaling)).astype(np.float32)
        self._own = mapping._replace(centre=mapping.centre * scaling, scaling=1.0) if self._first else mapping

    def write(self, some: npt.NDArray[Any], offset: int, made: Coded) -> bool:
        """Write rows from ``offset``, a multiple of 16, on; False where the length of one is not finite, or too large."""
        if self._first:
            some = widened(some) * np.float64(self._mapping.scaling)
        return int(_quantise(some, offset, self._own, self._steps, made)) < 0

    def codes(self, count: int, made: Coded) -> Codes:
        """Codes of so many rows, all written: those that pad them are never kept."""
        if len(made.codes):
            made.codes[-(-count // 16) :] = 0
            if count % 16:
                made.codes[count // 16, :, count % 16 :] = 0
        made.scales[count:], made.errors[count:], made.terms[count:] = 0, 0, np.inf
        mapping = self._mapping
        return Codes(count, made, mapping._replace(reach2=mapping.reach2 if mapping.metric else 0.0))


def refuse_infinite(rows: npt.NDArray[Any]) -> None:
    """Look for the first number that is not finite.

    Raises:
        KnnscopeError: there is one; names row and component.
    """
    each = chunk(rows.shape[1])
    for first in range(0, len(rows), each):
        check_finite(widened(piece(rows, first, first + each)), "rows", first)


def _centre(rows: npt.NDArray[Any], metric: str) -> tuple[npt.NDArray[np.float64], float]:
    """Mean of some rows, and the largest distance from it among them; zero and infinity where they are not finite."""
    count, dim = rows.shape
    step = -(-count // SAMPLE)
    total, length2, pieces = np.zeros(dim), 0.0, 0

    def some() -> Iterable[npt.NDArray[np.float64]]:
        for first in range(0, count, step * 256):
            values = widened(some_of(rows, slice(first, first + step * 256, step))).astype(np.float64)
            if metric == "cosine":
                lengths = np.sqrt(np.einsum("ij,ij->i", values, values))[:, None]
                values = np.divide(values, lengths, out=np.zeros_like(values), where=lengths != 0)
            yield values

    with np.errstate(over="ignore", invalid="ignore"):
        for values in some():
            total += values.sum(axis=0)
            pieces += len(values)
        centre = total / pieces
        if rows.dtype == np.float32:
            centre = centre.astype(np.float32).astype(np.float64)
        for values in some():
            values -= centre
            length2 = max(length2, float(np.einsum("ij,ij->i", values, values).max()))
    return (centre, math.sqrt(length2)) if math.isfinite(length2) else (np.zeros(dim), math.inf)


def _reach2(rows: npt.NDArray[Any], workers: Workers) -> float:
    """The largest squared length of all rows; infinite where a number is not finite. A pass over them."""
    found = [0.0]

    def work(some: npt.NDArray[Any], _: int) -> bool:
        found.append(_longest2(some))
        return found[-1] < np.inf

    over(rows, workers, work)
    return max(found)


@compiled(unrolled=True)
def _longest2(some: Any) -> float:
    """The largest squared length; infinite where a number is not finite."""
    longest = 0.0
    for row in range(some.shape[0]):
        total = 0.0
        for j in range(some.shape[1]):
            component = value(some, row, j)
            total += component * component
        if not total < np.inf:
            return np.inf
        longest = max(longest, total)
    return longest


@compiled(unrolled=True)
def _quantise(some: Any, offset: int, mapping: Any, steps: Any, made: Any) -> int:
    """Write rows from ``offset`` on; returns the first whose length is not finite or beyond ``FAR`` (-1: none).

    Args:
        some: the rows.
        offset: see above.
        mapping: Mapping.
        steps: float32, (dim,): its factors times its scaling.
        made: Coded, written.
    """
    metric, centre, scaling, reach2 = mapping.metric, mapping.centre, mapping.scaling, mapping.reach2
    count, dim = some.shape
    relative, lost, vanished = (dim + 8) * bounds.U, (mapping.roundings + 6) * bounds.U, dim * 2.0**-149
    groups = made.codes.shape[1]
    words = made.codes.view(np.int32)
    z = np.zeros((4 * groups, LANES), dtype=np.float32)
    peak = np.empty(LANES, dtype=np.float32)
    inverse = np.empty(LANES, dtype=np.float32)
    scale = np.empty(LANES, dtype=np.float32)
    length2 = np.empty(LANES, dtype=np.float32)
    residual2 = np.empty(LANES, dtype=np.float32)
    squares = np.empty(LANES, dtype=np.int32)
    word = np.empty(LANES, dtype=np.int32)
    extra = np.zeros(LANES)
    loose = 0.0  # how far a^2 may be off
    for start in range(0, count, LANES):
        filled = min(LANES, count - start)
        for lane in range(LANES):
            row = start + min(lane, filled - 1)
            factor = 1.0
            if metric:
                total = 0.0
                for j in range(dim):
                    component = value(some, row, j)
                    total += component * component
                if metric == 1:
                    extra[lane] = max(reach2 - total * scaling * scaling, 0.0)
                    loose = reach2 * (dim + 4) * 2.0**-51
                else:
                    factor = 1.0 / math.sqrt(total) if total > 0 else 0.0
                    extra[lane] = 0.0 if total > 0 else reach2  # the cosine of a zero row is 0
                    loose = reach2 * (dim + 8) * 2.0**-49
                    if total > 0 and not 2.0**-800 < total < 2.0**800:
                        return offset + row
            if metric == 2:
                for j in range(dim):
                    z[j, lane] = np.float32(value(some, row, j) * factor - centre[j]) * steps[j]
            else:
                for j in range(dim):
                    z[j, lane] = centred(some, row, j, centre) * steps[j]
        rotation.apply(z, mapping.ends)
        peak[:] = np.float32(0)
        length2[:] = np.float32(0)
        for j in range(dim):
            for lane in range(LANES):
                component = z[j, lane]
                peak[lane] = max(peak[lane], abs(component))
                length2[lane] += component * component
        for lane in range(LANES):
            if not length2[lane] < np.float32(FAR * FAR):
                return offset + start + min(lane, filled - 1)
            scale[lane] = max(peak[lane] / np.float32(LEVELS), np.float32(bounds.TINY))
            inverse[lane] = np.float32(1) / scale[lane]
            residual2[lane] = np.float32(0)
            squares[lane] = np.int32(0)
        block = (offset + start) // 16
        for group in range(groups):
            word[:] = np.int32(0)
            for byte in range(4):
                for lane in range(LANES):
                    component = z[4 * group + byte, lane]
                    code = min(max(np.rint(component * inverse[lane]), np.float32(-LEVELS)), np.float32(LEVELS))
                    rest = component - scale[lane] * code
                    residual2[lane] += rest * rest
                    whole = np.int32(code)
                    squares[lane] += whole * whole
                    word[lane] |= (whole & np.int32(255)) << np.int32(8 * byte)
            for lane in range(LANES):
                words[block, group, lane, 0] = word[lane]
        for lane in range(filled):
            row = offset + start + lane
            e = bounds.error(np.float64(residual2[lane]), np.float64(length2[lane]), relative, lost, vanished)
            e = bounds.up(math.sqrt(e * e + loose) * bounds.WIDEN)
            made.scales[row] = scale[lane]
            made.errors[row] = e
            made.terms[row] = bounds.row_term(scale[lane], np.int64(squares[lane]), extra[lane], e)
    return -1
