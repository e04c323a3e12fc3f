"""Arrays on their way between host and GPU, through memory that the GPU reads and writes by itself: one copy each way, one wait."""

from __future__ import annotations

from typing import Any

import cupy as cp
import numpy as np
import numpy.typing as npt

from knnscope.certified.cuda.table import on_gpu

ANYWHERE = 4
"""cudaMemcpyDefault: addresses say where memory is."""
MOST = 1 << 26
"""Bytes of an array up to which it goes that way; more memory is not taken from paging."""


class Staged:
    """An array of the host that is being copied to the GPU, in the order of the current stream; keep it until that is over."""

    __slots__ = ("_kept", "there")

    def __init__(self, array: npt.NDArray[Any]) -> None:
        memory = _pinned(array.nbytes)
        if memory is None:
            self._kept, self.there = None, on_gpu(array)
            return
        self._kept = memory
        np.copyto(_view(memory, array.shape, array.dtype), array)
        self.there = cp.empty(array.shape, array.dtype)
        stream = cp.cuda.get_current_stream().ptr
        cp.cuda.runtime.memcpyAsync(
            self.there.data.ptr, memory.ptr, array.nbytes, cp.cuda.runtime.memcpyHostToDevice, stream
        )


def brought(memory: Any, size: int) -> npt.NDArray[np.uint8]:
    """Bytes of the GPU in host memory, once the current stream has come to it: waits."""
    stream = cp.cuda.get_current_stream()
    here = _pinned(size)
    if here is None:
        found: npt.NDArray[np.uint8] = cp.asnumpy(cp.ndarray(size, cp.uint8, memory), stream=stream)
        return found
    cp.cuda.runtime.memcpyAsync(here.ptr, memory.ptr, size, cp.cuda.runtime.memcpyDeviceToHost, stream.ptr)
    stream.synchronize()
    return _view(here, (size,), np.dtype(np.uint8)).copy()


def _pinned(size: int) -> Any:
    """Memory that the GPU reads and writes by itself; None where that is too much, or the system has none to give."""
    if not 0 < size <= MOST:
        return None
    try:
        return cp.cuda.alloc_pinned_memory(size)
    except cp.cuda.runtime.CUDARuntimeError:
        return None


def _view(memory: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    return np.frombuffer(memory, dtype, int(np.prod(shape))).reshape(shape)
