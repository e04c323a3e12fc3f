"""Lower bounds of rows from the plane, sixteen at a time: F of plane_bound.py in whole numbers, then g in float32.

The whole numbers are the same on every instruction set. Each kernel takes some query vectors, one or two digits of each query; reading a row's
bytes and unpacking them is shared among them.

**Sums of 16 bits.** AVX2 has no sum of products of bytes in 32 bits, and widening its sums of 16 bits takes registers. It is not needed where these wrap
around and their result fits: a lane has f = (c - 7.5).v for half of the components, which is at most |c - 7.5| |v| by Cauchy-Schwarz. So sums start
at -7.5 times the digits, which are chosen for that bound to be below 2^15 (plane_queries.py); queries for which it is not are not asked. A
product of two bytes each is below 2^12, so none saturates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu.compiler import ir
from knnscope.certified.cpu.jit import compiled, specialised
from knnscope.certified.cpu.llvm import Emit, T, instructions, two_digits
from knnscope.certified.cpu.plane import LANES, SIDES
from knnscope.certified.cpu.queries import BASE
from knnscope.certified.cpu.values import half_of

AHEAD = 2048
"""Bytes that are asked for ahead."""
Sums = Callable[[Emit, Any, Any, Any, Any], list[Any]]


class Bounds(NamedTuple):
    """Lower bounds of rows for some queries.

    values: float32, (queries, rows of whole blocks). leasts: float32, (queries, blocks or more): the smallest of each block, minus infinity where
    one is no number; so that who looks for small ones reads one of sixteen.
    """

    values: npt.NDArray[np.float32]
    leasts: npt.NDArray[np.float32]


def vnni_sums(vectors: int) -> Sums:
    """F of a block by vpdpbusd: masked bytes times digits; high halves are 16 times too large, low ones are shifted at the end."""
    unrolled = max(1, 4 // vectors)

    def sums(emit: Emit, block: Any, groups: Any, words: Any, biases: Any) -> list[Any]:
        b = emit.builder
        operand = T.OPERAND
        low, high = (ir.Constant(T.BYTES, [mask] * 64) for mask in (0x0F, -0x10))
        zero = ir.Constant(T.WORDS, [0] * 16)

        def turn(index: Any, carried: list[Any]) -> list[Any]:
            grown = list(carried)
            for some in range(unrolled):
                place = b.add(b.mul(index, emit.number(unrolled)), emit.number(some))
                at = emit.at(block, (place, 64))
                emit.prefetch(emit.at(at, (AHEAD, 1)))
                x = emit.load(T.BYTES, at)
                halves = [b.bitcast(b.and_(x, mask), operand) for mask in (low, high)]
                for vector in range(vectors):
                    for half, part in enumerate(halves):
                        word = emit.load(T.I32, emit.at(words, (place, 8 * vectors), (vector, 8), (half, 4)))
                        digits = b.bitcast(emit.spread(word, T.WORDS), operand)
                        own = (vector * 2 + half) * unrolled + some
                        grown[own] = emit.call("llvm.x86.avx512.vpdpbusd.512", T.WORDS, grown[own], part, digits)
            return grown

        begin: list[Any] = []
        for vector in range(vectors):
            bias = emit.spread(emit.load(T.I32, emit.at(biases, (vector, 4))), T.WORDS)
            begin += [zero] * unrolled + [bias] + [zero] * (unrolled - 1)
        ended = emit.loop(b.sdiv(groups, emit.number(unrolled)), begin, turn)
        found = []
        for vector in range(vectors):
            totals = []
            for half in range(2):
                own = (vector * 2 + half) * unrolled
                total = ended[own]
                for other in ended[own + 1 : own + unrolled]:
                    total = b.add(total, other)
                totals.append(total)
            found.append(b.add(b.shl(totals[0], ir.Constant(T.WORDS, [4] * 16)), totals[1]))
        return found

    return sums


def products(emit: Emit, at: Any, words: Any, place: Any, vectors: int) -> Iterator[tuple[int, Any]]:
    """Products by vpmaddubsw of a group of components with all query vectors, 16 bits each: number of the sum that one goes to, and the product."""
    b, bytes_, shorts, ints = emit.builder, *(ir.VectorType(*of) for of in ((T.I8, 32), (T.I16, 16), (T.I32, 8)))
    mask, four = ir.Constant(bytes_, [0x0F] * 32), ir.Constant(shorts, [4] * 16)
    whole = [emit.load(bytes_, emit.at(at, (eight, 32))) for eight in range(2)]
    high = [b.bitcast(b.lshr(b.bitcast(x, shorts), four), bytes_) for x in whole]
    for half, parts in enumerate((whole, high)):
        levels = [b.and_(x, mask) for x in parts]
        for vector in range(vectors):
            word = emit.load(T.I32, emit.at(words, (place, 8 * vectors), (vector, 8), (half, 4)))
            digits = b.bitcast(emit.spread(word, ints), bytes_)
            for own, level in enumerate(levels, 2 * vector):
                yield own, emit.call("llvm.x86.avx2.pmadd.ub.sw", shorts, level, digits)


def narrow_sums(vectors: int) -> Sums:
    """F of a block by vpmaddubsw in sums of 16 bits; what is read of queries serves both halves of the block."""

    def sums(emit: Emit, block: Any, groups: Any, words: Any, biases: Any) -> list[Any]:
        b, shorts, ints = emit.builder, ir.VectorType(T.I16, 16), ir.VectorType(T.I32, 8)
        sixteen = ir.Constant(shorts, [16] * 16)  # F is 16 f

        def turn(place: Any, carried: list[Any]) -> list[Any]:
            grown, at = list(carried), emit.at(block, (place, 64))
            emit.prefetch(emit.at(at, (AHEAD, 1)))
            for own, product in products(emit, at, words, place, vectors):
                grown[own] = b.add(grown[own], product)
            return grown

        begin: list[Any] = []
        for vector in range(vectors):
            start = emit.load(T.I32, emit.at(biases, (vectors + vector, 4)))
            begin += [b.bitcast(emit.spread(start, ints), shorts)] * 2
        ended, found = emit.loop(groups, begin, turn), []
        for vector in range(vectors):
            wide = [emit.call("llvm.x86.avx2.pmadd.wd", ints, ended[2 * vector + eight], sixteen) for eight in range(2)]
            joined = b.shuffle_vector(*wide, ir.Constant(T.WORDS, list(range(16))))
            bias = emit.spread(emit.load(T.I32, emit.at(biases, (2 * vectors + vector, 4))), T.WORDS)
            found.append(b.add(joined, bias))
        return found

    return sums


def sides_of(emit: Emit, at: Any) -> list[Any]:
    """S, N, e1 and e2 of a block, at an address."""
    return [emit.builder.fpext(emit.load(T.HALVES, emit.at(at, (i, 32))), T.FLOATS) for i in range(4)]


def bound(emit: Emit, sides: list[Any], terms: Any, product: Any) -> Any:
    """G of 16 rows, from F as float32; ``terms``: address of t2, C1 and C2 of a query."""
    b = emit.builder
    scales, lengths, errors, tails = sides
    t2, c1, c2 = (emit.spread(emit.load(T.F32, emit.at(terms, (i, 4))), T.FLOATS) for i in range(3))
    g = emit.call("llvm.fmuladd.v16f32", T.FLOATS, b.fneg(b.fmul(scales, t2)), product, lengths)
    g = emit.call("llvm.fmuladd.v16f32", T.FLOATS, c1, b.fneg(errors), g)
    return emit.call("llvm.fmuladd.v16f32", T.FLOATS, c2, b.fneg(tails), g)


def _least(emit: Emit, g: Any) -> Any:
    """The smallest of 16 bounds; minus infinity where one is no number."""
    b, lowest = emit.builder, ir.Constant(T.FLOATS, [float("-inf")] * 16)
    left = b.select(b.fcmp_ordered(">", g, lowest), g, lowest)
    while left.type.count > 1:
        half = left.type.count // 2
        parts = (ir.Constant(ir.VectorType(T.I32, half), list(range(first, first + half))) for first in (0, half))
        one, other = (b.shuffle_vector(left, left, part) for part in parts)
        left = b.select(b.fcmp_ordered("<", one, other), one, other)
    return b.extract_element(left, ir.Constant(T.I32, 0))


def _kernel(vectors: int, digits: int, sums: Sums) -> Any:
    @instructions
    def lower(emit: Emit, blocks: Any, count: Any, queries: Any, out: Any) -> None:
        """G of all rows of some blocks.

        Args:
            emit: where.
            blocks: address of the first, and groups of each.
            count: blocks.
            queries: addresses of words, biases and terms of a tile.
            out: address of float32, (queries, rows), written, and rows of a line; the same of ``Bounds.leasts``.
        """
        b = emit.builder
        (first, groups), (words, biases, terms), (to, rows, leasts, places) = blocks, queries, out
        codes = b.mul(groups, emit.number(64))
        stride = b.add(codes, emit.number(SIDES))

        def block(index: Any, _: list[Any]) -> list[Any]:
            at = b.add(first, b.mul(index, stride))
            whole = sums(emit, at, groups, words, biases)
            sides = sides_of(emit, b.add(at, codes))
            for query in range(vectors // digits):
                own = [b.sitofp(one, T.FLOATS) for one in whole[query * digits : (query + 1) * digits]]
                product = own[0] if digits == 1 else two_digits(emit, own[0], own[1])
                g = bound(emit, sides, emit.at(terms, (query, 12)), product)
                line = b.add(to, b.mul(b.mul(rows, emit.number(query)), emit.number(4)))
                emit.store(g, emit.at(line, (index, 64)))
                line = b.add(leasts, b.mul(b.mul(places, emit.number(query)), emit.number(4)))
                emit.store(_least(emit, g), emit.at(line, (index, 4)))
            return []

        emit.loop(count, [], block)

    return lower


emitted: Any = None
vectors = digits = 1
"""What ``kernel`` gives each of the functions below in place of these."""


def _emitted(blocks: Any, first: int, count: int, words: Any, biases: Any, terms: Any, out: Any) -> None:
    """G of all rows of some blocks, for a tile of queries.

    Args:
        blocks: of plane.Plane.
        first: block.
        count: of blocks.
        words: int32, (groups, vectors, 2), see plane_queries.PlaneQueries.
        biases: int32, (3, vectors).
        terms: float32, (queries, 3).
        out: Bounds of 16 ``count`` rows, each line in one piece, written.
    """
    at = blocks.ctypes.data + first * blocks.shape[1]
    queries = (words.ctypes.data, biases.ctypes.data, terms.ctypes.data)
    to, leasts = out
    lines = (to.ctypes.data, to.strides[0] // 4, leasts.ctypes.data, leasts.strides[0] // 4)
    emitted((at, words.shape[0]), count, queries, lines)


def _plain(blocks: Any, first: int, count: int, words: Any, biases: Any, terms: Any, out: Any) -> None:
    """As ``_emitted``, in plain loops."""
    groups, sides = words.shape[0], np.empty(4, dtype=np.float32)
    to, leasts = out
    for index in range(count):
        line = blocks[first + index]
        for query in range(vectors // digits):
            leasts[query, index] = np.float32(np.inf)
        for lane in range(LANES):
            for i in range(4):
                at = groups * 64 + 32 * i + 2 * lane
                sides[i] = np.float32(half(blocks, first + index, at))
            for query in range(vectors // digits):
                product = np.float32(0)
                for digit in range(digits):
                    vector = query * digits + digit
                    total = np.int64(biases[0, vector])
                    for group in range(groups):
                        low, high = np.int64(words[group, vector, 0]), np.int64(words[group, vector, 1])
                        for byte in range(4):
                            both, shift = np.int64(line[group * 64 + 4 * lane + byte]), 8 * byte
                            total += 16 * (both & 15) * ((((low >> shift) & 255) ^ 128) - 128)
                            total += 16 * (both >> 4) * ((((high >> shift) & 255) ^ 128) - 128)
                    product = np.float32(BASE) * product + np.float32(total)
                g = sides[1] - sides[0] * terms[query, 0] * product
                g = g - terms[query, 1] * sides[2]
                g = g - terms[query, 2] * sides[3]
                to[query, LANES * index + lane] = g
                if not g >= leasts[query, index]:
                    leasts[query, index] = g if g == g else np.float32(-np.inf)


@compiled(inline=True)
def half(blocks: Any, block: int, at: int) -> float:
    """A float16 that is not negative, by its two bytes."""
    return half_of(np.int32(blocks[block, at]) | np.int32(blocks[block, at + 1]) << np.int32(8))


def kernel(isa: str, vectors: int, digits: int) -> Any:
    """``_emitted`` or ``_plain`` for tiles of so many vectors; compiled when it is first called."""
    name = f"plane_{isa}_{vectors}_{digits}"
    if isa == "portable":
        return specialised(_plain, name, unrolled=True, vectors=vectors, digits=digits)
    assert digits == 1 or isa != "avx2", "sums of 16 bits are for one digit"
    sums = (narrow_sums if isa == "avx2" else vnni_sums)(vectors)
    return specialised(_emitted, name, unrolled=True, emitted=_kernel(vectors, digits, sums))
