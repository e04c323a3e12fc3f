"""What stays in the memory of the host, which is pinned: rows, of which kernels read the few that codes leave; and codes, where these do not fit either."""

from __future__ import annotations

import contextlib
import ctypes
import math
import threading
import weakref
from dataclasses import dataclass
from typing import Any

import cupy as cp
import numpy as np
import numpy.typing as npt

from knnscope.errors import GpuFullError
from knnscope.units import size as size_text

MAPPED, READ_ONLY = 3, 8
"""cudaHostRegisterPortable and Mapped; cudaHostRegisterReadOnly."""
PORTABLE = 1
"""cudaHostAllocPortable: pinned for every GPU."""
LEFT, LEFT_EACH = 1 << 30, 16
"""Bytes of a GPU's memory that are left for building and searches, in all and for each row: four queries have bounds of all rows."""

_Range = tuple[int, int]
"""Memory: where it begins and ends."""
_lock = threading.RLock()
"""Whoever has it may be interrupted by the garbage collector, which lets memory go."""
_held: dict[_Range, int] = {}
"""By how many indexes memory is pinned."""


class _Pinned:
    """Memory of rows that a GPU reads; let go with the last that has it."""

    def __init__(self, rows: npt.NDArray[Any], device: int) -> None:
        self.rows = rows
        begin = int(rows.ctypes.data)
        own = begin, begin + int(rows.nbytes)
        with _lock:
            held = next((one for one in _held if one[0] <= own[0] and own[1] <= one[1]), own)
            _held[held] = _held.get(held, 0) + 1
            try:
                if _held[held] == 1:
                    _register(own, rows)
            except BaseException:
                del _held[held]
                raise
        weakref.finalize(self, _let_go, held, device)


def _register(own: _Range, rows: npt.NDArray[Any]) -> None:
    flags = MAPPED if rows.flags.writeable else MAPPED | READ_ONLY
    try:
        cp.cuda.runtime.hostRegister(own[0], own[1] - own[0], flags)
    except cp.cuda.runtime.CUDARuntimeError as error:
        raise refused("rows", own[1] - own[0], error) from error


def _meets_held(rows: npt.NDArray[Any]) -> bool:
    """Whether a part of this memory is pinned, and a part is not: it cannot be pinned then."""
    begin = int(rows.ctypes.data)
    end = begin + int(rows.nbytes)
    with _lock:
        meets = any(one[0] < end and begin < one[1] for one in _held)
        return meets and not any(one[0] <= begin and end <= one[1] for one in _held)


def refused(what: str, size: int, error: Exception) -> GpuFullError:
    """The error for memory of the host that a GPU does not get to read: of rows, or of codes."""
    where, remedy = ("where they are", "read them into memory if they are mapped from a file")
    if what == "codes":
        where, remedy = "in the host's memory", "free some of it, share the rows out among GPUs"
    return GpuFullError(
        f"{what} of {size_text(size)} do not fit into the GPU memory that may be used, and the system does not let it read them {where} "
        f"({str(error).partition(':')[0]}): {remedy}, or use device='cpu'"
    )


def _let_go(held: _Range, device: int) -> None:
    with _lock, contextlib.suppress(Exception):  # the process may be ending
        _wait(device)
        _held[held] -= 1
        if not _held[held]:
            del _held[held]
            cp.cuda.runtime.hostUnregister(held[0])


def pinned(rows: npt.NDArray[Any], device: int) -> Any:
    """An array of the GPU over rows in host memory.

    Raises:
        KnnscopeError: the system pins no such memory.
    """
    rows = np.ascontiguousarray(rows)
    if not rows.flags.aligned or _meets_held(
        rows
    ):  # kernels read whole numbers; rows that came by a network, or within a file, may begin anywhere
        return copied(rows, device)
    owner = _Pinned(rows, device)
    memory = cp.cuda.UnownedMemory(int(rows.ctypes.data), int(rows.nbytes), owner, device)
    return cp.ndarray(rows.shape, rows.dtype, cp.cuda.MemoryPointer(memory, 0))


class _Own:
    """Memory of the host that a GPU reads and nobody else has."""

    def __init__(self, size: int, device: int) -> None:
        self.memory = cp.cuda.PinnedMemory(size, PORTABLE)
        weakref.finalize(self, _wait, device)


def _wait(device: int) -> None:
    """Until no search of a GPU reads its memory any more."""
    with contextlib.suppress(Exception), cp.cuda.Device(device):  # the process may be ending
        cp.cuda.runtime.deviceSynchronize()


def empty(shape: tuple[int, ...], dtype: Any, device: int) -> Any:
    """A new array in host memory, pinned, as one of the GPU, without values.

    Raises:
        KnnscopeError: there is not so much memory, or the system does not pin it.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    try:
        owner = _Own(max(1, size), device)
    except (cp.cuda.runtime.CUDARuntimeError, MemoryError) as error:
        raise refused("codes", size, error) from error
    memory = cp.cuda.UnownedMemory(int(owner.memory.ptr), size, owner, device)
    return cp.ndarray(shape, dtype, cp.cuda.MemoryPointer(memory, 0))


def copied(array: npt.NDArray[Any], device: int) -> Any:
    """The same of given values."""
    made = empty(array.shape, array.dtype, device)
    array = np.ascontiguousarray(array)
    ctypes.memmove(made.data.ptr, array.ctypes.data, array.nbytes)
    return made


def room(most: int | None) -> int:
    """Bytes of the current GPU's memory for rows and codes: so many, or what is free but for what searches need."""
    if most is not None:
        return most
    free = int(cp.cuda.runtime.memGetInfo()[0]) + int(cp.get_default_memory_pool().free_bytes())
    return max(0, free - LEFT)


@dataclass(frozen=True, slots=True)
class Plan:
    """What stays in host memory: rows, and codes. codes: bytes of GPU memory for these; None for what is free."""

    rows_stay: bool
    codes_stay: bool
    codes: int | None


def plan(rows: Any, most: int | None) -> Plan:
    """Where rows and their codes go: to the current GPU as far as there is room, codes first.

    Args:
        rows: of the host, or of the GPU, where they stay.
        most: bytes that both may take; None for what is free.
    """
    count, dim = rows.shape
    codes, free = count * (-(-dim // 128) * 128 + dim // 2 + 32), room(most)
    free = free if most is not None else max(0, free - count * LEFT_EACH)
    is_host = isinstance(rows, np.ndarray)
    stay = is_host and rows.nbytes + codes > free
    rest = free - (rows.nbytes if not stay and (is_host or most is not None) else 0)
    return Plan(stay, codes > rest, None if most is None else max(0, rest))
