"""Rows' byte codes once more, each in one piece with what its bound needs: for the few rows that the plane leaves.

In the order that the scan reads, a row of 384 components lies on 96 cache lines, and looking at one takes 190 ns; in one piece on 7, and 25 ns.
The bound is that of bound.py.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import bounds
from knnscope.certified.cpu.jit import compiled, specialised
from knnscope.certified.cpu.llvm import Emit, T, instructions, ir
from knnscope.certified.cpu.quantise import Coded, aligned
from knnscope.certified.cpu.queries import BASE, EncodedQueries, write
from knnscope.certified.cpu.workers import Workers

HEAD = 16
"""Bytes before a row's codes: s, e and N, float32, and 4 that are not used."""
STEP = 32
"""Codes are padded with zeros to a multiple of it."""
MOST_DIM = 2048
"""Components up to which each of eight sums of products, 127 x 32,258 at most, is half of what fits into int32 (plane.DIMS has no more)."""
AHEAD = 12
"""Rows that are asked for ahead."""


def of(coded: Coded, rows: int, workers: Workers) -> npt.NDArray[np.int8]:
    """Lines of rows: int8, (rows, HEAD and padded codes)."""
    blocks, groups = coded.codes.shape[:2]
    lines = aligned((rows, HEAD + -(-groups * 4 // STEP) * STEP), np.int8, STEP)
    each = -(-blocks // workers.count)
    pieces = [(first, min(first + each, blocks)) for first in range(0, blocks, each)]
    workers.map(partial(_turn_piece, coded, lines), pieces)
    return lines


def _turn_piece(coded: Coded, lines: npt.NDArray[np.int8], piece: tuple[int, int]) -> None:
    _turn(coded, *piece, lines)


@compiled()
def _turn(coded: Any, first: int, last: int, lines: Any) -> None:
    """Write the lines of some blocks."""
    words, sides, to = coded.codes.view(np.int32), lines.view(np.float32), lines.view(np.int32)
    groups, head = coded.codes.shape[1], HEAD // 4
    for block in range(first, last):
        for lane in range(16):
            row = 16 * block + lane
            if row >= lines.shape[0]:
                break
            sides[row, 0], sides[row, 1], sides[row, 2] = coded.scales[row], coded.errors[row], coded.terms[row]
            for group in range(groups):
                to[row, head + group] = words[block, group, lane, 0]
            to[row, head + groups :] = 0


@compiled()
def write_lines(queries: Any, mapping: Any, digits: Any, made: Any) -> None:
    """Queries as lines are asked: both digits in one whole number of 16 bits.

    Args:
        queries: float64, (queries, dim), finite.
        mapping: quantise.Mapping.
        digits: int8, (2 queries, codes of a line), zeros; written over.
        made: EncodedQueries, written; ``packed``: int16, (queries, codes of a line).
    """
    apart = EncodedQueries(
        digits, made.biases, made.steps, made.lengths2, made.errors, made.bases, made.gains, made.blurs, made.far
    )
    write(queries, mapping, 2, apart)
    for number in range(queries.shape[0]):
        for j in range(digits.shape[1]):
            made.packed[number, j] = BASE * np.int64(digits[2 * number, j]) + np.int64(digits[2 * number + 1, j])


@compiled()
def blank(queries: int, width: int) -> Any:
    """EncodedQueries for ``write_lines``, of lines with so many codes."""
    wide, biases = np.empty((queries, width), dtype=np.int16), np.zeros(2 * queries, dtype=np.int32)
    steps, far = np.zeros(queries, dtype=np.float32), np.ones(queries, dtype=np.bool_)
    lengths2, errors, bases, gains, blurs = (
        np.zeros(queries), np.zeros(queries), np.zeros(queries), np.zeros(queries), np.zeros(queries),
    )  # fmt: skip
    return EncodedQueries(wide, biases, steps, lengths2, errors, bases, gains, blurs, far)


@compiled()
def asked(queries: Any, mapping: Any, width: int) -> Any:
    """EncodedQueries of ``write_lines``."""
    made = blank(queries.shape[0], width)
    write_lines(queries, mapping, np.zeros((2 * queries.shape[0], width), dtype=np.int8), made)
    return made


def ask(queries: npt.NDArray[np.float64], mapping: Any, width: int) -> EncodedQueries:
    """As ``asked``, with arrays of Python's."""
    made: EncodedQueries = blank.py_func(len(queries), width)
    write_lines(queries, mapping, np.zeros((2 * len(queries), width), dtype=np.int8), made)
    return made


@instructions
def _dot(emit: Emit, codes: Any, vector: Any, steps: Any) -> Any:
    """vpmaddwd: codes times whole numbers of 16 bits, 32 at a time."""
    b = emit.builder
    bytes_, shorts, ints = ir.VectorType(T.I8, 16), ir.VectorType(T.I16, 16), ir.VectorType(T.I32, 8)

    def step(index: Any, sums: list[Any]) -> list[Any]:
        grown = []
        for half, total in enumerate(sums):
            some = b.sext(emit.load(bytes_, emit.at(codes, (index, STEP), (half, 16))), shorts)
            digits = emit.load(shorts, emit.at(vector, (index, 2 * STEP), (half, 32)))
            grown.append(b.add(total, emit.call("llvm.x86.avx2.pmadd.wd", ints, some, digits)))
        return grown

    both = emit.loop(steps, [ir.Constant(ints, [0] * 8)] * 2, step)
    wide = [b.sext(one, ir.VectorType(T.I64, 8)) for one in both]
    return emit.call("llvm.vector.reduce.add.v8i64", T.I64, b.add(*wide))


dot: Any = None
"""``emitted`` or ``plain``: ``evaluation`` gives each instruction set its own."""


@compiled(inline=True)
def emitted(lines: Any, row: int, asked: Any, number: int) -> int:
    """The product of a row's code with a query's whole numbers."""
    at, width = lines.ctypes.data + row * lines.shape[1] + HEAD, asked.packed.shape[1]
    return _dot(at, asked.packed.ctypes.data + 2 * number * width, width // STEP)


@compiled(inline=True)
def plain(lines: Any, row: int, asked: Any, number: int) -> int:
    """As ``emitted``, in a plain loop."""
    total = np.int64(0)
    for j in range(asked.packed.shape[1]):
        total += np.int64(lines[row, HEAD + j]) * np.int64(asked.packed[number, j])
    return total


@instructions
def ahead(emit: Emit, address: Any, lines: Any) -> None:
    """Ask for cache lines that are read soon."""

    def line(index: Any, _: list[Any]) -> list[Any]:
        emit.prefetch(emit.at(address, (index, 64)))
        return []

    emit.loop(lines, [], line)


@compiled(inline=True)
def ask_ahead(lines: Any, row: int) -> None:
    """Ask for a line that is read soon."""
    ahead(lines.ctypes.data + row * lines.shape[1], (lines.shape[1] + 126) // 64)


def _evaluate(lines: Any, places: Any, count: int, asked: Any, number: int, found: Any) -> None:
    """Bounds of the distances of some rows.

    Args:
        lines: see ``of``.
        places: int64: rows.
        count: how many of them; asked for ahead by the caller, or read as they come.
        asked: EncodedQueries of ``write_lines``.
        number: of the query.
        found: float64, (2, count or more), written: lower and upper bounds.
    """
    sides = lines.view(np.float32)
    e_q, p2, step = asked.errors[number], asked.lengths2[number], np.float64(asked.steps[number]) * 0.5
    for i in range(min(count, AHEAD)):
        ask_ahead(lines, places[i])
    for i in range(count):
        if i + AHEAD < count:
            ask_ahead(lines, places[i + AHEAD])
        row = places[i]
        e, n = np.float64(sides[row, 1]), sides[row, 2]
        whole = np.float64(dot(lines, row, asked, number))
        least, most = bounds.squares(n, e, p2, np.float64(sides[row, 0]) * step * whole)
        found[0, i], found[1, i] = bounds.lower(least, e, e_q), bounds.upper(most, e, e_q)


def evaluation(isa: str) -> Any:
    """``_evaluate`` for an instruction set."""
    return specialised(_evaluate, f"lines_{isa}", dot=plain if isa == "portable" else emitted)
