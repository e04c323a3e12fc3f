"""Arrays on their way between host and GPU, through memory that the GPU reads and writes by itself: one copy each way, one wait."""

from __future__ import annotations

from typing import Any

import cupy as cp
import numpy as np
import numpy.typing as npt

ANYWHERE = 4
"""cudaMemcpyDefault: addresses say where memory is."""
MOST = 1 << 26
"""Bytes of an array up to which it goes that way; more memory is not taken from paging."""


class Staged:
    """An array of the host that is being copied to the GPU, in the order of the current stream; keep it until that is over."""

    __slots__ = ("_kept", "there")

    def __init__(self, array: npt.NDArray[Any]) -> None:
        if not 0 < array.nbytes <= MOST:
            self._kept, self.there = None, cp.asarray(array)
            return
        self._kept = memory = cp.cuda.alloc_pinned_memory(array.nbytes)
        np.copyto(_view(memory, array.shape, array.dtype), array)
        self.there = cp.empty(array.shape, array.dtype)
        stream = cp.cuda.get_current_stream().ptr
        cp.cuda.runtime.memcpyAsync(
            self.there.data.ptr, memory.ptr, array.nbytes, cp.cuda.runtime.memcpyHostToDevice, stream
        )


def brought(memory: Any, size: int) -> npt.NDArray[np.uint8]:
    """Bytes of the GPU in host memory, once the current stream has come to it: waits."""
    stream = cp.cuda.get_current_stream()
    if size > MOST:
        found: npt.NDArray[np.uint8] = cp.asnumpy(cp.ndarray(size, cp.uint8, memory), stream=stream)
        return found
    here = cp.cuda.alloc_pinned_memory(size)
    cp.cuda.runtime.memcpyAsync(here.ptr, memory.ptr, size, cp.cuda.runtime.memcpyDeviceToHost, stream.ptr)
    stream.synchronize()
    return _view(here, (size,), np.dtype(np.uint8)).copy()


def _view(memory: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    return np.frombuffer(memory, dtype, int(np.prod(shape))).reshape(shape)
