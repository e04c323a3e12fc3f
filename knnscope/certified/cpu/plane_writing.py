"""Rows written as a plane, a block of sixteen at a time: from the row to its four bits nothing leaves the first-level cache."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified import plane_bound
from knnscope.certified.bound import U
from knnscope.certified.components import START, Directions
from knnscope.certified.cpu import plane_bounds, plane_products
from knnscope.certified.cpu.jit import compiled, specialised
from knnscope.certified.cpu.plane_products import LANES, fitted, length2, measured, turned, whole_numbers, written
from knnscope.certified.cpu.values import centred, half_of, value

LARGEST = 64.0
"""Scaled length of a row up to which its numbers fit into float16 with room: a longer one is never left out."""
SHORTEST = 2.0**-40
"""A row that is shorter is written as zero: what it is, and more, fits into the least float16 that its error is rounded up to."""
SIDES = 128
"""Bytes of s, N, e1 and e2 of a block."""


class Way(NamedTuple):
    """What rows go through.

    words: int32, directions as ``plane_products.pack`` gives them. back: what a product has to be divided by, for rows of length one. rho: of
    plane_bound.strayed_whole. metric: its number. centre: float64, (dim,). scaling: a power of two.
    """

    words: npt.NDArray[np.int32]
    back: float
    rho: float
    metric: int
    centre: npt.NDArray[np.float64]
    scaling: float


def way_of(directions: Directions, mapping: Any, isa: str) -> Way:
    """The directions in whole numbers, and how far that takes rows from them."""
    m, dim = directions.matrix.shape
    matrix = np.zeros((m, -(-dim // 32) * 32))
    matrix[:, :dim] = directions.matrix
    size = 2.0 ** min(plane_bound.DIGITS, math.floor(math.log2(32767 / np.abs(matrix).max())))
    whole = np.rint(matrix * size).astype(np.int16)
    lost = whole / size - matrix
    square = lost @ lost.T
    # the largest singular value, by the sum of the eighth powers of all
    missed = float(np.linalg.norm(square @ square)) ** 0.25 * 1.001
    rho = plane_bound.strayed_whole(dim, directions.defect, missed)
    words = plane_products.pack(whole, plane_products.wide(isa))
    return Way(words, size * plane_bound.REACH, rho, mapping.metric, mapping.centre, mapping.scaling)


INFINITE = 31 << 10
"""Bits of float16's infinity."""


@compiled(inline=True)
def lower_half(number: float, hold: Any) -> int:
    """Bits of the largest float16 that is not above a number, which is not negative.

    Args:
        number: float64.
        hold: float64, (1,), written over.
    """
    if number < 2.0**-14:  # float16 has no leading digit there
        return int(number * 2.0**24)
    hold[0] = number
    return min((hold.view(np.int64)[0] >> 42) - ((1023 - 15) << 10), INFINITE - 1)


@compiled(inline=True)
def upper_half(number: float, hold: Any) -> int:
    """Bits of the smallest that is not below."""
    bits = lower_half(number, hold)
    return bits + (half_of(bits) < number)


@compiled(inline=True)
def nearest_half(number: float, hold: Any) -> int:
    """Bits of one that is as near as any."""
    bits = lower_half(number, hold)
    return bits + (half_of(bits) + half_of(bits + 1) < 2 * number)


product: Any = None
"""The products of one instruction set: ``writer`` gives each compiled form its own."""


def _write(some: Any, way: Any, blocks: Any, found: Any) -> None:
    """Write rows.

    Args:
        some: (rows, dim), as ``dtypes.computable`` gives them, finite.
        way: Way.
        blocks: uint8, (blocks, bytes), those of these rows, see plane.Plane; written.
        found: float64, (6,), written: the largest |z|^2, |y|, e1 and e2 of rows that may be left out, |y| squared; how many others there are; and
            the largest |2 c - 15|^2 of all.
    """
    count, dim = some.shape
    m = way.words.shape[0] * way.words.shape[2]
    pairs = way.words.shape[1]
    x, near = np.zeros((LANES, 2 * pairs), np.float32), np.zeros((LANES, 2 * pairs), np.int16)
    words, z = np.empty((pairs, LANES), np.int32), np.empty((m, LANES), np.float32)
    parts, both, factor = np.empty(LANES, np.float32), np.empty((2, LANES), np.float32), np.empty(1, np.float32)
    backs, step, inverse = np.empty(LANES, np.float32), np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    lengths, leading, hold = np.empty(LANES), np.empty(LANES, np.float32), np.empty(1)
    scaling, size = np.float32(way.scaling), 8 * m
    blur = (dim + 8) * 2.0**-53 * way.scaling if way.metric == 2 else 0.0
    sides = blocks.view(np.uint16)
    found[:] = 0.0
    for start in range(0, count, LANES):
        filled, block = min(LANES, count - start), start // LANES
        at = blocks.ctypes.data + block * blocks.shape[1]
        for lane in range(filled):
            row, unfit = start + lane, False
            if way.metric == 2:
                total = 0.0
                for j in range(dim):
                    component = value(some, row, j)
                    total += component * component
                over = 1.0 / math.sqrt(total) if total > 0 else 0.0
                unfit = total > 0 and not 2.0**-800 < total < 2.0**800  # so it is never left out
                for j in range(dim):
                    x[lane, j] = np.float32(value(some, row, j) * over - way.centre[j]) * scaling
            else:
                for j in range(dim):
                    x[lane, j] = centred(some, row, j, way.centre) * scaling
            place = x.ctypes.data + lane * x.strides[0]
            length2(place, pairs // 8, parts.ctypes.data)
            total = 0.0
            for part in range(LANES):
                total += np.float64(parts[part])
            lengths[lane] = np.inf if unfit else total * (1 + 2 * (dim + 8) * np.float64(U))
            factor[0] = np.float32(0)
            backs[lane] = np.float32(0)
            if SHORTEST * SHORTEST < total < LARGEST * LARGEST * 4:
                factor[0] = np.float32(plane_bound.REACH / math.sqrt(total))
                backs[lane] = np.float32(math.sqrt(total) / way.back)
            whole_numbers(place, factor.ctypes.data, pairs // 8, near.ctypes.data + lane * near.strides[0])
        turned(near.ctypes.data, pairs, words.ctypes.data)
        product(words.ctypes.data, way.words.ctypes.data, (pairs, way.words.shape[0]), z.ctypes.data)
        measured(z.ctypes.data, m, backs.ctypes.data, leading.ctypes.data)
        for lane in range(LANES):
            usual = np.float32(START) * np.sqrt(leading[lane] / np.float32(m))
            inverse[lane] = np.float32(1) / usual if usual > np.float32(1e-18) else np.float32(0)
        fitted(z.ctypes.data, m, inverse.ctypes.data, both.ctypes.data)
        for lane in range(LANES):
            bits = nearest_half(max(0.0, np.float64(both[0, lane]) / np.float64(both[1, lane])), hold)
            sides[block, size // 2 + lane] = bits
            step[lane] = np.float32(half_of(bits))
            inverse[lane] = np.float32(1) / step[lane] if step[lane] > np.float32(1e-18) else np.float32(0)
        written(z.ctypes.data, m // 8, (step.ctypes.data, inverse.ctypes.data), at, both.ctypes.data)
        rounding = 2 * (m + 8) * np.float64(U)
        for lane in range(filled):
            found[5] = max(found[5], 4 * np.float64(both[1, lane]))
            whole2 = lengths[lane]
            side = size // 2 + lane
            if not whole2 <= LARGEST * LARGEST:
                sides[block, side], sides[block, side + 16] = 0, 0
                sides[block, side + 32], sides[block, side + 48] = INFINITE, 0
                found[4] += 1
                continue
            size1 = math.sqrt(whole2)
            e1 = plane_bounds.residual(np.float64(both[0, lane]) * (1 + rounding), size1, way.rho) + blur
            e2 = plane_bounds.rest(whole2, np.float64(leading[lane]) * (1 - rounding), way.rho) + blur
            y2 = np.float64(both[1, lane]) * np.float64(step[lane]) * np.float64(step[lane])
            n = 0.0 if way.metric else whole2 * (1 - 5 * (dim + 8) * np.float64(U))
            sides[block, side + 16] = lower_half(n, hold)
            sides[block, side + 32] = upper_half(e1, hold)
            sides[block, side + 48] = upper_half(e2, hold)
            found[0] = max(found[0], whole2)
            found[1] = max(found[1], y2)
            found[2] = max(found[2], e1)
            found[3] = max(found[3], e2)
        for lane in range(filled, LANES):  # padding: the scan stops at the last row
            side = size // 2 + lane
            sides[block, side], sides[block, side + 16] = 0, INFINITE
            sides[block, side + 32], sides[block, side + 48] = 0, 0


@cache
def writer(isa: str) -> Any:
    """``_write`` for an instruction set; compiled when it is first called."""
    return specialised(_write, f"plane_write_{isa}", unrolled=True, product=plane_products.products(isa))
