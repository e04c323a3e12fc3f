"""Rows that stay in the memory of the host: it is pinned, and kernels read from there the few rows that codes leave."""

from __future__ import annotations

import contextlib
import threading
import weakref
from typing import Any

import cupy as cp
import numpy as np
import numpy.typing as npt

from knnscope.errors import KnnscopeError
from knnscope.units import size as size_text

MAPPED, READ_ONLY = 3, 8
"""cudaHostRegisterPortable and Mapped; cudaHostRegisterReadOnly."""
LEFT = 1 << 30
"""Bytes of a GPU's memory that are left for searches."""

_lock = threading.Lock()
_held: dict[tuple[int, int], int] = {}
"""By how many indexes memory is pinned: address and bytes."""


class _Pinned:
    """Memory of an array that a GPU reads; let go with the last that has it."""

    def __init__(self, rows: npt.NDArray[Any]) -> None:
        self.rows, key = rows, (int(rows.ctypes.data), int(rows.nbytes))
        with _lock:
            if not _held.get(key):
                _register(*key, rows)
            _held[key] = _held.get(key, 0) + 1
        weakref.finalize(self, _let_go, key)


def _register(address: int, size: int, rows: npt.NDArray[Any]) -> None:
    flags = MAPPED if rows.flags.writeable else MAPPED | READ_ONLY
    try:
        cp.cuda.runtime.hostRegister(address, size, flags)
    except cp.cuda.runtime.CUDARuntimeError as error:
        raise KnnscopeError(
            f"rows of {size_text(size)} do not fit into the GPU memory that may be used, and the system does not let it read them where they are "
            f"({str(error).partition(':')[0]}): read them into memory if they are mapped from a file, or use device='cpu'"
        ) from error


def _let_go(key: tuple[int, int]) -> None:
    with _lock, contextlib.suppress(Exception):  # the process may be ending
        _held[key] -= 1
        if not _held[key]:
            del _held[key]
            cp.cuda.runtime.deviceSynchronize()  # no search reads it any more
            cp.cuda.runtime.hostUnregister(key[0])


def pinned(rows: npt.NDArray[Any], device: int) -> Any:
    """An array of the GPU over rows in host memory.

    Raises:
        KnnscopeError: the system pins no such memory.
    """
    rows = np.ascontiguousarray(rows)
    owner = _Pinned(rows)
    memory = cp.cuda.UnownedMemory(int(rows.ctypes.data), int(rows.nbytes), owner, device)
    return cp.ndarray(rows.shape, rows.dtype, cp.cuda.MemoryPointer(memory, 0))


def fit(rows: npt.NDArray[Any], most: int | None) -> bool:
    """Whether rows and their codes fit into the current GPU's memory, or into so many bytes of it."""
    count, dim = rows.shape
    needed = rows.nbytes + count * (-(-dim // 128) * 128 + dim // 2 + 32)
    if most is not None:
        return needed <= most
    free = int(cp.cuda.runtime.memGetInfo()[0]) + int(cp.get_default_memory_pool().free_bytes())
    return needed <= free - LEFT
