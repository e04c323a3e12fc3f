"""Sixteen rows at a time on their way into a plane: whole numbers of 16 bits, products with the directions, and four bits of each.

A float32 product would take all of a build's time: one of 16-bit whole numbers takes half as long, is exact, and leaves each result where it is
needed next. Written in LLVM's vectors, one row a lane; the same numbers on every instruction set but for float32 sums, whose rounding
plane_bound.py has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu.compiler import ir
from knnscope.certified.cpu.llvm import Emit, T, instructions

LANES = 16
WIDE = {"avx2": 4, "portable": 4}
"""Directions that are multiplied at once: as many as there are registers for sums (else ``USUAL``)."""
USUAL = 16


def wide(isa: str) -> int:
    """Directions at once for an instruction set."""
    return WIDE.get(isa, USUAL)


def pack(whole: npt.NDArray[np.int16], at_once: int) -> npt.NDArray[np.int32]:
    """Directions, int16, (m, dim), dim even, as the product reads them: int32, (m / at once, dim / 2, at once), two components each."""
    m, dim = whole.shape
    pairs = np.ascontiguousarray(whole).view(np.int32).reshape(m // at_once, at_once, dim // 2)
    return np.ascontiguousarray(pairs.transpose(0, 2, 1))


def _floats(value: float) -> Any:
    return ir.Constant(T.FLOATS, [value] * LANES)


@instructions
def length2(emit: Emit, values: Any, sixteenths: Any, out: Any) -> None:
    """The sum of squares of float32 at an address, so many times 16 of them; written as sixteen sums."""

    def step(index: Any, sums: list[Any]) -> list[Any]:
        some = emit.load(T.FLOATS, emit.at(values, (index, 64)))
        return [emit.builder.fadd(sums[0], emit.builder.fmul(some, some))]

    (total,) = emit.loop(sixteenths, [_floats(0)], step)
    emit.store(total, out)


@instructions
def whole_numbers(emit: Emit, values: Any, factor: Any, sixteenths: Any, out: Any) -> None:
    """Float32 at an address times one at another, to the nearest whole numbers, int16."""
    b = emit.builder
    times = emit.spread(emit.load(T.F32, factor), T.FLOATS)

    def step(index: Any, _: list[Any]) -> list[Any]:
        some = b.fmul(emit.load(T.FLOATS, emit.at(values, (index, 64))), times)
        near = emit.call("llvm.rint.v16f32", T.FLOATS, some)
        short = b.trunc(b.fptosi(near, T.WORDS), ir.VectorType(T.I16, LANES))
        emit.store(short, emit.at(out, (index, 32)))
        return []

    emit.loop(sixteenths, [], step)


@instructions
def turned(emit: Emit, rows: Any, pairs: Any, out: Any) -> None:
    """Words of 16 rows, so many times 16 of each, a row after the other: word by word instead, 16 rows of each."""
    b = emit.builder

    def shuffled(one: Any, other: Any, places: list[int]) -> Any:
        return b.shuffle_vector(one, other, ir.Constant(T.WORDS, places))

    def step(index: Any, _: list[Any]) -> list[Any]:
        lines = [
            emit.load(T.WORDS, emit.at(b.add(rows, b.mul(pairs, emit.number(4 * lane))), (index, 64)))
            for lane in range(LANES)
        ]
        for bit in (8, 4, 2, 1):
            low = [p if not p & bit else 16 + (p ^ bit) for p in range(16)]
            high = [(p ^ bit) if not p & bit else 16 + p for p in range(16)]
            for one in range(LANES):
                if not one & bit:
                    a, c = lines[one], lines[one | bit]
                    lines[one], lines[one | bit] = shuffled(a, c, low), shuffled(a, c, high)
        for place, line in enumerate(lines):
            emit.store(line, emit.at(out, (index, 1024), (place, 64)))
        return []

    emit.loop(b.sdiv(pairs, emit.number(16)), [], step)


Step = Callable[[Emit, Any, list[Any], list[Any]], list[Any]]


def _avx512(emit: Emit, rows: Any, words: list[Any], sums: list[Any]) -> list[Any]:
    b, shorts = emit.builder, ir.VectorType(T.I16, 32)
    x = b.bitcast(emit.load(T.WORDS, rows), shorts)
    products = [
        emit.call("llvm.x86.avx512.pmaddw.d.512", T.WORDS, x, b.bitcast(emit.spread(word, T.WORDS), shorts))
        for word in words
    ]
    return [b.add(one, more) for one, more in zip(sums, products, strict=True)]


def _avx2(emit: Emit, rows: Any, words: list[Any], sums: list[Any]) -> list[Any]:
    b, shorts, ints = emit.builder, ir.VectorType(T.I16, 16), ir.VectorType(T.I32, 8)
    halves = [b.bitcast(emit.load(ints, emit.at(rows, (half, 32))), shorts) for half in range(2)]
    grown = []
    for place, word in enumerate(words):
        spread = b.bitcast(emit.spread(word, ints), shorts)
        for half, x in enumerate(halves):
            grown.append(b.add(sums[2 * place + half], emit.call("llvm.x86.avx2.pmadd.wd", ints, x, spread)))
    return grown


def _portable(emit: Emit, rows: Any, words: list[Any], sums: list[Any]) -> list[Any]:
    b = emit.builder
    half = ir.Constant(T.WORDS, [16] * LANES)

    def both(word: Any) -> tuple[Any, Any]:
        return b.ashr(b.shl(word, half), half), b.ashr(word, half)

    low, high = both(emit.load(T.WORDS, rows))
    grown = []
    for one, word in zip(sums, words, strict=True):
        first, second = both(emit.spread(word, T.WORDS))
        grown.append(b.add(one, b.add(b.mul(low, first), b.mul(high, second))))
    return grown


def products(isa: str) -> Any:
    """Products of 16 rows with directions, by the instructions of a set."""
    at_once = wide(isa)
    step: Step = {"avx2": _avx2, "portable": _portable}.get(isa, _avx512)

    @instructions
    def product(emit: Emit, rows: Any, directions: Any, sizes: Any, out: Any) -> None:
        """Whole numbers, int32.

        Args:
            emit: where.
            rows: address, as ``turned`` writes them.
            directions: address, as ``pack`` gives them.
            sizes: pairs of components; how many times ``wide`` directions there are.
            out: address of int32, (directions, 16), written.
        """
        b = emit.builder
        pairs, groups = sizes
        lanes = 8 if isa == "avx2" else LANES
        zero = ir.Constant(ir.VectorType(T.I32, lanes), [0] * lanes)
        registers = at_once * LANES // lanes

        def group(index: Any, _: list[Any]) -> list[Any]:
            base = b.add(directions, b.mul(index, b.mul(pairs, emit.number(4 * at_once))))

            def pair(place: Any, sums: list[Any]) -> list[Any]:
                words = [
                    emit.load(T.I32, emit.at(base, (place, 4 * at_once), (number, 4))) for number in range(at_once)
                ]
                return step(emit, emit.at(rows, (place, 64)), words, sums)

            sums = emit.loop(pairs, [zero] * registers, pair)
            for number, one in enumerate(sums):
                emit.store(one, emit.at(out, (index, 64 * at_once), (number, 4 * lanes)))
            return []

        emit.loop(groups, [], group)

    return product


@instructions
def measured(emit: Emit, sums: Any, m: Any, backs: Any, out: Any) -> None:
    """Whole numbers, int32, (m, 16), times a float32 of each row, written over them as float32; and the sixteen sums of their squares."""
    b = emit.builder
    back = emit.load(T.FLOATS, backs)

    def step(index: Any, carried: list[Any]) -> list[Any]:
        at = emit.at(sums, (index, 64))
        z = b.fmul(b.sitofp(emit.load(T.WORDS, at), T.FLOATS), back)
        emit.store(z, at)
        return [b.fadd(carried[0], b.fmul(z, z))]

    (total,) = emit.loop(m, [_floats(0)], step)
    emit.store(total, out)


def _level(emit: Emit, z: Any, inverse: Any) -> Any:
    """C of plane_bound.py, 0 to 15, as float32."""
    b = emit.builder
    value = emit.call("llvm.floor.v16f32", T.FLOATS, b.fadd(b.fmul(z, inverse), _floats(8)))
    value = b.select(b.fcmp_ordered(">", value, _floats(0)), value, _floats(0))
    return b.select(b.fcmp_ordered("<", value, _floats(15)), value, _floats(15))


@instructions
def fitted(emit: Emit, z: Any, m: Any, inverses: Any, out: Any) -> None:
    """Sums over components, float32, (2, 16): of levels less 7.5 times the component, and of their squares."""
    b = emit.builder
    inverse = emit.load(T.FLOATS, inverses)

    def step(index: Any, carried: list[Any]) -> list[Any]:
        some = emit.load(T.FLOATS, emit.at(z, (index, 64)))
        level = b.fsub(_level(emit, some, inverse), _floats(7.5))
        return [b.fadd(carried[0], b.fmul(level, some)), b.fadd(carried[1], b.fmul(level, level))]

    for place, total in enumerate(emit.loop(m, [_floats(0)] * 2, step)):
        emit.store(total, emit.at(out, (place, 64)))


@instructions
def written(emit: Emit, z: Any, groups: Any, steps: Any, words: Any, out: Any) -> None:
    """Levels as a plane has them.

    Args:
        emit: where.
        z: address of float32, (8 groups, 16).
        groups: see above.
        steps: addresses of float32, (16,): of each row, and one over it.
        words: address of a block, written.
        out: address of float32, (2, 16), written: sums of squares of what the levels miss, and of levels less 7.5 (these are exact).
    """
    b = emit.builder
    step, inverse = (emit.load(T.FLOATS, at) for at in steps)
    other = b.mul(groups, emit.number(4 * 64))

    def group(index: Any, carried: list[Any]) -> list[Any]:
        missed, squares = carried
        word = None
        for byte in range(4):
            for half in range(2):
                at = emit.at(b.add(z, other) if half else z, (index, 256), (byte, 64))
                some = emit.load(T.FLOATS, at)
                level = _level(emit, some, inverse)
                code = b.fptosi(level, T.WORDS)
                if byte or half:
                    code = b.shl(code, ir.Constant(T.WORDS, [8 * byte + 4 * half] * LANES))
                word = code if word is None else b.or_(word, code)
                apart = b.fsub(level, _floats(7.5))
                rest = b.fsub(some, b.fmul(step, apart))  # the product is exact: 11 digits of the step, 5 of the level
                missed, squares = b.fadd(missed, b.fmul(rest, rest)), b.fadd(squares, b.fmul(apart, apart))
        emit.store(word, emit.at(words, (index, 64)))
        return [missed, squares]

    for place, total in enumerate(emit.loop(groups, [_floats(0)] * 2, group)):
        emit.store(total, emit.at(out, (place, 64)))
