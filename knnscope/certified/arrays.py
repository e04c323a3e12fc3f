"""Vectors of any kind as NumPy arrays over the same memory: NumPy, memory maps, ``__array__``, DLPack."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.certified.values import BFLOAT, widened
from knnscope.checks import check_finite
from knnscope.errors import KnnscopeError
from knnscope.search.topk import DTYPES

CPU = 1
BFLOAT_CODE = 4


class _Type(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    """DLTensor of the DLPack standard, https://dmlc.github.io/dlpack/latest/c_api.html."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("dtype", _Type),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def as_rows(vectors: Any) -> npt.NDArray[Any]:
    """A matrix over the memory of the vectors; bfloat16 as int16, its bits.

    Raises:
        KnnscopeError: another shape, type or device.
    """
    found = _array(vectors)
    if found.ndim != 2 or 0 in found.shape:
        raise KnnscopeError(f"rows have shape {found.shape}: two dimensions (rows, dim), neither zero, were expected")
    return found


def as_queries(queries: Any, dim: int) -> npt.NDArray[np.float64]:
    """Queries as float64, C order, finite.

    Raises:
        KnnscopeError: another shape, type or device, or a number that is not finite.
    """
    found = _array(queries)
    if found.ndim != 2 or 0 in found.shape:
        raise KnnscopeError(
            f"queries have shape {found.shape}: two dimensions (queries, dim), neither zero, were expected"
        )
    if found.shape[1] != dim:
        raise KnnscopeError(f"queries have {found.shape[1]} components, the rows {dim}: use the same encoder for both")
    values = widened(found)
    check_finite(values, "queries")
    return np.ascontiguousarray(values, dtype=np.float64)


def _array(given: Any) -> npt.NDArray[Any]:
    if not isinstance(given, np.ndarray) and hasattr(given, "__dlpack__"):
        try:
            bits = _bfloat(given)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            raise KnnscopeError(f"vectors cannot be read through DLPack: {error}") from error
        if bits is not None:
            return bits
    found = np.asarray(given)
    if not found.dtype.isnative:
        raise KnnscopeError(f"vectors of type {found.dtype.str}: this machine's byte order was expected")
    if found.dtype.name not in DTYPES:
        raise KnnscopeError(f"vectors of type {found.dtype}: {', '.join(DTYPES)} or, by DLPack, bfloat16 were expected")
    return found


def _bfloat(given: Any) -> npt.NDArray[Any] | None:
    """bfloat16, which NumPy has not, as its bits over the same memory; None for any other type."""
    if given.__dlpack_device__()[0] != CPU:
        raise KnnscopeError("vectors lie on another device: copy them to the host first")
    capsule = given.__dlpack__()
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    tensor = _Tensor.from_address(pointer(capsule, b"dltensor"))
    if (tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes) != (BFLOAT_CODE, 16, 1):
        return None
    shape = tuple(tensor.shape[: tensor.ndim])
    steps = tuple(tensor.strides[: tensor.ndim]) if tensor.strides else _contiguous(shape)
    if 0 in shape or min(steps, default=0) < 0:
        return np.empty(shape if 0 in shape else (0, 0), dtype=BFLOAT)
    span = 1 + sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
    memory = (ctypes.c_int16 * span).from_address(tensor.data + tensor.byte_offset)
    memory.keeper = capsule  # the array holds the memory, the memory what it belongs to
    return np.ndarray(shape, BFLOAT, buffer=memory, strides=[2 * step for step in steps])


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    steps = [1]
    for size in reversed(shape[1:]):
        steps.insert(0, steps[0] * size)
    return tuple(steps)
