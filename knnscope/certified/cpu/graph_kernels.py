"""Bounds of pairs from the plane, held against the k-th keys of both rows as soon as they are there: a bit a pair.

A bound g of plane_bound.py says that a pair's key is above K for certain where g > V(K) = alpha K + beta, and distances, products and cosines as
defined are the same bits from either side. So a pair is left out where g > max(V(K_q), alpha K_x + beta), which float32 evaluates: K_x is rounded up
and has 8 u of itself added, beta too, which is more than the roundings of factor, product and sum take off.

**Sums of 16 bits.** The whole numbers are those of plane_kernels.py. AVX2 has no sum of products of bytes in 32 bits, and widening its sums of 16 bits takes
registers. It is not needed where these wrap around and their result fits: a lane has f = (c - 7.5).v for half of the components, which is at most
|c - 7.5| |v| by Cauchy-Schwarz. ``begun`` starts sums at -7.5 times the digits, and tells the queries for which that is not below 2^15; their digits
are chosen for it (``longest``). A product of two bytes each is below 2^12, so none saturates.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import bounds, plane_bounds, plane_queries
from knnscope.certified.cpu.jit import compiled, specialised
from knnscope.certified.cpu.llvm import Emit, T, instructions, ir
from knnscope.certified.cpu.plane import LANES, SIDES
from knnscope.certified.cpu.plane_kernels import Sums, bound, kernel, products, sides_of, vnni_sums
from knnscope.certified.cpu.plane_queries import PlaneQueries
from knnscope.certified.cpu.plane_search import MANY

EIGHT_U = 2.0**-21
MOST = 32766
"""|c - 7.5| |v| at most: a lane's sum is that, and half a bit that its start is rounded by."""


class Beside(NamedTuple):
    """What tiles of queries need beside PlaneQueries.

    starts: int32, (tiles, vectors): what both sums of 16 bits start at, the first in the low half. biases: int32, (tiles, vectors): what 16
    times the sums lack of F. limits: float32, (queries, 3): V, alpha and beta.
    """

    starts: npt.NDArray[np.int32]
    biases: npt.NDArray[np.int32]
    limits: npt.NDArray[np.float32]


def is_narrow(isa: str) -> bool:
    """Whether an instruction set's sums have 16 bits."""
    return isa == "avx2"


def ask(queries: npt.NDArray[np.float64], way: Any, widest: int, isa: str) -> tuple[PlaneQueries, Beside]:
    """Queries in an instruction set's widest tiles.

    Args:
        queries: float64, (queries, dim).
        way: plane.Map.
        widest: the largest |2 c - 15|^2 of rows.
        isa: the instruction set.
    """
    longest = math.inf
    if is_narrow(isa):
        longest = 2 * MOST / math.sqrt(widest) - math.sqrt(len(way.matrix)) / 2 - 1
    asked = plane_queries.ask(queries, way, *MANY[isa], longest)
    beside = Beside(np.zeros_like(asked.biases), asked.biases.copy(), np.zeros_like(asked.terms))
    _limits(asked, beside)
    if is_narrow(isa):
        begun(asked, widest, beside)
    return asked, beside


@compiled(apart=True)
def _limits(asked: Any, beside: Any) -> None:
    for query in range(asked.far.shape[0]):
        beta = asked.betas[query]
        beside.limits[query, 1] = np.float32(asked.alphas[query])
        beside.limits[query, 2] = bounds.up(beta + abs(beta) * EIGHT_U)


@compiled()
def limit(key: float) -> np.float32:
    """A row's, from its k-th key."""
    return bounds.up(key + abs(key) * EIGHT_U)


@compiled()
def hold(tops: Any, first: int, last: int, asked: Any, beside: Any) -> None:
    """Write V of the queries from ``first`` to ``last``; ``tops``: float64, a k-th key of each of them."""
    for query in range(first, last):
        own = plane_bounds.limit(tops[query - first], asked.alphas[query], asked.betas[query])
        beside.limits[query, 0] = bounds.up(own) if own == own else np.float32(np.inf)


@compiled(apart=True)
def begun(asked: Any, widest: int, beside: Any) -> None:
    """Write ``starts`` and ``biases`` of sums of 16 bits; queries whose sums might not fit become ``far``."""
    for tile in range(asked.words.shape[0]):
        for vector in range(asked.words.shape[2]):
            length2, sums = np.int64(0), np.zeros(2, dtype=np.int64)
            for group in range(asked.words.shape[1]):
                for half in range(2):
                    word = np.int64(asked.words[tile, group, vector, half])
                    for byte in range(4):
                        digit = (((word >> (8 * byte)) & 255) ^ 128) - 128
                        length2 += digit * digit
                        sums[byte // 2] += digit
            low, high = -((15 * sums[0]) >> 1), -((15 * sums[1]) >> 1)
            beside.starts[tile, vector] = np.int32((low & 65535) | (high << 16))
            beside.biases[tile, vector] = asked.biases[tile, vector] - 16 * (low + high)
            if length2 * widest > 4 * MOST * MOST:  # each is below 2^25
                asked.far[tile * asked.words.shape[2] + vector] = True


def _narrow_sums(vectors: int) -> Sums:
    """F by vpmaddubsw in sums of 16 bits."""

    def sums(emit: Emit, block: Any, groups: Any, words: Any, starts: Any) -> list[Any]:
        b, shorts, ints = emit.builder, ir.VectorType(T.I16, 16), ir.VectorType(T.I32, 8)
        ones = ir.Constant(shorts, [1] * 16)
        first, biases = starts

        def turn(place: Any, carried: list[Any]) -> list[Any]:
            grown, at = list(carried), emit.at(block, (place, 64))
            for own, product in products(emit, at, words, place, vectors):
                grown[own] = b.add(grown[own], product)
            return grown

        begin: list[Any] = []
        for vector in range(vectors):
            begin += [b.bitcast(emit.spread(emit.load(T.I32, emit.at(first, (vector, 4))), ints), shorts)] * 2
        ended, found = emit.loop(groups, begin, turn), []
        for vector in range(vectors):
            wide = [emit.call("llvm.x86.avx2.pmadd.wd", ints, ended[2 * vector + eight], ones) for eight in range(2)]
            joined = b.shuffle_vector(*wide, ir.Constant(T.WORDS, list(range(16))))
            bias = emit.spread(emit.load(T.I32, emit.at(biases, (vector, 4))), T.WORDS)
            found.append(b.add(b.shl(joined, ir.Constant(T.WORDS, [4] * 16)), bias))
        return found

    return sums


def _wide_sums(vectors: int) -> Sums:
    sums = vnni_sums(vectors)
    return lambda emit, block, groups, words, starts: sums(emit, block, groups, words, starts[1])


def _tested(vectors: int, sums: Sums) -> Any:
    @instructions
    def tested(emit: Emit, blocks: Any, count: Any, queries: Any, limits: Any, out: Any) -> None:
        """Which pairs both limits leave.

        Args:
            emit: where.
            blocks: address of the first, and groups of each.
            count: blocks.
            queries: addresses of words, starts, biases, terms and limits of a tile.
            limits: address of the rows' limits, float32.
            out: address of masks, int16, (queries, blocks), written; masks of a line.
        """
        b = emit.builder
        (first, groups), (words, starts, biases, terms, own), (to, line) = blocks, queries, out
        codes = b.mul(groups, emit.number(64))
        stride = b.add(codes, emit.number(SIDES))

        def block(index: Any, _: list[Any]) -> list[Any]:
            at = b.add(first, b.mul(index, stride))
            whole = sums(emit, at, groups, words, (starts, biases))
            sides = sides_of(emit, b.add(at, codes))
            rows = emit.load(T.FLOATS, emit.at(limits, (index, 64)))
            for query in range(vectors):
                g = bound(emit, sides, emit.at(terms, (query, 12)), b.sitofp(whole[query], T.FLOATS))
                mine, alpha, beta = (
                    emit.spread(emit.load(T.F32, emit.at(own, (query, 12), (i, 4))), T.FLOATS) for i in range(3)
                )
                other = emit.call("llvm.fmuladd.v16f32", T.FLOATS, alpha, rows, beta)
                most = b.select(b.fcmp_ordered(">", mine, other), mine, other)
                left = b.bitcast(b.fcmp_unordered("<=", g, most), T.I16)
                emit.store(left, emit.at(b.add(to, b.mul(line, emit.number(2 * query))), (index, 2)))
            return []

        emit.loop(count, [], block)

    return tested


emitted: Any = None
lower_many: Any = None
"""What ``tester`` gives each of the functions below in place of these."""


def _emitted(blocks: Any, place: Any, asked: Any, beside: Any, limits: Any, masks: Any) -> None:
    """Which pairs of a tile's queries and some rows bounds leave.

    Args:
        blocks: of plane.Plane.
        place: the first block, how many, and the tile.
        asked: PlaneQueries.
        beside: Beside.
        limits: float32, (padded rows,): at least the k-th key of each row; minus infinity for none.
        masks: int16, (queries of a tile, blocks or more), written: a bit a row.
    """
    first, count, tile = place
    at, each = blocks.ctypes.data + first * blocks.shape[1], masks.shape[0]
    queries = (
        asked.words[tile].ctypes.data, beside.starts[tile].ctypes.data, beside.biases[tile].ctypes.data,
        asked.terms[tile * each :].ctypes.data, beside.limits[tile * each :].ctypes.data,
    )  # fmt: skip
    rows = limits.ctypes.data + 4 * LANES * first
    emitted((at, asked.words.shape[1]), count, queries, rows, (masks.ctypes.data, masks.shape[1]))


def _plain(blocks: Any, place: Any, asked: Any, beside: Any, limits: Any, masks: Any) -> None:
    """As ``_emitted``, in plain loops."""
    (first, count, tile), each = place, masks.shape[0]
    values = np.empty((each, LANES * count), dtype=np.float32)
    lower_many(blocks, first, count, asked.words[tile], asked.biases[tile], asked.terms[tile * each :], values)
    for query in range(each):
        own = beside.limits[tile * each + query]
        for index in range(count):
            left = 0
            for lane in range(LANES):
                g, other = values[query, LANES * index + lane], own[1] * limits[LANES * (first + index) + lane] + own[2]
                if not (g > own[0] and g > other):
                    left |= 1 << lane
            masks[query, index] = left


@cache
def tester(isa: str) -> Any:
    """``_emitted`` or ``_plain`` for an instruction set's widest tiles; compiled when it is first called."""
    vectors, digits = MANY[isa]
    name = f"graph_pairs_{isa}"
    if isa == "portable":
        return specialised(_plain, name, apart=True, lower_many=kernel(isa, vectors, digits))
    sums = (_narrow_sums if is_narrow(isa) else _wide_sums)(vectors)
    return specialised(_emitted, name, apart=True, emitted=_tested(vectors, sums))
