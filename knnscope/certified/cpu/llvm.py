"""Few words for writing LLVM instructions: vectors at addresses, loops with carried values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from knnscope.certified.cpu.compiler import ir, numbers


class _Types:
    """Types of registers: whole numbers and floats of so many bits, and what a register of 64 bytes holds."""

    I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
    F32, F64, POINTER = ir.FLOAT, ir.DOUBLE, ir.POINTER
    WORDS, BYTES, FLOATS = (ir.VectorType(*of) for of in ((I32, 16), (I8, 64), (F32, 16)))
    HALVES = ir.VectorType(ir.HALF, 16)

    @cached_property
    def OPERAND(self) -> Any:  # noqa: N802
        """Of a product of bytes; LLVM is asked when something is written: who finds all compiled goes without it, which takes 40 MB."""
        import llvmlite.binding as llvm

        return self.WORDS if llvm.llvm_version_info[0] < 21 else self.BYTES


T = _Types()


class Emit:
    """Writes instructions at a builder's place."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def number(self, value: int, type_: Any = None) -> Any:
        """A constant, of 64 bits if nothing else is said."""
        return ir.Constant(type_ or T.I64, value)

    def at(self, base: Any, *steps: tuple[Any, int]) -> Any:
        """An address: base plus each index times its size in bytes."""
        for index, size in steps:
            if not isinstance(index, int):
                base = self.builder.add(base, self.builder.mul(index, self.number(size)))
            elif index:
                base = self.builder.add(base, self.number(index * size))
        return base

    def pointer(self, address: Any) -> Any:
        """The address as a pointer."""
        return self.builder.inttoptr(address, T.POINTER)

    def load(self, type_: Any, address: Any) -> Any:
        """A value; no alignment is assumed."""
        return self.builder.load(self.pointer(address), type_, align=1)

    def store(self, value: Any, address: Any) -> None:
        """Write a value."""
        self.builder.store(value, self.pointer(address), align=1)

    def spread(self, value: Any, type_: Any) -> Any:
        """The same value in every lane."""
        empty = ir.Constant(type_, ir.Undefined)
        one = self.builder.insert_element(empty, value, ir.Constant(T.I32, 0))
        return self.builder.shuffle_vector(
            one, empty, ir.Constant(ir.VectorType(T.I32, type_.count), [0] * type_.count)
        )

    def prefetch(self, address: Any) -> None:
        """Ask for a cache line that is read soon; any address will do."""
        self.call("llvm.prefetch.p0", ir.VOID, self.pointer(address), *(ir.Constant(T.I32, n) for n in (0, 2, 1)))

    def call(self, name: str, result: Any, *args: Any) -> Any:
        """An LLVM intrinsic."""
        return numbers.call(self.builder, name, result, *args)

    def loop(self, count: Any, carried: Sequence[Any], body: Callable[[Any, list[Any]], Sequence[Any]]) -> list[Any]:
        """Run ``body(index, values)`` ``count`` times; it returns the values of the next turn."""
        before, head, turn, after = (
            self.builder.block,
            *(self.builder.append_basic_block(name) for name in ("head", "turn", "after")),
        )
        self.builder.branch(head)
        self.builder.position_at_end(head)
        index = self.builder.phi(T.I64)
        index.add_incoming(self.number(0), before)
        values = [self.builder.phi(value.type) for value in carried]
        for phi, value in zip(values, carried, strict=True):
            phi.add_incoming(value, before)
        self.builder.cbranch(self.builder.icmp_signed("<", index, count), turn, after)
        self.builder.position_at_end(turn)
        following = body(index, list(values))
        step = self.builder.add(index, self.number(1))
        end = self.builder.block
        self.builder.branch(head)
        index.add_incoming(step, end)
        for phi, value in zip(values, following, strict=True):
            phi.add_incoming(value, end)
        self.builder.position_at_end(after)
        return list(values)

    def set_bits(self, bits: Any, carried: Sequence[Any], body: Callable[[Any, list[Any]], Sequence[Any]]) -> list[Any]:
        """A loop over the bits that are set in a number, from the lowest on; ``body`` of the place of each and of what is carried, as ``loop``."""
        b, before = self.builder, self.builder.block
        turn, after = b.append_basic_block("turn"), b.append_basic_block("after")
        none, one = (ir.Constant(bits.type, value) for value in (0, 1))
        b.cbranch(b.icmp_unsigned("!=", bits, none), turn, after)
        b.position_at_end(turn)
        left, values = b.phi(bits.type), [b.phi(value.type) for value in carried]
        place = self.call("llvm.cttz.i64", T.I64, b.zext(left, T.I64), self.number(1, ir.IntType(1)))
        following = body(place, list(values))
        fewer, end = b.and_(left, b.sub(left, one)), b.block
        b.cbranch(b.icmp_unsigned("!=", fewer, none), turn, after)
        b.position_at_end(after)
        ended = [b.phi(value.type) for value in carried]
        for phi, first, then in ((left, bits, fewer), *zip(values, carried, following, strict=True)):
            phi.add_incoming(first, before)
            phi.add_incoming(then, end)
        for phi, first, then in zip(ended, carried, following, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(then, end)
        return ended


class Instructions:
    """A function of 64-bit whole numbers and tuples of them, given as lists, for compiled code."""

    def __init__(self, write: Callable[..., Any]) -> None:
        self._write, self.__name__, self.__doc__ = write, write.__name__, write.__doc__

    def writes(self, builder: Any, given: Sequence[Any]) -> Any:
        """Its instructions; the register of what it gives, or None."""
        return self._write(Emit(builder), *given)


def instructions(write: Callable[..., Any]) -> Any:
    """A decorator: a function of compiled code, from a writer ``(emit, *arguments)`` of its instructions."""
    return Instructions(write)


@instructions
def trailing_zeros(emit: Emit, value: Any) -> Any:
    """Place of the lowest bit that is set."""
    return emit.call("llvm.cttz.i64", T.I64, value, emit.number(1, ir.IntType(1)))


class Rows16(NamedTuple):
    """s, e and N of bound.py for 16 rows, in registers."""

    scales: Any
    errors: Any
    terms: Any

    def kept(self, emit: Emit, product: Any, step: Any, slope: Any, limit: Any) -> Any:
        """16 bits: rows with N - (s step) f - C e <= V, the test of bound.py, for a query's f, 2 t, C and V."""
        b = emit.builder
        value = emit.call("llvm.fmuladd.v16f32", T.FLOATS, b.fneg(b.fmul(self.scales, step)), product, self.terms)
        value = emit.call("llvm.fmuladd.v16f32", T.FLOATS, b.fneg(slope), self.errors, value)
        return b.bitcast(b.fcmp_ordered("<=", value, limit), T.I16)


def two_digits(emit: Emit, high: Any, low: Any) -> Any:
    """254 high + low of 16 rows, rounded once to float32."""
    return emit.call("llvm.fmuladd.v16f32", T.FLOATS, high, ir.Constant(T.FLOATS, [254.0] * 16), low)


@instructions
def excluded(emit: Emit, products: Any, rows: Any, queries: Any, masks: Any) -> Any:
    """Test 32 rows against the queries of a tile; the same for every instruction set.

    For each query a mask of 32 bits: rows that the bound cannot exclude. Returns which queries have any, a bit for each.

    Args:
        emit: where.
        products: address of the products, query vectors in the tile, 1 or 2 of them for each query.
        rows: addresses of s, e and N.
        queries: addresses of 2 t, C and V.
        masks: address, written.
    """
    b = emit.builder
    (out, vectors, digits), (steps, slopes, limits) = products, queries
    halves = [Rows16(*(emit.load(T.FLOATS, emit.at(base, (half, 64))) for base in rows)) for half in range(2)]
    two = b.icmp_signed("==", digits, emit.number(2))

    def query(index: Any, values: list[Any]) -> list[Any]:
        step = emit.spread(emit.load(T.F32, emit.at(steps, (index, 4))), T.FLOATS)
        slope = emit.spread(emit.load(T.F32, emit.at(slopes, (index, 4))), T.FLOATS)
        limit = emit.spread(emit.load(T.F32, emit.at(limits, (index, 4))), T.FLOATS)
        place = emit.at(out, (b.mul(index, digits), 128))
        found = []
        for half, rows in enumerate(halves):
            high = b.sitofp(emit.load(T.WORDS, emit.at(place, (half, 64))), T.FLOATS)
            # where there is one digit, this reads the same line again and is not used
            low_at = b.select(two, emit.at(place, (128 + 64 * half, 1)), emit.at(place, (half, 64)))
            low = b.sitofp(emit.load(T.WORDS, low_at), T.FLOATS)
            product = b.select(two, two_digits(emit, high, low), high)
            found.append(b.zext(rows.kept(emit, product, step, slope, limit), T.I32))
        mask = b.or_(found[0], b.shl(found[1], ir.Constant(T.I32, 16)))
        emit.store(mask, emit.at(masks, (index, 4)))
        any_row = b.zext(b.icmp_unsigned("!=", mask, ir.Constant(T.I32, 0)), T.I64)
        return [b.or_(values[0], b.shl(any_row, index))]

    count = b.select(two, b.ashr(vectors, emit.number(1)), vectors)
    (some,) = emit.loop(count, [emit.number(0)], query)
    return some
