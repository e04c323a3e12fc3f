"""Bounds of pairs from the plane, held against the k-th keys of both rows as soon as they are there: a bit a pair.

A bound g of plane_bound.py says that a pair's key is above K for certain where g > V(K) = alpha K + beta, and distances, products and cosines as
defined are the same bits from either side. So a pair is left out where g > max(V(K_q), alpha K_x + beta), which float32 evaluates: K_x is rounded up
and has 8 u of itself added, beta too, which is more than the roundings of factor, product and sum take off.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import bounds, plane_bounds, plane_queries
from knnscope.certified.cpu.jit import compiled, specialised
from knnscope.certified.cpu.llvm import Emit, T, instructions
from knnscope.certified.cpu.plane import LANES, SIDES
from knnscope.certified.cpu.plane_kernels import Bounds, Sums, bound, kernel, narrow_sums, sides_of, vnni_sums
from knnscope.certified.cpu.plane_queries import PlaneQueries
from knnscope.certified.cpu.plane_search import MANY

EIGHT_U = 2.0**-21


def ask(queries: npt.NDArray[np.float64], way: Any, isa: str) -> tuple[PlaneQueries, npt.NDArray[np.float32]]:
    """Queries in an instruction set's widest tiles, and what they are held to: float32, (queries, 3): V, to be written, alpha and beta.

    Args:
        queries: float64, (queries, dim).
        way: plane.Map.
        isa: the instruction set.
    """
    asked = plane_queries.ask(queries, way, *MANY[isa])
    held = np.zeros_like(asked.terms)
    _begun(asked, held)
    return asked, held


@compiled(apart=True)
def _begun(asked: Any, held: Any) -> None:
    for query in range(asked.far.shape[0]):
        beta = asked.betas[query]
        held[query, 1] = np.float32(asked.alphas[query])
        held[query, 2] = bounds.up(beta + abs(beta) * EIGHT_U)


@compiled()
def limit(key: float) -> np.float32:
    """A row's, from its k-th key."""
    return bounds.up(key + abs(key) * EIGHT_U)


@compiled()
def hold(tops: Any, first: int, last: int, asked: Any, held: Any) -> None:
    """Write V of the queries from ``first`` to ``last``; ``tops``: float64, a k-th key of each of them."""
    for query in range(first, last):
        own = plane_bounds.limit(tops[query - first], asked.alphas[query], asked.betas[query])
        held[query, 0] = bounds.up(own) if own == own else np.float32(np.inf)


def _tested(vectors: int, sums: Sums) -> Any:
    @instructions
    def tested(emit: Emit, blocks: Any, count: Any, queries: Any, limits: Any, out: Any) -> None:
        """Which pairs both limits leave.

        Args:
            emit: where.
            blocks: address of the first, and groups of each.
            count: blocks.
            queries: addresses of words, biases, terms and what they are held to, of a tile.
            limits: address of the rows' limits, float32.
            out: address of masks, int16, (queries, blocks), written; masks of a line.
        """
        b = emit.builder
        (first, groups), (words, biases, terms, own), (to, line) = blocks, queries, out
        codes = b.mul(groups, emit.number(64))
        stride = b.add(codes, emit.number(SIDES))

        def block(index: Any, _: list[Any]) -> list[Any]:
            at = b.add(first, b.mul(index, stride))
            whole = sums(emit, at, groups, words, biases)
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


def _emitted(blocks: Any, place: Any, asked: Any, held: Any, limits: Any, masks: Any) -> None:
    """Which pairs of a tile's queries and some rows bounds leave.

    Args:
        blocks: of plane.Plane.
        place: the first block, how many, and the tile.
        asked: PlaneQueries.
        held: float32, (queries, 3): V, alpha and beta.
        limits: float32, (padded rows,): at least the k-th key of each row; minus infinity for none.
        masks: int16, (queries of a tile, blocks or more), written: a bit a row.
    """
    first, count, tile = place
    at, each = blocks.ctypes.data + first * blocks.shape[1], masks.shape[0]
    queries = (
        asked.words[tile].ctypes.data, asked.biases[tile].ctypes.data, asked.terms[tile * each :].ctypes.data,
        held[tile * each :].ctypes.data,
    )  # fmt: skip
    rows = limits.ctypes.data + 4 * LANES * first
    emitted((at, asked.words.shape[1]), count, queries, rows, (masks.ctypes.data, masks.shape[1]))


def _plain(blocks: Any, place: Any, asked: Any, held: Any, limits: Any, masks: Any) -> None:
    """As ``_emitted``, in plain loops."""
    (first, count, tile), each = place, masks.shape[0]
    values, leasts = np.empty((each, LANES * count), dtype=np.float32), np.empty((each, count), dtype=np.float32)
    words, biases, terms = asked.words[tile], asked.biases[tile], asked.terms[tile * each :]
    lower_many(blocks, first, count, words, biases, terms, Bounds(values, leasts))
    for query in range(each):
        own = held[tile * each + query]
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
        return specialised(_plain, name, apart=True, unrolled=True, lower_many=kernel(isa, vectors, digits))
    sums = (narrow_sums if isa == "avx2" else vnni_sums)(vectors)
    return specialised(_emitted, name, apart=True, unrolled=True, emitted=_tested(vectors, sums))
