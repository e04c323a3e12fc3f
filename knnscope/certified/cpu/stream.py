"""Few queries: codes pass once, at the rate of memory, and everything up to the bound's test stays in registers.

A block of 16 rows at a time, its products with up to 8 query vectors, the test, the next block: the compiled scan hears of a block
only where the test leaves a row in. What that brings, one thread, one query, 75,000 x 384 in the third-level cache of an EPYC with
AVX-512: 0.75 ms instead of 1.6 ms by way of products.vnni, whose results went through memory; 600,000 rows: 28 GB/s instead of 16,
which is all that a core reads there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from knnscope.certified.cpu.compiler import ir
from knnscope.certified.cpu.jit import specialised
from knnscope.certified.cpu.llvm import Emit, Rows16, T, instructions, two_digits
from knnscope.certified.cpu.quantise import PANEL
from knnscope.certified.cpu.scan import Spot, admit, following, hand_over, lines16, prepared

WIDTHS = (2, 4, 8)
"""Query vectors that one pass takes. Twelve took 3.1 ms for 10 queries and products.vnni, which shares each query's load among 32 rows, 2.7."""
DIGITS = 2
"""Of each query: reading takes longer than the second one."""
UNROLLED = {2: 4, 4: 2, 8: 1}
"""Groups a turn: a sum alone waits for its own additions, so that there are eight sums or more."""
AHEAD = 1024
"""Bytes that are asked for ahead. From 4,096 on, past the page that the hardware's own prefetching works on, reading was slower by a third."""


def _totals(emit: Emit, count: int, block: tuple[Any, Any], vectors: tuple[Any, Any]) -> list[Any]:
    """Products of a block's sixteen rows with each vector, int32, (16,).

    Args:
        emit: where.
        count: vectors.
        block: address of its codes, and groups.
        vectors: addresses of packed vectors and biases.
    """
    b, unrolled = emit.builder, UNROLLED[count]
    (start, groups), (queries, biases) = block, vectors
    operand = T.OPERAND
    flip = ir.Constant(T.BYTES, [-128] * 64)
    zero = ir.Constant(T.WORDS, [0] * 16)

    def products(at_once: int) -> Any:
        def group(index: Any, sums: list[Any], first: Any = 0) -> list[Any]:
            grown = list(sums)
            for some in range(at_once):
                place = b.add(b.mul(index, emit.number(at_once)), emit.number(some))
                place = b.add(place, first) if first else place
                at = emit.at(start, (place, 64))
                emit.prefetch(emit.at(at, (AHEAD, 1)))
                bytes_ = b.bitcast(b.xor(emit.load(T.BYTES, at), flip), operand)
                for vector in range(count):
                    word = emit.load(T.I32, emit.at(queries, (place, 4 * count), (vector, 4)))
                    spread = b.bitcast(emit.spread(word, T.WORDS), operand)
                    own = vector * unrolled + some
                    grown[own] = emit.call("llvm.x86.avx512.vpdpbusd.512", T.WORDS, grown[own], bytes_, spread)
            return grown

        return group

    sums: list[Any] = []
    for vector in range(count):
        sums += [emit.spread(emit.load(T.I32, emit.at(biases, (vector, 4))), T.WORDS)] + [zero] * (unrolled - 1)
    whole = b.sdiv(groups, emit.number(unrolled))
    sums = emit.loop(whole, sums, products(unrolled))
    if unrolled > 1:
        done = b.mul(whole, emit.number(unrolled))
        rest = products(1)
        sums = emit.loop(b.sub(groups, done), sums, lambda index, some: rest(index, some, done))
    totals = []
    for vector in range(count):
        total = sums[vector * unrolled]
        for other in sums[vector * unrolled + 1 : (vector + 1) * unrolled]:
            total = b.add(total, other)
        totals.append(total)
    return totals


def _stream(count: int) -> Any:
    @instructions
    def stream(emit: Emit, blocks: Any, codes: Any, queries: Any, rows: Any, test: Any, found: Any) -> Any:
        """The first of some blocks that has a row the bound cannot exclude; if none has, the one after them.

        Args:
            emit: where.
            blocks: number of the first, and of the one after the last.
            codes: their address, and groups in a block.
            queries: addresses of packed vectors and biases.
            rows: addresses of s, e and N.
            test: addresses of 2 t, C and V.
            found: addresses, written: products, int32, (count, 16), and 16 bits for each query, in an int32.
        """
        b = emit.builder
        (block, last), (codes, groups), (queries, biases), (out, masks) = blocks, codes, queries, found
        before = b.block
        turn, following, hit, end = (b.append_basic_block(name) for name in ("block", "following", "hit", "end"))
        b.branch(turn)
        b.position_at_end(turn)
        number = b.phi(T.I64)
        number.add_incoming(block, before)
        start = emit.at(codes, (b.mul(number, groups), 64))

        totals = _totals(emit, count, (start, groups), (queries, biases))
        sixteen = Rows16(*(emit.load(T.FLOATS, emit.at(base, (number, 64))) for base in rows))
        kept = []
        for query in range(count // DIGITS):
            step, slope, limit = (emit.spread(emit.load(T.F32, emit.at(base, (query, 4))), T.FLOATS) for base in test)
            product = two_digits(emit, *(b.sitofp(total, T.FLOATS) for total in totals[2 * query : 2 * query + 2]))
            kept.append(sixteen.kept(emit, product, step, slope, limit))
        some_row = kept[0]
        for mask in kept[1:]:
            some_row = b.or_(some_row, mask)
        b.cbranch(b.icmp_unsigned("!=", some_row, ir.Constant(T.I16, 0)), hit, following)
        b.position_at_end(following)
        more = b.add(number, emit.number(1))
        number.add_incoming(more, following)
        b.cbranch(b.icmp_signed("<", more, last), turn, end)
        b.position_at_end(hit)
        for vector, total in enumerate(totals):
            emit.store(total, emit.at(out, (vector, 64)))
        for query, mask in enumerate(kept):
            emit.store(b.zext(mask, T.I32), emit.at(masks, (query, 4)))
        b.branch(end)
        b.position_at_end(end)
        result = b.phi(T.I64)
        result.add_incoming(number, hit)
        result.add_incoming(last, following)
        return result

    return stream


stream: Any = None
"""The instructions for one width: each compiled scan has its own, so that a first search waits for one."""


def _scan(coded: Any, asked: Any, allowed: Any, memory: Any, part: Any) -> None:
    """As scan.SCANS, for a single tile of queries whose width is one of ``WIDTHS``."""
    count, queries = part.width, memory.whole.counts.shape[1]
    mine = prepared(lines16(count, 16), np.zeros(count // part.digits, dtype=np.int32), asked, 0, part, memory)
    codes = (coded.codes.ctypes.data, coded.codes.shape[1])
    vectors = (asked.packed.ctypes.data, asked.biases.ctypes.data)
    rows = (coded.scales.ctypes.data, coded.errors.ctypes.data, coded.terms.ctypes.data)
    test = (asked.steps.ctypes.data, mine.slopes.ctypes.data, mine.limits.ctypes.data)
    found = (mine.out.ctypes.data, mine.masks.ctypes.data)
    turn = 0
    first, last = following(mine, 0, turn, part, asked, memory)
    while first < last:
        block, end = first * PANEL // 16, min(last * PANEL // 16, (part.rows + 15) // 16)
        while block < end:
            block = stream((block, end), codes, vectors, rows, test, found)
            if block >= end:
                break
            for query in range(queries):
                if mine.masks[query]:
                    spot = Spot(query, query, query, block * 16)
                    admit(np.int64(mine.masks[query]), spot, part, coded, asked, allowed, mine)
            block += 1
        turn += 1
        first, last = following(mine, 0, turn, part, asked, memory)
    hand_over(mine, 0, coded, asked, part, memory)


SCANS = {
    width: specialised(_scan, f"scan_stream_{width}", apart=True, unrolled=True, stream=_stream(width))
    for width in WIDTHS
}
"""By query vectors in a tile."""
