"""Few words for writing LLVM instructions: vectors at addresses, loops with carried values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

I8, I16, I32, I64 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
F32, F64 = ir.FloatType(), ir.DoubleType()
WORDS = ir.VectorType(I32, 16)
BYTES = ir.VectorType(I8, 64)
FLOATS = ir.VectorType(F32, 16)


class Emit:
    """Writes instructions at a builder's place."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def number(self, value: int, kind: Any = I64) -> Any:
        """A constant."""
        return ir.Constant(kind, value)

    def at(self, base: Any, *steps: tuple[Any, int]) -> Any:
        """An address: base plus each index times its size in bytes."""
        for index, size in steps:
            place = self.number(index) if isinstance(index, int) else index
            base = self.builder.add(base, self.builder.mul(place, self.number(size)))
        return base

    def pointer(self, kind: Any, address: Any) -> Any:
        """The address as a pointer."""
        return self.builder.inttoptr(address, ir.PointerType(kind))

    def load(self, kind: Any, address: Any) -> Any:
        """A value; no alignment is assumed."""
        return self.builder.load(self.pointer(kind, address), align=1)

    def store(self, value: Any, address: Any) -> None:
        """Write a value."""
        self.builder.store(value, self.pointer(value.type, address), align=1)

    def spread(self, value: Any, kind: Any) -> Any:
        """The same value in every lane."""
        empty = ir.Constant(kind, ir.Undefined)
        one = self.builder.insert_element(empty, value, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(one, empty, ir.Constant(ir.VectorType(I32, kind.count), [0] * kind.count))

    def prefetch(self, address: Any) -> None:
        """Ask for a cache line that is read soon; any address will do."""
        self.call(
            "llvm.prefetch.p0", ir.VoidType(), self.pointer(I8, address), *(ir.Constant(I32, n) for n in (0, 2, 1))
        )

    def call(self, name: str, result: Any, *args: Any) -> Any:
        """An LLVM intrinsic."""
        kind = ir.FunctionType(result, [a.type for a in args])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), args)

    def loop(self, count: Any, carried: Sequence[Any], body: Callable[[Any, list[Any]], Sequence[Any]]) -> list[Any]:
        """Run ``body(index, values)`` ``count`` times, at least once; it returns the values of the next turn."""
        before, turn = self.builder.block, self.builder.append_basic_block("turn")
        after = self.builder.append_basic_block("after")
        self.builder.branch(turn)
        self.builder.position_at_end(turn)
        index = self.builder.phi(I64)
        index.add_incoming(self.number(0), before)
        values = [self.builder.phi(value.type) for value in carried]
        for phi, value in zip(values, carried, strict=True):
            phi.add_incoming(value, before)
        following = body(index, values)
        step = self.builder.add(index, self.number(1))
        end = self.builder.block
        index.add_incoming(step, end)
        for phi, value in zip(values, following, strict=True):
            phi.add_incoming(value, end)
        self.builder.cbranch(self.builder.icmp_signed("<", step, count), turn, after)
        self.builder.position_at_end(after)
        return list(following)


def instructions(result: Any = types.void) -> Callable[[Callable[..., Any]], Any]:
    """A function of 64-bit whole numbers for Numba, from a writer ``(emit, *arguments)`` of its instructions."""

    def make(write: Callable[..., Any]) -> Any:
        def typed(_: Any, *given: Any) -> Any:
            def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
                value = write(Emit(builder), *cgutils.unpack_tuple(builder, values[0]))
                return context.get_dummy_value() if result is types.void else value

            return result(types.StarArgTuple.from_types(given)), generate

        typed.__name__ = write.__name__
        return intrinsic(typed)

    return make


@instructions(types.int64)
def trailing_zeros(emit: Emit, value: Any) -> Any:
    """Place of the lowest bit that is set."""
    return emit.call("llvm.cttz.i64", I64, value, emit.number(1, ir.IntType(1)))


@instructions(types.int64)
def excluded(
    emit: Emit, out: Any, vectors: Any, digits: Any, scales: Any, errors: Any, terms: Any, steps: Any, slopes: Any,
    limits: Any, masks: Any,
) -> Any:  # fmt: skip
    """Test 32 rows against the queries of a tile; the same on every kind of processor.

    For each query a mask of 32 bits: rows that the bound cannot exclude. Returns which queries have any, a bit for each. The
    arguments are addresses, but for ``vectors``, the query vectors in the tile, and ``digits``, 1 or 2 of them for each query.
    """
    b = emit.builder
    (s0, s1), (e0, e1), (n0, n1) = (
        [emit.load(FLOATS, emit.at(base, (half, 64))) for half in range(2)] for base in (scales, errors, terms)
    )
    two = b.icmp_signed("==", digits, emit.number(2))

    def query(index: Any, values: list[Any]) -> list[Any]:
        step = emit.spread(emit.load(F32, emit.at(steps, (index, 4))), FLOATS)
        slope = emit.spread(emit.load(F32, emit.at(slopes, (index, 4))), FLOATS)
        limit = emit.spread(emit.load(F32, emit.at(limits, (index, 4))), FLOATS)
        place = emit.at(out, (b.mul(index, digits), 128))
        found = []
        for half, (s, e, n) in enumerate(((s0, e0, n0), (s1, e1, n1))):
            high = b.sitofp(emit.load(WORDS, emit.at(place, (half, 64))), FLOATS)
            # where there is one digit, this reads the same line again and is not used
            low_at = b.select(two, emit.at(place, (128 + 64 * half, 1)), emit.at(place, (half, 64)))
            low = b.sitofp(emit.load(WORDS, low_at), FLOATS)
            both = emit.call("llvm.fmuladd.v16f32", FLOATS, high, ir.Constant(FLOATS, [254.0] * 16), low)
            product = b.select(two, both, high)
            value = emit.call("llvm.fmuladd.v16f32", FLOATS, b.fneg(b.fmul(s, step)), product, n)
            value = emit.call("llvm.fmuladd.v16f32", FLOATS, b.fneg(slope), e, value)
            found.append(b.zext(b.bitcast(b.fcmp_ordered("<=", value, limit), I16), I32))
        mask = b.or_(found[0], b.shl(found[1], ir.Constant(I32, 16)))
        emit.store(mask, emit.at(masks, (index, 4)))
        any_row = b.zext(b.icmp_unsigned("!=", mask, ir.Constant(I32, 0)), I64)
        return [b.or_(values[0], b.shl(any_row, index))]

    queries = b.select(two, b.ashr(vectors, emit.number(1)), vectors)
    (some,) = emit.loop(queries, [emit.number(0)], query)
    return some
