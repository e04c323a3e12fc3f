"""Vectors of any kind as NumPy arrays over the same memory: NumPy, memory maps, ``__array__``, DLPack."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.certified.dtypes import BFLOAT, widened
from knnscope.checks import COMPONENTS, check_finite
from knnscope.errors import KnnscopeError
from knnscope.search.definition import DTYPES
from knnscope.units import short

CPU = 1
BFLOAT_CODE = 4
KNOWN = frozenset(map(np.dtype, DTYPES))
"""By type: a type's name takes 10 µs to put together."""


EITHER = "whole numbers from 0, or strings"
"""What ids may be."""
SHOWN = 60
"""Characters of an id in a message."""


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
    """A matrix over the memory of the vectors where it has a type that is searched; bfloat16 as int16, its bits.

    Raises:
        KnnscopeError: another shape, type or device, or numbers that float64 does not hold.
    """
    if isinstance(vectors, str | os.PathLike):
        raise KnnscopeError("rows are a path: ExactIndex.build(path) searches a file of vectors")
    found = _array(vectors, "rows")
    if found.ndim != 2 or 0 in found.shape:
        raise KnnscopeError(f"rows have shape {found.shape}: two dimensions (rows, dim), neither zero, were expected")
    return found


def as_added(vectors: Any, dim: int, dtype: Any) -> npt.NDArray[Any]:
    """Rows for an index that has some, (rows, dim), finite, of its type.

    Args:
        vectors: of any type, (rows, dim), or (dim,) for a single one.
        dim: components of the index.
        dtype: of its rows; None where it has had none.

    Raises:
        KnnscopeError: another shape, type or device, or a number that is not finite or that the index' type does not hold; names where.
    """
    found = _array(vectors, "rows")
    if found.ndim == 1:
        found = found[None] if len(found) else found.reshape(0, dim)  # an empty list
    if found.ndim != 2:
        raise KnnscopeError(f"rows have shape {found.shape}: (rows, {dim}), or ({dim},) for one, was expected")
    if found.shape[1] != dim:
        raise KnnscopeError(
            f"rows have {found.shape[1]} components, those of the index {dim}: use the same encoder for both"
        )
    values = widened(found)
    check_finite(values, "rows")
    if dtype is None or found.dtype == dtype:
        return found
    return _as_type(values, np.dtype(dtype))


def _as_type(values: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """The same numbers, finite, in another type.

    Raises:
        KnnscopeError: it does not hold one of them.
    """
    bits = dtype == BFLOAT
    made = (values.astype(np.float32).view(np.int32) >> 16).astype(BFLOAT) if bits else values.astype(dtype)
    lost = widened(made).astype(np.float64) != values.astype(np.float64)
    if lost.any():
        row, component = np.argwhere(lost)[0]
        name = "bfloat16" if bits else str(dtype)
        raise KnnscopeError(
            f"rows: row {row:,} has {values[row, component]} in component {component}, which {name}, the type of the rows that are there, "
            "does not hold: convert the rows to it, or build the index over rows of a wider type"
        )
    return made


def as_queries(queries: Any, dim: int) -> tuple[npt.NDArray[np.float64], bool]:
    """Queries as float64, (queries, dim), C order, finite; and whether a single one of one dimension was given.

    Raises:
        KnnscopeError: another shape, type or device, or a number that is not finite.
    """
    found = _array(queries, "queries")
    single = found.ndim == 1 and len(found) > 0
    if found.shape == (0,):  # an empty list
        found = found.reshape(0, dim)
    if single:
        found = found[None]
    if found.ndim != 2 or not found.shape[1]:
        raise KnnscopeError(f"queries have shape {found.shape}: (queries, {dim}), or ({dim},) for one, was expected")
    if found.shape[1] != dim:
        raise KnnscopeError(f"queries have {found.shape[1]} components, the rows {dim}: use the same encoder for both")
    values = widened(found)
    check_finite(values, "queries")
    return np.ascontiguousarray(values, dtype=np.float64), single


def as_ids(ids: Any, rows: int, kind: str = EITHER) -> npt.NDArray[np.int64]:
    """What rows are called, int64, (rows,); (0,) for their numbers. kind: what is taken beside them, for messages.

    Raises:
        KnnscopeError: another shape or type, a negative number, or one that stands twice.
    """
    if ids is None:
        return np.empty(0, dtype=np.int64)
    given = plain(ids, "ids")
    if given.shape != (rows,):
        raise KnnscopeError(
            f"ids have shape {given.shape}: one for each row, ({rows},), was expected, in a list or an array"
        )
    if given.dtype.kind not in "iu":
        raise no_ids(given, "ids", kind)
    if rows and (int(given.min()) < 0 or int(given.max()) >= np.iinfo(np.int64).max):
        raise KnnscopeError("ids lie between 0 and 2^63 - 2: -1 stands for no row")
    names: npt.NDArray[np.int64] = np.array(given, dtype=np.int64, order="C")  # the caller may change his array
    ascending = np.sort(names)
    twice = np.flatnonzero(ascending[1:] == ascending[:-1])
    if len(twice):
        raise KnnscopeError(f"ids: {ascending[twice[0]]} stands more than once: each row needs an id of its own")
    return names


def no_ids(values: npt.NDArray[Any], what: str, kind: str = EITHER) -> KnnscopeError:
    """What is said of values that are neither whole numbers nor strings: UUIDs, dates, bytes, fractions, numbers beyond int64.

    Args:
        values: of at least one.
        what: what they are, for messages.
        kind: what ids may be here.
    """
    flat = values.ravel()
    one = next((v for v in flat.tolist() if not isinstance(v, str)), None) if flat.dtype.kind == "O" else flat[0]
    shown = short(str(one) if flat.dtype.kind != "O" else repr(one), SHOWN)
    remedy = "id.decode()" if isinstance(one, bytes) else "str(id)"
    as_strings = f"; as strings: [{remedy} for id in ids]" if "strings" in kind else ""
    return KnnscopeError(f"{what} are of type {flat.dtype}, with {shown}: {kind} were expected{as_strings}")


def as_mask(where: Any, queries: int, rows: int) -> npt.NDArray[np.bool_]:
    """Rows that may be answers, (1 or queries, rows); (0, rows) for all.

    Raises:
        KnnscopeError: another shape or type.
    """
    if where is None:
        return np.empty((0, rows), dtype=np.bool_)
    mask = plain(where, "where")
    if mask.dtype != np.bool_ or mask.shape not in ((rows,), (queries, rows)):
        raise KnnscopeError(
            f"where has shape {mask.shape} and type {mask.dtype}: bool, ({rows},) or ({queries}, {rows}), was expected"
            + ("; ids to keep are given as knnscope.Keep(ids)" if mask.dtype.kind in "iu" else "")
        )
    return np.ascontiguousarray(np.atleast_2d(mask))


def is_masked(given: Any) -> bool:
    """Whether it is an array with a mask; where there is one, NumPy's module of these, which takes 20 ms to load, is there too."""
    module: Any = sys.modules.get("numpy.ma")
    return isinstance(given, getattr(module, "MaskedArray", ()))


def plain(given: Any, what: str) -> npt.NDArray[Any]:
    """An array as NumPy reads it.

    Raises:
        KnnscopeError: it is none, or has a mask.
    """
    if type(given) is np.ndarray:
        return given
    if is_masked(given):
        raise KnnscopeError(f"{what} are a masked array, whose mask would be lost: give .filled(value), or .data")
    try:
        return np.asarray(given)
    except (ValueError, TypeError, RuntimeError, BufferError) as error:  # ragged lists, tensors that need gradients
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise KnnscopeError(f"{what} are not one array of numbers: {reason}") from error


def _array(given: Any, what: str) -> npt.NDArray[Any]:
    if not isinstance(given, np.ndarray) and hasattr(given, "__dlpack__"):
        try:
            bits = _bfloat(given)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            raise KnnscopeError(f"{what} cannot be read through DLPack: {error}") from error
        if bits is not None:
            return bits
    found = plain(given, what)
    if not found.size and found.dtype.kind == "f":
        return found.astype(np.float64)  # [] says nothing of its type
    if not found.dtype.isnative:
        found = found.astype(found.dtype.newbyteorder("="))
    if found.dtype in KNOWN:
        return found
    if found.dtype.kind == "b":
        return found.view(np.uint8)
    if found.dtype.kind in "iu" or found.dtype == np.longdouble:
        return _converted(found, what)
    raise KnnscopeError(f"{what} are of type {found.dtype}: {', '.join(DTYPES)} or, by DLPack, bfloat16 were expected")


def _converted(found: npt.NDArray[Any], what: str) -> npt.NDArray[Any]:
    """The same numbers as int32 or float64.

    Raises:
        KnnscopeError: float64 does not hold one of them.
    """
    whole = found.dtype.kind in "iu"
    narrow = np.iinfo(np.int32)
    if whole and (not found.size or (int(found.min()) >= narrow.min and int(found.max()) <= narrow.max)):
        return found.astype(np.int32)
    made = np.empty(found.shape, dtype=np.float64)
    beyond = 2.0 ** (63 if found.dtype.kind == "i" else 64)  # what rounding may reach, and the type does not hold
    step = max(1, COMPONENTS // max(1, math.prod(found.shape[1:])))
    for first in range(0, len(found), step):
        some = found[first : first + step]
        made[first : first + step] = values = some.astype(np.float64)
        back = np.where(values < beyond, values, 0) if whole else values
        lost = (back.astype(found.dtype) != some) & (some == some)  # NaN is refused elsewhere
        if lost.any():
            place = tuple(np.argwhere(lost)[0])
            raise KnnscopeError(f"{what} of type {found.dtype}: float64 does not hold {some[place]}, scale or round it")
    return made


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
