"""Looking through bounds of rows: where the next small one is, and which rows join a list."""

from __future__ import annotations

from typing import Any

from knnscope.certified.cpu.llvm import Emit, T, instructions, ir
from knnscope.certified.cpu.plane import LANES


@instructions
def next_place(emit: Emit, values: Any, first: Any, last: Any, limit: Any) -> Any:
    """The first place from ``first`` on, of a line of float32 at an address, that is not above the limit; ``last`` where there is none.

    Both are multiples of 16, but for ``first``; ``limit`` is the address of a float32. Where so many follow, 64 are looked at together.
    """
    b = emit.builder
    wide = emit.spread(emit.load(T.F32, limit), T.FLOATS)
    before = b.block
    head, turn, far, four, hit, after = (
        b.append_basic_block(name) for name in ("head", "turn", "far", "four", "hit", "after")
    )
    start = b.and_(first, emit.number(-LANES))
    begun = b.shl(ir.Constant(T.I16, -1), b.trunc(b.sub(first, start), T.I16))

    def some(place: Any, more: int) -> Any:
        return b.fcmp_unordered("<=", emit.load(T.FLOATS, emit.at(values, (place, 4), (more, 64))), wide)

    b.cbranch(b.icmp_signed("<", first, last), turn, after)
    b.position_at_end(head)
    place = b.phi(T.I64)
    b.cbranch(b.icmp_signed("<=", b.add(place, emit.number(4 * LANES)), last), four, far)
    b.position_at_end(four)
    found = [some(place, more) for more in range(4)]
    bits = b.bitcast(b.or_(b.or_(found[0], found[1]), b.or_(found[2], found[3])), T.I16)
    place.add_incoming(b.add(place, emit.number(4 * LANES)), four)
    b.cbranch(b.icmp_unsigned("!=", bits, ir.Constant(T.I16, 0)), far, head)
    b.position_at_end(far)
    b.cbranch(b.icmp_signed("<", place, last), turn, after)
    b.position_at_end(turn)
    own, mask = b.phi(T.I64), b.phi(T.I16)
    for register, incoming in ((own, (start, place)), (mask, (begun, ir.Constant(T.I16, -1)))):
        for value, block in zip(incoming, (before, far), strict=True):
            register.add_incoming(value, block)
    bits = b.and_(b.bitcast(some(own, 0), T.I16), mask)
    place.add_incoming(b.add(own, emit.number(LANES)), turn)
    b.cbranch(b.icmp_unsigned("!=", bits, ir.Constant(T.I16, 0)), hit, head)
    b.position_at_end(hit)
    at = b.add(own, emit.call("llvm.cttz.i64", T.I64, b.zext(bits, T.I64), emit.number(1, ir.IntType(1))))
    b.branch(after)
    b.position_at_end(after)
    result = b.phi(T.I64)
    result.add_incoming(last, before)
    result.add_incoming(last, far)
    result.add_incoming(at, hit)
    return result


@instructions
def append(emit: Emit, values: Any, places: Any, limit: Any, to: Any, row0: Any) -> Any:
    """Rows whose bounds are not above a limit join a list, sixteen at a time, while there is room for so many: how many it has then.

    Args:
        emit: where.
        values: address of bounds, float32.
        places: address of the first, int64, written: the first that was not looked at; and the one after the last. Multiples of 16.
        limit: address of a float32.
        to: addresses of the list's bounds, float32, and rows, int32; how many it has, and how many it may have.
        row0: row of the first place.
    """
    b = emit.builder
    (at, last), (lows, rows, count, room) = places, to
    wide, step = emit.spread(emit.load(T.F32, limit), T.FLOATS), emit.number(LANES)
    first, before = emit.load(T.I64, at), b.block
    head, turn, check, inner, following, after = (
        b.append_basic_block(name) for name in ("head", "turn", "check", "inner", "following", "after")
    )
    b.branch(head)
    b.position_at_end(head)
    place, filled = b.phi(T.I64), b.phi(T.I64)
    place.add_incoming(first, before)
    filled.add_incoming(count, before)
    b.cbranch(b.icmp_signed("<", place, last), turn, after)
    b.position_at_end(turn)
    some = b.fcmp_unordered("<=", emit.load(T.FLOATS, emit.at(values, (place, 4))), wide)
    bits = b.bitcast(some, T.I16)
    b.cbranch(b.icmp_unsigned("!=", bits, ir.Constant(T.I16, 0)), check, following)
    b.position_at_end(check)
    b.cbranch(b.icmp_signed("<=", b.add(filled, step), room), inner, after)
    b.position_at_end(inner)
    left, own = b.phi(T.I16), b.phi(T.I64)
    left.add_incoming(bits, check)
    own.add_incoming(filled, check)
    lane = b.add(place, emit.call("llvm.cttz.i64", T.I64, b.zext(left, T.I64), emit.number(1, ir.IntType(1))))
    low = emit.load(T.F32, emit.at(values, (lane, 4)))
    low = b.select(b.fcmp_unordered("uno", low, low), ir.Constant(T.F32, float("-inf")), low)
    emit.store(low, emit.at(lows, (own, 4)))
    emit.store(b.trunc(b.add(row0, lane), T.I32), emit.at(rows, (own, 4)))
    fewer, grown = b.and_(left, b.sub(left, ir.Constant(T.I16, 1))), b.add(own, emit.number(1))
    left.add_incoming(fewer, inner)
    own.add_incoming(grown, inner)
    b.cbranch(b.icmp_unsigned("!=", fewer, ir.Constant(T.I16, 0)), inner, following)
    b.position_at_end(following)
    now = b.phi(T.I64)
    now.add_incoming(filled, turn)
    now.add_incoming(grown, inner)
    place.add_incoming(b.add(place, step), following)
    filled.add_incoming(now, following)
    b.branch(head)
    b.position_at_end(after)
    emit.store(place, at)
    return filled
