"""Arrays that lie on the GPU, of any library: CuPy's over the same memory, and back."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import cupy as cp
import numpy as np

from knnscope.certified.cuda.streams import aside, capture
from knnscope.certified.cuda.table import CELLS, on_gpu
from knnscope.errors import KnnscopeError


def matrix(given: Any, what: str) -> Any:
    """An array over the same memory, of a type that is searched; bfloat16 as int16, its bits.

    Raises:
        KnnscopeError: another type, or memory of another device.
    """
    if str(getattr(given, "dtype", "")).rpartition(".")[2] == "bfloat16" and hasattr(given, "view"):
        return _taken(given.view(_library(given).int16), what)
    found = _taken(given, what)
    if found.dtype.kind == "b":
        found = found.view(cp.uint8)
    if str(found.dtype) not in CELLS:
        raise KnnscopeError(f"{what} are of type {found.dtype}: {', '.join(CELLS)} were expected")
    return found


def _library(given: Any) -> Any:
    """The library that an array is of."""
    if hasattr(given, "__array_namespace__"):
        return given.__array_namespace__()
    return sys.modules.get(type(given).__module__.partition(".")[0])


def _taken(given: Any, what: str) -> Any:
    """An array over the same memory, which the current stream may read: DLPack makes it wait, and of PyTorch's it is the stream itself."""
    try:
        by_dlpack = hasattr(given, "__dlpack__") and not isinstance(given, cp.ndarray) and not _is_torch(given)
        found = cp.from_dlpack(given) if by_dlpack else cp.asarray(given)
    except (BufferError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise KnnscopeError(f"{what} cannot be read from the GPU: {str(error).strip().splitlines()[0]}") from error
    here = cp.cuda.runtime.getDevice()
    if found.device.id != here:
        raise KnnscopeError(f"{what} lie on cuda:{found.device.id}, the index on cuda:{here}")
    if found.data.ptr % found.dtype.itemsize:
        raise KnnscopeError(f"{what} of type {found.dtype} are not aligned in memory: copy them")
    return found


def queries(given: Any, dim: int) -> tuple[Any, bool]:
    """Queries as float32 or float64, (queries, dim), in order; and whether a single one of one dimension was given.

    Raises:
        KnnscopeError: another shape, type or device.
    """
    found = given if type(given) is cp.ndarray and given.dtype.char in "fd" else matrix(given, "queries")
    single = found.ndim == 1
    if single:
        found = found[None]
    if found.ndim != 2 or found.shape[1] != dim:
        raise KnnscopeError(f"queries have shape {given.shape}: (queries, {dim}), or ({dim},) for one, was expected")
    if found.device.id != (here := cp.cuda.runtime.getDevice()):
        raise KnnscopeError(f"queries lie on cuda:{found.device.id}, the index on cuda:{here}")
    if found.dtype.char in "fd" and found.flags.c_contiguous:
        return found, single
    made = _empty(found.shape, cp.float64 if found.dtype.char == "d" or found.dtype == cp.int32 else cp.float32)
    if found.dtype == cp.int16:
        halves = made.view(cp.int16).reshape(*found.shape, 2)
        halves[..., 0], halves[..., 1] = 0, found
    else:
        made[...] = found
    return made, single


def _empty(shape: tuple[int, ...], dtype: Any) -> Any:
    """Where something is copied to for a search: a graph, which copies it whenever it is started, has the memory alone."""
    with aside() if capture(cp.cuda.get_current_stream()) else nullcontext():
        return cp.empty(shape, dtype)


def stream_of(given: Any) -> AbstractContextManager[Any]:
    """The stream on which the library of an array works now: PyTorch has its own, the others say it when memory is handed over."""
    if not _is_torch(given):
        return nullcontext()
    torch: Any = sys.modules["torch"]
    stream = torch.cuda.current_stream(given.device)
    return cp.cuda.Stream.from_external(_Stream(stream.cuda_stream))


def _is_torch(given: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(given, torch.Tensor)


class _Stream:
    """A stream by its number, as CuPy asks for one."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._number


def taken(out: tuple[Any, Any], shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Arrays to be written, as CuPy's over the same memory, (queries, k).

    Raises:
        KnnscopeError: another shape or type, or gaps between numbers.
    """
    ids, distances = (_taken(array, "out") for array in out)
    for array, dtype in ((ids, cp.int64), (distances, cp.float64)):
        if array.shape != shape or array.dtype != dtype or not array.flags.c_contiguous:
            raise KnnscopeError(
                f"out has shape {array.shape} and type {array.dtype}: ids int64 and distances float64, both {shape} without gaps, were expected"
            )
    return ids.reshape(-1, shape[-1]), distances.reshape(-1, shape[-1])


def mask(given: Any, count: int, rows: int) -> Any:
    """Rows that may be answers, bool, (1 or queries, rows), on the GPU.

    Raises:
        KnnscopeError: another shape or type.
    """
    if isinstance(given, np.ndarray | list | tuple):
        if capture(cp.cuda.get_current_stream()):
            raise KnnscopeError(
                "where lies in host memory: a search that is captured in a CUDA graph needs it in the GPU's"
            )
        found = on_gpu(np.asarray(given))
    else:
        found = _taken(given, "where")
    if found.dtype != cp.bool_ or found.shape not in ((rows,), (count, rows)):
        raise KnnscopeError(
            f"where has shape {found.shape} and type {found.dtype}: bool, ({rows},) or ({count}, {rows}), was expected"
        )
    found = found[None] if found.ndim == 1 else found
    if found.flags.c_contiguous:
        return found
    made = _empty(found.shape, cp.bool_)
    made[...] = found
    return made


def like(array: Any, given: Any) -> Any:
    """An answer as an array of the library that the queries are of."""
    if isinstance(given, cp.ndarray):
        return array
    take = getattr(_library(given), "from_dlpack", None)
    return array if take is None else take(array)
