"""Queries as the plane is asked: mapped to its components, written as whole numbers, with what their bounds need."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import bounds, plane_bounds
from knnscope.certified.cpu.compiler import ir
from knnscope.certified.cpu.jit import compiled
from knnscope.certified.cpu.llvm import Emit, T, instructions
from knnscope.certified.cpu.plane import LANES
from knnscope.certified.cpu.quantise import LEVELS
from knnscope.certified.cpu.queries import BASE

TOGETHER = 64
"""Queries that are mapped together."""
LONGEST = 2.0**20
"""Scaled length of a query from which on its numbers may leave float32."""
MOST = 32766
"""|c - 7.5| |v| at most: a sum of 16 bits is that, and half a bit that its start is rounded by; see plane_kernels.py."""


class PlaneQueries(NamedTuple):
    """Queries in tiles.

    words: int32, (tiles, groups, vectors, 2): 4 digits for the low halves of a group's bytes, 4 for the high ones. biases: int32, (tiles, 3,
    vectors): -120 times the sum of a vector's digits; of queries with one digit, what both sums of 16 bits start at, the first in the low half, and
    what 16 times these sums lack. terms: float32, (queries, 3): t2, C1, C2. alphas, betas: float64, of V(K). gaps: float64: by how much more than
    twice its errors a row's bound may be below its key. far: bool: those that the plane is not asked.
    """

    words: npt.NDArray[np.int32]
    biases: npt.NDArray[np.int32]
    terms: npt.NDArray[np.float32]
    alphas: npt.NDArray[np.float64]
    betas: npt.NDArray[np.float64]
    gaps: npt.NDArray[np.float64]
    far: npt.NDArray[np.bool_]


@instructions
def _product(emit: Emit, matrix: Any, query: Any, sixteenths: Any, out: Any) -> None:
    """Four rows of a matrix times a vector: addresses, and how many times 16 components they have."""
    b = emit.builder
    zero = ir.Constant(T.FLOATS, [0.0] * 16)
    stride = b.mul(sixteenths, emit.number(64))

    def step(index: Any, sums: list[Any]) -> list[Any]:
        x = emit.load(T.FLOATS, emit.at(query, (index, 64)))
        rows = [
            emit.load(T.FLOATS, emit.at(b.add(matrix, b.mul(stride, emit.number(i))), (index, 64))) for i in range(4)
        ]
        return [emit.call("llvm.fmuladd.v16f32", T.FLOATS, row, x, one) for row, one in zip(rows, sums, strict=True)]

    for i, total in enumerate(emit.loop(sixteenths, [zero] * 4, step)):
        while total.type.count > 1:
            half = total.type.count // 2
            low, high = (ir.Constant(ir.VectorType(ir.IntType(32), half), list(range(f, f + half))) for f in (0, half))
            total = b.fadd(b.shuffle_vector(total, total, low), b.shuffle_vector(total, total, high))
        emit.store(b.extract_element(total, ir.Constant(ir.IntType(32), 0)), emit.at(out, (i, 4)))


@compiled(apart=True)
def write(queries: Any, way: Any, digits: int, made: Any) -> None:
    """Fill ``made``, which ``blank`` gave."""
    m, padded = way.matrix.shape
    # of one digit, sums of 16 bits hold whole numbers so long, with what rounding adds
    longest = 2 * MOST / math.sqrt(max(way.most.levels2, 1.0)) - math.sqrt(m) / 2 - 1 if digits == 1 else np.inf
    size = min(queries.shape[0], TOGETHER)
    q, w = np.zeros((size, padded), dtype=np.float32), np.empty((size, m), dtype=np.float32)
    lengths2, factors, crosses, lengths = np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    for first in range(0, queries.shape[0], TOGETHER):
        some = min(TOGETHER, queries.shape[0] - first)
        for own in range(some):
            lengths2[own] = np.inf
            lengths[own], factors[own], crosses[own] = _factor(queries, first + own, way)
            if factors[own] > 0:
                lengths2[own] = _centred(queries, first + own, way, factors[own], q[own])
        for row in range(0, m, 4):  # of the directions, which lie in the nearest cache while queries pass
            matrix = way.matrix.ctypes.data + 4 * row * padded
            for own in range(some):
                _product(matrix, q.ctypes.data + 4 * own * padded, padded // LANES, w.ctypes.data + 4 * (own * m + row))
        for own in range(some):
            if lengths2[own] < LONGEST * LONGEST:
                given = (lengths2[own] * (1 + 2.0**-40), factors[own], crosses[own], lengths[own], longest)
                _written(first + own, w[own], given, way, digits, made)


@compiled()
def _factor(queries: Any, number: int, way: Any) -> tuple[float, float, float]:
    """A query's length, what it is multiplied with (0: its length is out of range), and its product with the centre, so scaled for cosine."""
    total = cross = 0.0
    for j in range(queries.shape[1]):
        total += queries[number, j] * queries[number, j]
        cross += way.centre[j] * queries[number, j]
    length = math.sqrt(total)
    if way.metric == 0:
        return length, way.scaling, cross
    if not 2.0**-400 < length < 2.0**400:
        return length, 0.0, cross
    return length, 1.0 / length, cross if way.metric == 1 else cross / length


@compiled()
def _centred(queries: Any, number: int, way: Any, factor: float, q: Any) -> float:
    """Q' rounded once into ``q``, where it is short enough; the squared length before that."""
    length2 = 0.0
    for j in range(queries.shape[1]):
        component = (queries[number, j] - (way.centre[j] if way.metric == 0 else 0.0)) * factor
        length2 += component * component
        q[j] = np.float32(component)
    if not length2 < LONGEST * LONGEST:
        q[:] = np.float32(0)
    return length2


@compiled()
def _written(number: int, w: Any, given: Any, way: Any, digits: int, made: Any) -> None:
    """One query, from its leading components; ``given``: |q'|^2, what ``_factor`` gives, and ``longest``."""
    length2, factor, cross, length, longest = given
    m, dim, levels, most = w.shape[0], way.centre.shape[0], LEVELS if digits == 1 else LEVELS * BASE, way.most
    each = made.words.shape[2] // digits
    peak, leading2 = 0.0, 0.0
    for j in range(m):
        peak = max(peak, abs(np.float64(w[j])))
        leading2 += np.float64(w[j]) * np.float64(w[j])
    t = np.float64(np.float32(max(peak / levels, math.sqrt(leading2) / longest, 2.0**-60)))
    size = math.sqrt(length2)
    known = math.sqrt(leading2) * (1 + 2.0**-30) + way.rho * size
    rest = plane_bounds.rest(length2, leading2, way.rho)
    missed2 = 0.0
    tile, place = number // each, number % each
    made.biases[tile, 0, place * digits : place * digits + digits] = 0
    whole2 = first = second = 0
    for j in range(m):
        whole = int(min(max(np.rint(np.float64(w[j]) / t), -levels), levels))
        left = np.float64(w[j]) - t * whole
        missed2 += left * left
        half, inside = j // (m // 2), j % (m // 2)
        group, shift = inside // 4, 8 * (inside % 4)
        high = whole
        if digits == 2:
            high = int(np.rint(whole / BASE))
            low = whole - BASE * high
            made.words[tile, group, 2 * place + 1, half] |= np.int32(np.uint32(low & 255) << np.uint32(shift))
            made.biases[tile, 0, 2 * place + 1] -= 120 * low
        made.words[tile, group, digits * place, half] |= np.int32(np.uint32(high & 255) << np.uint32(shift))
        made.biases[tile, 0, digits * place] -= 120 * high
        whole2 += high * high
        if inside % 4 < 2:
            first += high
        else:
            second += high
    if digits == 1:
        low, high = -((15 * first) >> 1), -((15 * second) >> 1)
        made.biases[tile, 1, place] = np.int32(np.uint32(low & 65535) | np.uint32((high & 65535) << 16))
        made.biases[tile, 2, place] = made.biases[tile, 0, place] - 16 * (low + high)
    h = plane_bounds.residual(missed2, size, way.rho)
    largest = most.length2 + 2 * most.written * (known + h) + 2 * most.error * known + 2 * most.tail * rest
    loose = 2 * most.written * h * bounds.WIDEN + 8 * bounds.U * largest
    made.terms[number, 0] = np.float32(t / 8)
    made.terms[number, 1] = bounds.up(2 * known)
    made.terms[number, 2] = bounds.up(2 * rest)
    # and what a difference of large numbers, key and query, rounds off
    made.gaps[number] = 2 * loose + length2 * 2.0**-36
    if way.metric == 0:
        made.alphas[number] = way.scaling * way.scaling * (1 + (dim + 8) * 2.0**-50)
        made.betas[number] = loose - length2 * (1 - 2.0**-39)
        made.betas[number] += dim * 2.0**-1022
    else:
        alpha = 2 * way.scaling * factor
        if way.metric == 2:
            alpha = 2 * way.scaling
            err = (2 * dim + 40) * 2.0**-51
        else:
            err = (dim + 8) * 2.0**-51 * way.longest * length
        made.alphas[number] = alpha
        made.betas[number] = alpha * (cross + err) + loose
        made.gaps[number] += 2 * alpha * (err + abs(cross) * 2.0**-48)
    fits = digits == 2 or whole2 * most.levels2 <= 4.0 * MOST * MOST
    made.far[number] = not (fits and abs(made.betas[number]) < np.inf and made.alphas[number] > 0)


def ask(queries: npt.NDArray[np.float64], way: Any, vectors: int, digits: int) -> PlaneQueries:
    """Queries for a scan, as ``asked`` writes them; here with arrays of Python's."""
    made: PlaneQueries = blank.py_func(len(queries), len(way.matrix), vectors, digits)
    write(queries, way, digits, made)
    return made


@compiled()
def blank(queries: int, m: int, vectors: int, digits: int) -> Any:
    """PlaneQueries to be written."""
    each = vectors // digits
    tiles = (queries + each - 1) // each
    words, biases = np.zeros((tiles, m // 8, vectors, 2), dtype=np.int32), np.zeros((tiles, 3, vectors), dtype=np.int32)
    alphas, betas, gaps = np.zeros(tiles * each), np.zeros(tiles * each), np.zeros(tiles * each)
    terms, far = np.zeros((tiles * each, 3), dtype=np.float32), np.ones(tiles * each, dtype=np.bool_)
    return PlaneQueries(words, biases, terms, alphas, betas, gaps, far)


@compiled()
def asked(queries: Any, way: Any, vectors: int, digits: int) -> Any:
    """Queries as PlaneQueries.

    Args:
        queries: float64, (queries, dim), finite.
        way: plane.Map.
        vectors: in a tile.
        digits: 1 or 2, of each query.
    """
    made = blank(queries.shape[0], way.matrix.shape[0], vectors, digits)
    write(queries, way, digits, made)
    return made
