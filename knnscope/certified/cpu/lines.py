"""Byte codes row after row, each in one piece with what its bound needs: for the few rows that the plane leaves.

In the order that the scan reads, a row of 384 components lies on 96 cache lines, and looking at one takes 190 ns; in one piece on 7, and 25 ns.
The bound is that of bound.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import bounds
from knnscope.certified.cpu.compiler import ir
from knnscope.certified.cpu.jit import compiled, specialised
from knnscope.certified.cpu.llvm import Emit, T, instructions
from knnscope.certified.cpu.quantise import PANEL, TILE_BYTES, Coded, Codes, Quantiser, aligned, new_coded
from knnscope.certified.cpu.queries import BASE, EncodedQueries, write
from knnscope.certified.cpu.workers import Workers

HEAD = 16
"""Bytes before a row's codes: s, e and N, float32, and 4 that are not used."""
STEP = 64
"""Codes are padded with zeros to a multiple of it."""
MOST_DIM = 2048
"""Components up to which each of eight sums of products, 127 x 32,258 at most, is half of what fits into int32 (plane.DIMS has no more)."""
AHEAD = 12
"""Rows that are asked for ahead."""
FOUR = 4
"""Rows that are multiplied at once."""


def nbytes(rows: int, dim: int) -> int:
    """Bytes of lines of so many rows, and of what belongs to rows as a whole."""
    return rows * (HEAD + -(-dim // STEP) * STEP) + 12 * -(-rows // PANEL) * PANEL


class Writing:
    """Byte codes that are written row after row, some rows at a time, by several threads.

    lines: int8, (rows, HEAD and padded codes). coded: bounds of all rows.
    """

    def __init__(self, shape: tuple[int, int], quantiser: Quantiser) -> None:
        """Room for rows of this shape."""
        rows, dim = shape
        self._quantiser, self._groups = quantiser, -(-dim // 4)
        self.lines = aligned((rows, HEAD + -(-self._groups * 4 // STEP) * STEP), np.int8, STEP)
        self.coded = new_coded(rows, dim, in_order=False)

    def write(self, some: npt.NDArray[Any], first: int) -> bool:
        """Write rows from ``first``, a multiple of 16, on; False as ``Quantiser.write``."""
        last = -(-(first + len(some)) // 16) * 16
        blocks = np.empty(((last - first) // 16, self._groups, 16, 4), np.int8)  # that stay in the caches
        _, scales, errors, terms = self.coded
        own = Coded(blocks, scales[first:last], errors[first:last], terms[first:last])
        done = self._quantiser.write(some, 0, own)
        _turn(own, self.lines[first : first + len(some)])
        return done

    def codes(self) -> Codes:
        """What belongs to rows as a whole, all of them written."""
        return self._quantiser.codes(len(self.lines), self.coded)


@compiled()
def _turn(coded: Any, lines: Any) -> None:
    """Write lines of blocks."""
    words, sides, to = coded.codes.view(np.int32), lines.view(np.float32), lines.view(np.int32)
    groups, head = coded.codes.shape[1], HEAD // 4
    for block in range(coded.codes.shape[0]):
        for lane in range(16):
            row = 16 * block + lane
            if row >= lines.shape[0]:
                break
            sides[row, 0], sides[row, 1], sides[row, 2] = coded.scales[row], coded.errors[row], coded.terms[row]
            to[row, 3] = 0
            for group in range(groups):
                to[row, head + group] = words[block, group, lane, 0]
            to[row, head + groups :] = 0


def in_blocks(lines: npt.NDArray[np.int8], codes: Codes, workers: Workers) -> Codes:
    """Codes in the order of a scan, from lines."""
    groups, padded = codes.coded.codes.shape[1], len(codes.coded.scales)
    blocks = aligned((padded // 16, groups, 16, 4), np.int8, TILE_BYTES)
    each = -(-len(blocks) // workers.count)
    pieces = [(first, min(first + each, len(blocks))) for first in range(0, len(blocks), each)]
    workers.map(partial(_turn_back_piece, lines, blocks), pieces)
    return replace(codes, coded=codes.coded._replace(codes=blocks))


def _turn_back_piece(lines: npt.NDArray[np.int8], blocks: npt.NDArray[np.int8], piece: tuple[int, int]) -> None:
    _turn_back(lines, *piece, blocks)


@compiled()
def _turn_back(lines: Any, first: int, last: int, blocks: Any) -> None:
    """Write some blocks, with zeros for rows that there are not."""
    words, given, head = blocks.view(np.int32), lines.view(np.int32), HEAD // 4
    for block in range(first, last):
        for lane in range(16):
            row = 16 * block + lane
            for group in range(words.shape[1]):
                words[block, group, lane, 0] = given[row, head + group] if row < lines.shape[0] else 0


@compiled(apart=True)
def write_lines(queries: Any, mapping: Any, digits: Any, made: Any) -> None:
    """Queries as lines are asked: both digits in one whole number of 16 bits.

    Args:
        queries: float64, (queries, dim), finite.
        mapping: quantise.Mapping.
        digits: int8, (2 queries, codes of a line), zeros; written over.
        made: EncodedQueries, written; ``packed``: int16, (queries, codes of a line).
    """
    count, width = digits.shape
    apart = EncodedQueries(
        digits.reshape(count, 1, 1, width), made.biases.reshape(count, 1),
        made.steps, made.lengths2, made.errors, made.bases, made.gains, made.blurs, made.far,
    )  # fmt: skip
    write(queries, mapping, 2, apart, (0, queries.shape[0]))
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


def _dot(shorts: int, product: str) -> Any:
    @instructions
    def dot(emit: Emit, codes: Any, vector: Any, steps: Any, then: Any) -> Any:
        """vpmaddwd: codes times whole numbers of 16 bits, ``STEP`` at a time; meanwhile lines from address ``then`` on are asked for."""
        (total,) = _sums(emit, (codes,), vector, steps, (then,))
        longer = emit.builder.sext(total, ir.VectorType(T.I64, total.type.count))
        return emit.call(f"llvm.vector.reduce.add.v{total.type.count}i64", T.I64, longer)

    def _sums(emit: Emit, codes: Any, vector: Any, steps: Any, thens: Any) -> list[Any]:
        """As many sums of each line as a register holds; with few lines several at a time, so that none waits for the one before."""
        b, at_once, rows = emit.builder, STEP // shorts, len(codes)
        bytes_, wide, ints = (ir.VectorType(*of) for of in ((T.I8, shorts), (T.I16, shorts), (T.I32, shorts // 2)))
        chains = at_once if rows == 1 else 1

        def step(index: Any, sums: list[Any]) -> list[Any]:
            grown = list(sums)
            for then in thens:
                emit.prefetch(emit.at(then, (index, STEP)))
            for some in range(at_once):
                digits = emit.load(wide, emit.at(vector, (index, 2 * STEP), (some, 2 * shorts)))
                for row, code in enumerate(codes):
                    own = b.sext(emit.load(bytes_, emit.at(code, (index, STEP), (some, shorts))), wide)
                    place = row * chains + some % chains
                    grown[place] = b.add(grown[place], emit.call(product, ints, own, digits))
            return grown

        ended = emit.loop(steps, [ir.Constant(ints, [0] * (shorts // 2))] * (rows * chains), step)
        for then in thens:
            emit.prefetch(emit.at(then, (steps, STEP)))
        found = []
        for row in range(rows):
            whole = ended[row * chains]
            for one in ended[row * chains + 1 : (row + 1) * chains]:
                whole = b.add(whole, one)
            found.append(whole)
        return found

    @instructions
    def dot_four(emit: Emit, codes: Any, vector: Any, steps: Any, thens: Any, out: Any) -> None:
        """The same of four lines at once, which share what is read of the query; written as float64, which holds them all."""
        b, parts = emit.builder, []
        for total in _sums(emit, codes, vector, steps, thens):
            part = b.sitofp(total, ir.VectorType(T.F64, total.type.count))
            while part.type.count > FOUR:
                half = part.type.count // 2
                part = b.fadd(_picked(b, part, part, range(half)), _picked(b, part, part, range(half, 2 * half)))
            parts.append(part)
        pairs = [
            b.fadd(_picked(b, one, other, (0, 4, 2, 6)), _picked(b, one, other, (1, 5, 3, 7)))
            for one, other in (parts[:2], parts[2:])
        ]
        one, other = pairs
        emit.store(b.fadd(_picked(b, one, other, (0, 1, 4, 5)), _picked(b, one, other, (2, 3, 6, 7))), out)

    return dot, dot_four


def _picked(builder: Any, one: Any, other: Any, places: Iterable[int]) -> Any:
    chosen = list(places)
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(T.I32, len(chosen)), chosen))


_dots = {"avx2": _dot(16, "llvm.x86.avx2.pmadd.wd"), "vnni": _dot(32, "llvm.x86.avx512.pmaddw.d.512")}
dot: Any = None
dot_four: Any = None
"""One of them, or ``_plain`` and ``_plain_four``: ``product`` gives each instruction set its own."""


@instructions
def _byte(emit: Emit, at: Any) -> Any:
    return emit.builder.sext(emit.load(T.I8, at), T.I64)


@instructions
def _short(emit: Emit, at: Any) -> Any:
    return emit.builder.sext(emit.load(T.I16, at), T.I64)


@compiled(inline=True, unrolled=True)
def _plain(codes: int, vector: int, steps: int, then: int) -> int:  # noqa: ARG001
    """As ``_dot``, in a plain loop."""
    total = 0
    for j in range(steps * STEP):
        total += _byte(codes + j) * _short(vector + 2 * j)
    return total


@compiled(inline=True)
def _plain_four(codes: Any, vector: int, steps: int, thens: Any, out: int) -> None:
    """Likewise."""
    (a, b, c, d), (e, f, g, h) = codes, thens
    _put(_plain(a, vector, steps, e), out)
    _put(_plain(b, vector, steps, f), out + 8)
    _put(_plain(c, vector, steps, g), out + 16)
    _put(_plain(d, vector, steps, h), out + 24)


@instructions
def _put(emit: Emit, whole: Any, at: Any) -> None:
    emit.store(emit.builder.sitofp(whole, T.F64), at)


@instructions
def ahead(emit: Emit, address: Any, lines: Any) -> None:
    """Ask for cache lines that are read soon."""

    def line(index: Any, _: list[Any]) -> list[Any]:
        emit.prefetch(emit.at(address, (index, 64)))
        return []

    emit.loop(lines, [], line)


@compiled(inline=True)
def ask_ahead(lines: Any, row: int) -> None:
    """Ask for a line, or a row, that is read soon."""
    size = lines.shape[1] * lines.itemsize
    ahead(lines.ctypes.data + row * size, (size + 126) // 64)


def _evaluate(lines: Any, places: Any, count: int, asked: Any, number: int, found: Any) -> None:
    """Bounds of the distances of some rows.

    Args:
        lines: see ``of``.
        places: int64: rows.
        count: how many of them.
        asked: EncodedQueries of ``write_lines``.
        number: of the query.
        found: float64, (5, count or more), written: lower and upper bounds, then what they are made of; of the products, ``found[2]``, four at a time,
            as far as there is room.
    """
    sides = lines.view(np.float32)
    e_q, p2, step = asked.errors[number], asked.lengths2[number], np.float64(asked.steps[number]) * 0.5
    base, stride, width = lines.ctypes.data, lines.shape[1], asked.packed.shape[1]
    vector = asked.packed.ctypes.data + 2 * number * width
    for i in range(min(count, AHEAD)):
        ask_ahead(lines, places[i])
    last, begin = count - 1, base + HEAD
    whole = count // FOUR * FOUR
    if count - whole > 1 and whole + FOUR <= found.shape[1]:  # less than one after another
        whole += FOUR
    for first in range(0, whole, FOUR):
        a, b, c, d = (
            places[first],
            places[min(first + 1, last)],
            places[min(first + 2, last)],
            places[min(first + 3, last)],
        )
        then = first + AHEAD
        e, f, g, h = (
            places[min(then, last)],
            places[min(then + 1, last)],
            places[min(then + 2, last)],
            places[min(then + 3, last)],
        )
        dot_four(
            (begin + a * stride, begin + b * stride, begin + c * stride, begin + d * stride), vector, width // STEP,
            (base + e * stride, base + f * stride, base + g * stride, base + h * stride), found.ctypes.data + 8 * (2 * found.shape[1] + first),
        )  # fmt: skip
    for i in range(whole, count):
        found[2, i] = np.float64(
            dot(begin + places[i] * stride, vector, width // STEP, base + places[min(i + AHEAD, last)] * stride)
        )
    for i in range(count):
        row = places[i]
        found[2, i] *= np.float64(sides[row, 0]) * step
        found[3, i], found[4, i] = sides[row, 1], sides[row, 2]
    for i in range(count):  # roots and quotients of several rows at once
        least, most = bounds.squares(found[4, i], found[3, i], p2, found[2, i])
        found[0, i], found[1, i] = bounds.lower(least, found[3, i], e_q), bounds.upper(most, found[3, i], e_q)


def product(isa: str) -> tuple[Any, Any]:
    """Codes of a line, and of four, times a query, for an instruction set."""
    return _dots.get(isa, (_plain, _plain_four))


def evaluation(isa: str, ahead: int = AHEAD) -> Any:
    """``_evaluate`` for an instruction set, which asks for so many lines ahead."""
    one, some = product(isa)
    return specialised(
        _evaluate, f"lines_{isa}_{ahead}", apart=True, unrolled=True, dot=one, dot_four=some, AHEAD=ahead
    )
