"""A board that threads watch in compiled code: who posts work there needs no lock of the interpreter, and a microsecond for each item.

Sixteen threads that each run some Python between two scans wait for each other's interpreter: 75,000 rows took them five times what their memory
takes. Here a call is the address of a compiled function and, for each item, the bytes of its arguments; who is free takes the next.

Words of 64 bits, a cache line each. TICKET: number of the call, how many helpers may still join, how many items nobody has taken. An item is taken by
comparing and swapping the whole ticket, so what a thread has read of a call belongs to the item that it takes: a call's words are written
only after all items of the one before have ended. POSTED: counts calls; who waits for one sleeps on it. ASLEEP: how many do. LEFT: items that
have not ended; the caller sleeps on it. CALLER: whether it does. CLOSED: whether all shall go home. The words of a call stand last.
"""

from __future__ import annotations

import platform
from typing import Any

import numpy as np

from knnscope.certified.cpu.compiler import ir
from knnscope.certified.cpu.jit import compiled
from knnscope.certified.cpu.llvm import Emit, T, instructions

LINE = 64
TICKET, POSTED, ASLEEP, LEFT, CALLER, CLOSED, CALL = (LINE * n for n in range(7))
"""Places of the words, in bytes."""
WORDS = LINE
ITEMS, HELPERS = 20, 12
"""Bits of a ticket for items and helpers; the number of the call has the other 32."""
ITEM_MASK, HELPER_MASK = (1 << ITEMS) - 1, ((1 << HELPERS) - 1) << ITEMS
SPINS = 600
"""Looks at a word, some 20 µs, before a thread sleeps: waking it takes 30 to 50."""
FUTEX = {"x86_64": 202, "aarch64": 98}.get(platform.machine(), 0)
"""Number of the system call by which a thread sleeps until a word changes; 0 where it is not known."""
PAUSES = platform.machine() == "x86_64"
SLEEP, WAKE = 128, 129
"""What it is asked: among threads of one process."""
EVERYBODY = (1 << 31) - 1


@instructions
def load(emit: Emit, at: Any) -> Any:
    """A word; what was written before it is seen too."""
    return emit.builder.load_atomic(emit.pointer(at), T.I64, 8)


@instructions
def store(emit: Emit, at: Any, value: Any) -> None:
    """Write a word."""
    emit.builder.atomic_rmw("xchg", emit.pointer(at), value)


@instructions
def add(emit: Emit, at: Any, value: Any) -> Any:
    """Add to a word: what it was."""
    return emit.builder.atomic_rmw("add", emit.pointer(at), value)


@instructions
def swap(emit: Emit, at: Any, old: Any, new: Any) -> Any:
    """Write a word if it is what it was: 1, or 0."""
    b = emit.builder
    return b.zext(b.extract_value(b.cmpxchg(emit.pointer(at), old, new), 1), T.I64)


@instructions
def rest(emit: Emit, _: Any) -> None:
    """Let the core's other thread work for a moment."""
    if PAUSES:
        emit.call("llvm.x86.sse2.pause", ir.VOID)


@instructions
def futex(emit: Emit, at: Any, how: Any, value: Any) -> None:
    """Sleep while the low half of a word is this value, or wake so many that do; may end sooner."""
    zero = emit.number(0)
    emit.call("syscall", T.I64, emit.number(FUTEX), at, how, value, zero, zero, zero)


@instructions
def run(emit: Emit, function: Any, arguments: Any) -> Any:
    """Call a compiled function by its address, with that of its arguments."""
    return emit.builder.call_at(emit.pointer(function), T.I64, [emit.pointer(arguments)])


@compiled(inline=True)
def _wait(at: int, seen: int) -> bool:
    """Look at a word for a while: whether it has changed."""
    for _ in range(SPINS):
        if load(at) != seen:
            return True
        rest(0)
    return False


@compiled(inline=True)
def _take(board: int, number: int) -> None:
    """Take items of a call until none is left."""
    function, arguments, size, results = (
        load(board + CALL), load(board + CALL + 8), load(board + CALL + 16), load(board + CALL + 24),
    )  # fmt: skip
    while True:
        ticket = load(board + TICKET)
        if ticket >> 32 != number or not ticket & ITEM_MASK:
            return
        if swap(board + TICKET, ticket, ticket - 1):
            item = (ticket & ITEM_MASK) - 1
            store(results + 8 * item, run(function, arguments + size * item))
            if add(board + LEFT, -1) == 1 and load(board + CALLER):
                futex(board + LEFT, WAKE, 1)


@compiled()
def serve(board: Any) -> None:
    """Help with every call until the board is closed.

    Args:
        board: int64, (WORDS,), from a cache line on.
    """
    at = board.ctypes.data
    while not load(at + CLOSED):
        seen = load(at + POSTED)
        ticket = load(at + TICKET)
        if ticket & ITEM_MASK and ticket & HELPER_MASK:
            if swap(at + TICKET, ticket, ticket - (1 << ITEMS)):
                _take(at, ticket >> 32)
        elif not _wait(at + POSTED, seen):
            add(at + ASLEEP, 1)
            if not load(at + CLOSED):
                futex(at + POSTED, SLEEP, seen & 0xFFFFFFFF)
            add(at + ASLEEP, -1)


@compiled()
def post(board: Any, steps: Any) -> int:
    """Have functions called, one after another, each for all of its items, here and by helpers; returns when all have ended.

    Args:
        board: see ``serve``; nobody else posts on it meanwhile. Where no helper may join, nothing is posted.
        steps: int64, (steps, 6): a function's address, that of its items' arguments, bytes of these for one item, where its answers go, how many
            items there are, and how many helpers may join.

    Returns:
        What the last function answers for its first item; where one answers a negative number, that, and nothing more begins.
    """
    at, last = board.ctypes.data, 0
    for step in range(steps.shape[0]):
        function, arguments, size, results, items, helpers = (
            steps[step, 0], steps[step, 1], steps[step, 2], steps[step, 3], steps[step, 4], steps[step, 5],
        )  # fmt: skip
        if helpers:
            _post(at, (function, arguments, size, results), items, helpers)
        else:
            for item in range(items):
                store(results + 8 * item, run(function, arguments + size * item))
        for item in range(items):
            last = load(results + 8 * (items - 1 - item))
            if last < 0:
                return last
    return last


@compiled(inline=True)
def _post(at: int, call: tuple[int, int, int, int], items: int, helpers: int) -> None:
    function, arguments, size, results = call
    store(at + CALL, function)
    store(at + CALL + 8, arguments)
    store(at + CALL + 16, size)
    store(at + CALL + 24, results)
    store(at + LEFT, items)
    store(at + CALLER, 0)
    number = ((load(at + TICKET) >> 32) + 1) & 0x7FFFFFFF
    store(at + TICKET, (number << 32) | (helpers << ITEMS) | items)
    add(at + POSTED, 1)
    if load(at + ASLEEP):
        futex(at + POSTED, WAKE, helpers)
    _take(at, number)
    while True:
        left = load(at + LEFT)
        if not left:
            break
        if not _wait(at + LEFT, left):
            store(at + CALLER, 1)
            left = load(at + LEFT)
            if left:
                futex(at + LEFT, SLEEP, left)


@compiled()
def close(board: Any) -> None:
    """Send all home."""
    at = board.ctypes.data
    store(at + CLOSED, 1)
    add(at + POSTED, 1)
    futex(at + POSTED, WAKE, EVERYBODY)


def new() -> Any:
    """A board on which nothing is posted."""
    raw = np.zeros(WORDS + 8, dtype=np.int64)
    skip = -raw.ctypes.data % LINE // 8
    return raw[skip : skip + WORDS]
