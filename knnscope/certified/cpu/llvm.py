"""Few words for writing LLVM instructions: vectors at addresses, loops with carried values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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

    def number(self, value: int, type_: Any = I64) -> Any:
        """A constant."""
        return ir.Constant(type_, value)

    def at(self, base: Any, *steps: tuple[Any, int]) -> Any:
        """An address: base plus each index times its size in bytes."""
        for index, size in steps:
            place = self.number(index) if isinstance(index, int) else index
            base = self.builder.add(base, self.builder.mul(place, self.number(size)))
        return base

    def pointer(self, type_: Any, address: Any) -> Any:
        """The address as a pointer."""
        return self.builder.inttoptr(address, ir.PointerType(type_))

    def load(self, type_: Any, address: Any) -> Any:
        """A value; no alignment is assumed."""
        return self.builder.load(self.pointer(type_, address), align=1)

    def store(self, value: Any, address: Any) -> None:
        """Write a value."""
        self.builder.store(value, self.pointer(value.type, address), align=1)

    def spread(self, value: Any, type_: Any) -> Any:
        """The same value in every lane."""
        empty = ir.Constant(type_, ir.Undefined)
        one = self.builder.insert_element(empty, value, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(one, empty, ir.Constant(ir.VectorType(I32, type_.count), [0] * type_.count))

    def prefetch(self, address: Any) -> None:
        """Ask for a cache line that is read soon; any address will do."""
        self.call(
            "llvm.prefetch.p0", ir.VoidType(), self.pointer(I8, address), *(ir.Constant(I32, n) for n in (0, 2, 1))
        )

    def call(self, name: str, result: Any, *args: Any) -> Any:
        """An LLVM intrinsic."""
        type_ = ir.FunctionType(result, [a.type for a in args])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, type_, name), args)

    def parts(self, tuple_: Any) -> list[Any]:
        """The items of a tuple."""
        return list(cgutils.unpack_tuple(self.builder, tuple_))

    def loop(self, count: Any, carried: Sequence[Any], body: Callable[[Any, list[Any]], Sequence[Any]]) -> list[Any]:
        """Run ``body(index, values)`` ``count`` times; it returns the values of the next turn."""
        before, head, turn, after = (
            self.builder.block,
            *(self.builder.append_basic_block(name) for name in ("head", "turn", "after")),
        )
        self.builder.branch(head)
        self.builder.position_at_end(head)
        index = self.builder.phi(I64)
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


def _uncounted(context: Any, builder: Any, type_: Any, value: Any) -> Any:
    """An array, or a tuple of arrays and others, whose arrays have no counter."""
    if isinstance(type_, types.Array):
        given = context.make_array(type_)(context, builder, value=value)
        given.meminfo = cgutils.get_null_value(given.meminfo.type)
        return given._getvalue()
    if isinstance(type_, types.BaseTuple):
        parts = zip(type_, cgutils.unpack_tuple(builder, value), strict=True)
        return context.make_tuple(builder, type_, [_uncounted(context, builder, *part) for part in parts])
    return value


@intrinsic
def borrowed(_: Any, given: Any) -> Any:
    """The same array, or tuple of arrays, whose users are not counted: whoever gave it keeps it.

    Numba counts a user wherever an array gets another name (an inlined function's argument, ``.ctypes``), by an atomic addition: in the
    scan's loop that was a fifth of the time on one thread, and more on two, which count in the same places.
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _uncounted(context, builder, signature.args[0], values[0])

    return given(given), generate


@intrinsic
def alive(_: Any, arrays: Any) -> Any:
    """Arrays of this function live until here, though only what was borrowed of them is used."""
    return types.void(arrays), lambda context, *_: context.get_dummy_value()


@instructions(types.int64)
def trailing_zeros(emit: Emit, value: Any) -> Any:
    """Place of the lowest bit that is set."""
    return emit.call("llvm.cttz.i64", I64, value, emit.number(1, ir.IntType(1)))


class Rows16(NamedTuple):
    """s, e and N of bound.py for 16 rows, in registers."""

    scales: Any
    errors: Any
    terms: Any

    def kept(self, emit: Emit, product: Any, step: Any, slope: Any, limit: Any) -> Any:
        """16 bits: rows with N - (s step) f - C e <= V, the test of bound.py, for a query's f, 2 t, C and V."""
        b = emit.builder
        value = emit.call("llvm.fmuladd.v16f32", FLOATS, b.fneg(b.fmul(self.scales, step)), product, self.terms)
        value = emit.call("llvm.fmuladd.v16f32", FLOATS, b.fneg(slope), self.errors, value)
        return b.bitcast(b.fcmp_ordered("<=", value, limit), I16)


def two_digits(emit: Emit, high: Any, low: Any) -> Any:
    """254 high + low of 16 rows, rounded once to float32."""
    return emit.call("llvm.fmuladd.v16f32", FLOATS, high, ir.Constant(FLOATS, [254.0] * 16), low)


@instructions(types.int64)
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
    (out, vectors, digits), (steps, slopes, limits) = emit.parts(products), emit.parts(queries)
    halves = [Rows16(*(emit.load(FLOATS, emit.at(base, (half, 64))) for base in emit.parts(rows))) for half in range(2)]
    two = b.icmp_signed("==", digits, emit.number(2))

    def query(index: Any, values: list[Any]) -> list[Any]:
        step = emit.spread(emit.load(F32, emit.at(steps, (index, 4))), FLOATS)
        slope = emit.spread(emit.load(F32, emit.at(slopes, (index, 4))), FLOATS)
        limit = emit.spread(emit.load(F32, emit.at(limits, (index, 4))), FLOATS)
        place = emit.at(out, (b.mul(index, digits), 128))
        found = []
        for half, rows in enumerate(halves):
            high = b.sitofp(emit.load(WORDS, emit.at(place, (half, 64))), FLOATS)
            # where there is one digit, this reads the same line again and is not used
            low_at = b.select(two, emit.at(place, (128 + 64 * half, 1)), emit.at(place, (half, 64)))
            low = b.sitofp(emit.load(WORDS, low_at), FLOATS)
            product = b.select(two, two_digits(emit, high, low), high)
            found.append(b.zext(rows.kept(emit, product, step, slope, limit), I32))
        mask = b.or_(found[0], b.shl(found[1], ir.Constant(I32, 16)))
        emit.store(mask, emit.at(masks, (index, 4)))
        any_row = b.zext(b.icmp_unsigned("!=", mask, ir.Constant(I32, 0)), I64)
        return [b.or_(values[0], b.shl(any_row, index))]

    count = b.select(two, b.ashr(vectors, emit.number(1)), vectors)
    (some,) = emit.loop(count, [emit.number(0)], query)
    return some
