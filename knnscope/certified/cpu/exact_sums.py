"""Sums of sixteen rows side by side, each in the order of the definition (search/definition.py): one IEEE operation after the other, none fused.

Float32 rows in one piece are read 8 rows x 8 components at a time and turned over in registers, so that each row keeps the order of its
additions in a lane of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from knnscope.certified.cpu.compiler import ir
from knnscope.certified.cpu.jit import compiled
from knnscope.certified.cpu.llvm import Emit, T, instructions
from knnscope.certified.cpu.values import value

TOGETHER = 16
"""Rows whose sums grow side by side: one sum alone waits for its own additions."""
DIFFERENCES, PRODUCTS, SQUARES = 0, 1, 2
"""What is added up: (x - q)^2, x q, x^2."""


def _turned(emit: Emit, rows: list[Any]) -> list[Any]:
    """Eight vectors of eight components as eight columns, by three rounds of shuffles."""

    def shuffle(a: Any, b: Any, order: list[int]) -> Any:
        return emit.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(T.I32, 8), order))

    pairs = []
    for i in range(0, 8, 2):
        pairs.append(shuffle(rows[i], rows[i + 1], [0, 8, 1, 9, 4, 12, 5, 13]))
        pairs.append(shuffle(rows[i], rows[i + 1], [2, 10, 3, 11, 6, 14, 7, 15]))
    fours = []
    for i in (0, 1, 4, 5):
        fours.append(shuffle(pairs[i], pairs[i + 2], [0, 1, 8, 9, 4, 5, 12, 13]))
        fours.append(shuffle(pairs[i], pairs[i + 2], [2, 3, 10, 11, 6, 7, 14, 15]))
    low = [shuffle(fours[i], fours[i + 4], [0, 1, 2, 3, 8, 9, 10, 11]) for i in range(4)]
    return low + [shuffle(fours[i], fours[i + 4], [4, 5, 6, 7, 12, 13, 14, 15]) for i in range(4)]


def _sums(what: int) -> Any:
    @instructions
    def sixteen(emit: Emit, addresses: Any, query: Any, eighths: Any, out: Any) -> None:
        """Sums of 16 rows, whose addresses lie one after another, over the first ``eighths`` times 8 components."""
        b, narrow, wide = emit.builder, ir.VectorType(T.F32, 8), ir.VectorType(T.F64, 8)
        rows = [emit.load(T.I64, emit.at(addresses, (i, 8))) for i in range(TOGETHER)]

        def eight(index: Any, sums: list[Any]) -> list[Any]:
            grown = []
            for half, total in enumerate(sums):
                some = [emit.load(narrow, emit.at(row, (index, 32))) for row in rows[8 * half : 8 * half + 8]]
                for j, column in enumerate(_turned(emit, some)):
                    x = b.fpext(column, wide)
                    q = emit.spread(emit.load(T.F64, emit.at(query, (index, 64), (j, 8))), wide)
                    if what == DIFFERENCES:
                        x = q = b.fsub(x, q)
                    elif what == SQUARES:
                        q = x
                    total = b.fadd(total, b.fmul(x, q))
                grown.append(total)
            return grown

        sums = emit.loop(eighths, [ir.Constant(wide, [0.0] * 8)] * 2, eight)
        for half, total in enumerate(sums):
            emit.store(total, emit.at(out, (half, 64)))

    return sixteen


_differences, _products, _squares = (_sums(what) for what in (DIFFERENCES, PRODUCTS, SQUARES))


@compiled()
def sums(rows: Any, places: Any, query: Any, what: int, addresses: Any, out: Any) -> None:
    """Add up what is asked, in order, for 16 rows.

    Args:
        rows: as ``values.value`` reads them.
        places: int64, (16,).
        query: float64, (dim,).
        what: one of DIFFERENCES, PRODUCTS, SQUARES.
        addresses: int64, (16,), room to work in.
        out: float64, (16,), written.
    """
    dim = query.shape[0]
    done = 0
    out[:] = 0.0
    if rows.dtype == np.float32 and rows.layout == "C" and dim >= 8:
        done = dim // 8 * 8
        for i in range(TOGETHER):
            addresses[i] = rows.ctypes.data + places[i] * dim * 4
        if what == DIFFERENCES:
            _differences(addresses.ctypes.data, query.ctypes.data, dim // 8, out.ctypes.data)
        elif what == PRODUCTS:
            _products(addresses.ctypes.data, query.ctypes.data, dim // 8, out.ctypes.data)
        else:
            _squares(addresses.ctypes.data, query.ctypes.data, dim // 8, out.ctypes.data)
    for first in range(0, TOGETHER, 4):
        a, b, c, d = places[first], places[first + 1], places[first + 2], places[first + 3]
        s0, s1, s2, s3 = out[first], out[first + 1], out[first + 2], out[first + 3]
        for j in range(done, dim):
            q = query[j]
            x0, x1, x2, x3 = value(rows, a, j), value(rows, b, j), value(rows, c, j), value(rows, d, j)
            if what == DIFFERENCES:
                x0, x1, x2, x3 = x0 - q, x1 - q, x2 - q, x3 - q
            if what == PRODUCTS:
                s0, s1, s2, s3 = s0 + x0 * q, s1 + x1 * q, s2 + x2 * q, s3 + x3 * q
            else:
                s0, s1, s2, s3 = s0 + x0 * x0, s1 + x1 * x1, s2 + x2 * x2, s3 + x3 * x3
        out[first], out[first + 1], out[first + 2], out[first + 3] = s0, s1, s2, s3
