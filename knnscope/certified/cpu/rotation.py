"""An orthogonal map that spreads every component over its block: signs, then Hadamard blocks.

Sixteen vectors at a time, one in each lane, so that a butterfly is one instruction. Any dimension: the blocks are its powers of two
(384 = 256 + 128).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu.compiler import ir
from knnscope.certified.cpu.jit import compiled
from knnscope.certified.cpu.llvm import Emit, T, instructions

LANES = 16


@dataclass(frozen=True, slots=True)
class Rotation:
    """factors: float64, (dim,): +-1 over the root of the block's size. ends: where each block ends; none for no rotation.

    roundings: unit roundoffs that mapping a vector may cost, relative to its length. A butterfly rounds each result once, so a stage
    costs one; a factor is rounded itself and rounds its product. The map in exact arithmetic is orthogonal.
    """

    factors: npt.NDArray[np.float64]
    ends: npt.NDArray[np.int64]
    roundings: int


def make(dim: int, seed: int = 0) -> Rotation:
    """Random signs for vectors of this dimension."""
    sizes = [1 << bit for bit in range(dim.bit_length() - 1, -1, -1) if dim >> bit & 1]
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], dim)
    factors = signs / np.sqrt(np.repeat(np.array(sizes, dtype=np.float64), sizes))
    return Rotation(factors, np.cumsum(sizes), int(math.log2(sizes[0])) + 2)


def none(dim: int) -> Rotation:
    """The identity."""
    return Rotation(np.ones(dim), np.empty(0, dtype=np.int64), 2)


def _butterflies(type_: str) -> Any:
    """Sums and differences of 4 vectors, two stages at once: half the trips to memory."""

    @instructions
    def four(emit: Emit, at: Any, step: Any) -> None:
        b, wide = emit.builder, ir.VectorType(getattr(T, type_), LANES)
        places = [b.add(at, b.mul(step, emit.number(i))) for i in range(4)]
        p, q, r, s = (emit.load(wide, place) for place in places)
        p, q, r, s = b.fadd(p, q), b.fsub(p, q), b.fadd(r, s), b.fsub(r, s)
        for place, value in zip(places, (b.fadd(p, r), b.fadd(q, s), b.fsub(p, r), b.fsub(q, s)), strict=True):
            emit.store(value, place)

    return four


def _butterfly(type_: str) -> Any:
    @instructions
    def two(emit: Emit, at: Any, step: Any) -> None:
        b, wide = emit.builder, ir.VectorType(getattr(T, type_), LANES)
        p, q = emit.load(wide, at), emit.load(wide, b.add(at, step))
        emit.store(b.fadd(p, q), at)
        emit.store(b.fsub(p, q), b.add(at, step))

    return two


_four32, _two32 = _butterflies("F32"), _butterfly("F32")
_four64, _two64 = _butterflies("F64"), _butterfly("F64")


@compiled()
def apply(z: Any, ends: Any) -> None:
    """Map vectors in place that are multiplied with the factors already.

    Args:
        z: float32 or float64, (dim or more, 16), C order.
        ends: see ``Rotation``.
    """
    line = LANES * z.itemsize
    first = 0
    for end in ends:
        half = 1
        while 4 * half <= end - first:
            for start in range(first, end, 4 * half):
                for j in range(start, start + half):
                    if z.itemsize == 4:
                        _four32(z.ctypes.data + j * line, half * line)
                    else:
                        _four64(z.ctypes.data + j * line, half * line)
            half *= 4
        if 2 * half == end - first:
            for j in range(first, first + half):
                if z.itemsize == 4:
                    _two32(z.ctypes.data + j * line, half * line)
                else:
                    _two64(z.ctypes.data + j * line, half * line)
        first = end


@compiled()
def apply_to_one(z: Any, ends: Any) -> None:
    """As ``apply``, a single vector of float64, (dim, 1): sixteen of its components at a time where a stage has so many side by side."""
    first = 0
    for end in ends:
        half = 1
        while half < end - first:
            for start in range(first, end, 2 * half):
                if half < LANES:
                    for j in range(start, start + half):
                        p, q = z[j, 0], z[j + half, 0]
                        z[j, 0], z[j + half, 0] = p + q, p - q
                else:
                    for j in range(start, start + half, LANES):
                        _two64(z.ctypes.data + j * z.itemsize, half * z.itemsize)
            half *= 2
        first = end
