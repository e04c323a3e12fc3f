"""Few queries: codes pass once, at the rate of memory, and everything up to the bound's test stays in registers.

A block of 16 rows at a time, its products with up to 8 query vectors, the test, the next block: the compiled scan hears of a block
only where the test leaves a row in. What that brings, one thread, one query, 75,000 x 384 in the third-level cache of an EPYC with
AVX-512: 0.75 ms instead of 1.6 ms by way of products.vnni, whose results went through memory; 600,000 rows: 28 GB/s instead of 16,
which is all that a core reads there.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types

from knnscope.certified.cpu.jit import specialised
from knnscope.certified.cpu.llvm import (
    BYTES,
    F32,
    FLOATS,
    I16,
    I32,
    I64,
    WORDS,
    Emit,
    Rows16,
    alive,
    borrowed,
    instructions,
    two_digits,
)
from knnscope.certified.cpu.quantise import PANEL
from knnscope.certified.cpu.scan import admit, first_marks, hand_over, ready

WIDTHS = (2, 4, 8)
"""Query vectors that one pass takes. Twelve took 3.1 ms for 10 queries and products.vnni, which shares each query's load among 32 rows, 2.7."""
DIGITS = 2
"""Of each query: reading takes longer than the second one."""
UNROLLED = {2: 4, 4: 2, 8: 1}
"""Groups a turn: a sum alone waits for its own additions, so that there are eight sums or more."""
AHEAD = 1024
"""Bytes that are asked for ahead. From 4,096 on, past the page that the hardware's own prefetching works on, reading was slower by a third."""


def _stream(count: int) -> Any:
    unrolled = UNROLLED[count]

    @instructions(types.int64)
    def stream(
        emit: Emit, block: Any, last: Any, groups: Any, codes: Any, queries: Any, biases: Any, scales: Any, errors: Any,
        terms: Any, steps: Any, slopes: Any, limits: Any, out: Any, masks: Any,
    ) -> Any:  # fmt: skip
        """The first block from ``block`` on that has a row the bound cannot exclude, ``last`` if none has.

        Writes its products, int32, (count, 16), and 16 bits for each query, in an int32. All arguments are addresses but ``groups``,
        ``block`` and ``last``, which is above ``block``.
        """
        b = emit.builder
        operand = WORDS if llvm.llvm_version_info[0] < 21 else BYTES
        flip = ir.Constant(BYTES, [-128] * 64)
        zero = ir.Constant(WORDS, [0] * 16)
        before = b.block
        turn, following, hit, end = (b.append_basic_block(name) for name in ("block", "following", "hit", "end"))
        b.branch(turn)
        b.position_at_end(turn)
        number = b.phi(I64)
        number.add_incoming(block, before)
        start = emit.at(codes, (b.mul(number, groups), 64))

        def products(at_once: int) -> Any:
            def group(index: Any, sums: list[Any], first: Any = 0) -> list[Any]:
                grown = list(sums)
                for some in range(at_once):
                    place = b.add(b.mul(index, emit.number(at_once)), emit.number(some))
                    place = b.add(place, first) if first else place
                    at = emit.at(start, (place, 64))
                    emit.prefetch(emit.at(at, (AHEAD, 1)))
                    rows = b.bitcast(b.xor(emit.load(BYTES, at), flip), operand)
                    for vector in range(count):
                        word = emit.load(I32, emit.at(queries, (place, 4 * count), (vector, 4)))
                        spread = b.bitcast(emit.spread(word, WORDS), operand)
                        own = vector * unrolled + some
                        grown[own] = emit.call("llvm.x86.avx512.vpdpbusd.512", WORDS, grown[own], rows, spread)
                return grown

            return group

        sums: list[Any] = []
        for vector in range(count):
            sums += [emit.spread(emit.load(I32, emit.at(biases, (vector, 4))), WORDS)] + [zero] * (unrolled - 1)
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
        rows = Rows16(*(emit.load(FLOATS, emit.at(base, (number, 64))) for base in (scales, errors, terms)))
        found = []
        for query in range(count // DIGITS):
            step, slope, limit = (
                emit.spread(emit.load(F32, emit.at(base, (query, 4))), FLOATS) for base in (steps, slopes, limits)
            )
            product = two_digits(emit, *(b.sitofp(total, FLOATS) for total in totals[2 * query : 2 * query + 2]))
            found.append(rows.kept(emit, product, step, slope, limit))
        some_row = found[0]
        for mask in found[1:]:
            some_row = b.or_(some_row, mask)
        b.cbranch(b.icmp_unsigned("!=", some_row, ir.Constant(I16, 0)), hit, following)
        b.position_at_end(following)
        more = b.add(number, emit.number(1))
        number.add_incoming(more, following)
        b.cbranch(b.icmp_signed("<", more, last), turn, end)
        b.position_at_end(hit)
        for vector, total in enumerate(totals):
            emit.store(total, emit.at(out, (vector, 64)))
        for query, mask in enumerate(found):
            emit.store(b.zext(mask, I32), emit.at(masks, (query, 4)))
        b.branch(end)
        b.position_at_end(end)
        result = b.phi(I64)
        result.add_incoming(number, hit)
        result.add_incoming(last, following)
        return result

    return stream


stream: Any = None
"""The instructions for one width: each compiled scan has its own, so that a first search waits for one."""


def _scan(
    coded: Any, rows: int, first: int, last: int, asked: Any, count: int, digits: int, first_tile: int, last_tile: int,  # noqa: ARG001
    widen: float, allowed: Any, kept: Any, state: Any,
) -> None:  # fmt: skip
    """As scan.SCANS, for a single tile of queries whose width is one of ``WIDTHS``."""
    codes, scales, errors, terms = (
        borrowed(coded.codes), borrowed(coded.scales), borrowed(coded.errors), borrowed(coded.terms)
    )  # fmt: skip
    packed, biases, steps = borrowed(asked.packed), borrowed(asked.biases), borrowed(asked.steps)
    lengths2, query_errors, blurs = borrowed(asked.lengths2), borrowed(asked.errors), borrowed(asked.blurs)
    allowed = borrowed(allowed)
    each = count // digits
    groups = codes.shape[1]
    raw = np.empty(16 * count + 16, dtype=np.int32)
    skip = (-raw.ctypes.data % 64) // 4
    own = (
        raw[skip : skip + 16 * count].reshape(count, 16), np.zeros(each, dtype=np.int32), np.full(each, np.inf),
        np.zeros(each, dtype=np.float32), np.full(each, np.float32(-np.inf), dtype=np.float32), first_marks(each, state),
    )  # fmt: skip
    out, masks = borrowed(own[0]), borrowed(own[1])
    bars, slopes, limits, marks = borrowed(own[2]), borrowed(own[3]), borrowed(own[4]), borrowed(own[5])
    queries = state.counts.shape[0]
    heaps, squares = borrowed(kept.heaps), borrowed(kept.squares)
    ids, counts = borrowed(kept.ids), borrowed(kept.counts)
    ready(kept, asked.far, 0, queries, limits)
    block, end = first * PANEL // 16, min(last * PANEL // 16, (rows + 15) // 16)
    fixed = (
        groups, codes.ctypes.data, packed.ctypes.data, biases.ctypes.data, scales.ctypes.data, errors.ctypes.data,
        terms.ctypes.data, steps.ctypes.data, slopes.ctypes.data, limits.ctypes.data, out.ctypes.data, masks.ctypes.data,
    )  # fmt: skip
    while block < end:
        block = stream(block, end, *fixed)
        if block >= end:
            break
        for query in range(queries):
            if masks[query]:
                admit(
                    np.int64(masks[query]), query, query, query, block * 16, rows, digits, out, scales, errors, terms, lengths2[query],
                    query_errors[query], blurs[query], np.float64(steps[query]) * 0.5, widen, allowed, heaps, squares, ids, counts,
                    marks, bars, slopes, limits,
                )  # fmt: skip
        block += 1
    hand_over(kept, bars, 0, queries, errors, query_errors, blurs, widen, state)
    alive(own)


SCANS = {width: specialised(_scan, f"scan_stream_{width}", stream=_stream(width)) for width in WIDTHS}
"""By query vectors in a tile."""
