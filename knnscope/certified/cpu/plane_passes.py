"""Looking through bounds of rows: where the next small one is, and which rows join a list."""

from __future__ import annotations

from typing import Any

from knnscope.certified.cpu.compiler import ir
from knnscope.certified.cpu.llvm import Emit, T, instructions
from knnscope.certified.cpu.plane import LANES

AHEAD = 64
"""Blocks, a multiple of 16, that are looked at ahead for bounds to ask for."""


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
def append(emit: Emit, bounds: Any, places: Any, limit: Any, to: Any, row0: Any) -> Any:
    """Rows whose bounds are not above a limit join a list, block by block, while there is room for so many: how many it has then.

    Args:
        emit: where.
        bounds: addresses of bounds of rows, and of the smallest of each block (plane_kernels.Bounds), 16 of which are read at once.
        places: address of the first block, int64, written: the first that was not looked at; and the one after the last.
        limit: address of a float32.
        to: addresses of the list's bounds, float32, and rows, int32; how many it has, and how many it may have.
        row0: row of the first place.
    """
    b = emit.builder
    (values, leasts), (at, last), (lows, rows, count, room) = bounds, places, to
    wide, step, all_ = emit.spread(emit.load(T.F32, limit), T.FLOATS), emit.number(LANES), ir.Constant(T.I16, -1)
    begin, before = emit.load(T.I64, at), b.block
    head, turn, peek, ask, here, block, look, inner, done, following, after = (
        b.append_basic_block(name)
        for name in ("head", "turn", "peek", "ask", "here", "block", "look", "inner", "done", "following", "after")
    )

    def small(address: Any, place: Any) -> Any:
        """Which of 16 are not above the limit, a bit each."""
        return b.bitcast(b.fcmp_unordered("<=", emit.load(T.FLOATS, emit.at(address, (place, 4))), wide), T.I16)

    def first_of(bits: Any) -> Any:
        return emit.call("llvm.cttz.i64", T.I64, b.zext(bits, T.I64), emit.number(1, ir.IntType(1)))

    def without_first(bits: Any) -> Any:
        return b.and_(bits, b.sub(bits, ir.Constant(T.I16, 1)))

    group0 = b.and_(begin, emit.number(-LANES))
    begun = b.shl(all_, b.trunc(b.sub(begin, group0), T.I16))
    b.branch(head)
    b.position_at_end(head)
    group, filled, kept = b.phi(T.I64), b.phi(T.I64), b.phi(T.I16)
    for register, value in ((group, group0), (filled, count), (kept, begun)):
        register.add_incoming(value, before)
    b.cbranch(b.icmp_signed("<", group, last), turn, after)
    b.position_at_end(turn)
    soon = b.add(group, emit.number(AHEAD))
    b.cbranch(b.icmp_signed("<", soon, last), peek, here)
    b.position_at_end(peek)  # bounds lie in the last cache, and branches wait for them: so some are asked for ahead
    wanted = small(leasts, soon)
    b.cbranch(b.icmp_unsigned("!=", wanted, ir.Constant(T.I16, 0)), ask, here)
    b.position_at_end(ask)
    rest = b.phi(T.I16)
    emit.prefetch(emit.at(values, (b.add(soon, first_of(rest)), 4 * LANES)))
    others = without_first(rest)
    rest.add_incoming(wanted, peek)
    rest.add_incoming(others, ask)
    b.cbranch(b.icmp_unsigned("!=", others, ir.Constant(T.I16, 0)), ask, here)
    b.position_at_end(here)
    left = b.sub(last, group)
    ending = b.trunc(b.sub(b.shl(emit.number(1), left), emit.number(1)), T.I16)
    kept_here = b.and_(kept, b.select(b.icmp_signed("<", left, step), ending, all_))
    blocks = b.and_(small(leasts, group), kept_here)
    b.cbranch(b.icmp_unsigned("!=", blocks, ir.Constant(T.I16, 0)), block, following)
    b.position_at_end(block)
    some, had = b.phi(T.I16), b.phi(T.I64)
    some.add_incoming(blocks, here)
    had.add_incoming(filled, here)
    place = b.add(group, first_of(some))
    b.cbranch(b.icmp_signed("<=", b.add(had, step), room), look, after)
    b.position_at_end(look)
    lane0 = b.mul(place, step)
    found = small(values, lane0)
    b.cbranch(b.icmp_unsigned("!=", found, ir.Constant(T.I16, 0)), inner, done)
    b.position_at_end(inner)
    bits, own = b.phi(T.I16), b.phi(T.I64)
    bits.add_incoming(found, look)
    own.add_incoming(had, look)
    lane = b.add(lane0, first_of(bits))
    low = emit.load(T.F32, emit.at(values, (lane, 4)))
    low = b.select(b.fcmp_unordered("uno", low, low), ir.Constant(T.F32, float("-inf")), low)
    emit.store(low, emit.at(lows, (own, 4)))
    emit.store(b.trunc(b.add(row0, lane), T.I32), emit.at(rows, (own, 4)))
    fewer, grown = without_first(bits), b.add(own, emit.number(1))
    bits.add_incoming(fewer, inner)
    own.add_incoming(grown, inner)
    b.cbranch(b.icmp_unsigned("!=", fewer, ir.Constant(T.I16, 0)), inner, done)
    b.position_at_end(done)
    now = b.phi(T.I64)
    now.add_incoming(had, look)
    now.add_incoming(grown, inner)
    others = without_first(some)
    some.add_incoming(others, done)
    had.add_incoming(now, done)
    b.cbranch(b.icmp_unsigned("!=", others, ir.Constant(T.I16, 0)), block, following)
    b.position_at_end(following)
    then = b.phi(T.I64)
    then.add_incoming(filled, here)
    then.add_incoming(now, done)
    group.add_incoming(b.add(group, step), following)
    filled.add_incoming(then, following)
    kept.add_incoming(all_, following)
    b.branch(head)
    b.position_at_end(after)
    ended, total = b.phi(T.I64), b.phi(T.I64)
    for value, so_far, where in ((last, filled, head), (place, had, block)):
        ended.add_incoming(value, where)
        total.add_incoming(so_far, where)
    emit.store(ended, at)
    return total
