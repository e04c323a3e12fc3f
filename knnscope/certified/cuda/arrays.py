"""Arrays that lie on the GPU, of any library: CuPy's over the same memory, and back."""

from __future__ import annotations

import sys
from typing import Any

import cupy as cp
import numpy as np

from knnscope.certified.cuda.table import CELLS
from knnscope.checks import check_finite
from knnscope.errors import KnnscopeError


def matrix(given: Any, what: str) -> Any:
    """An array over the same memory, of a type that is searched; bfloat16 as int16, its bits.

    Raises:
        KnnscopeError: another type, or memory of another device.
    """
    if str(getattr(given, "dtype", "")).rpartition(".")[2] == "bfloat16" and hasattr(given, "view"):
        bits = sys.modules[type(given).__module__.partition(".")[0]].int16
        return _taken(given.view(bits), what)
    found = _taken(given, what)
    if found.dtype.kind == "b":
        found = found.view(cp.uint8)
    if str(found.dtype) not in CELLS:
        raise KnnscopeError(f"{what} are of type {found.dtype}: {', '.join(CELLS)} were expected")
    return found


def _taken(given: Any, what: str) -> Any:
    try:
        found = cp.asarray(given) if hasattr(given, "__cuda_array_interface__") else cp.from_dlpack(given)
    except (BufferError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise KnnscopeError(f"{what} cannot be read from the GPU: {str(error).strip().splitlines()[0]}") from error
    here = cp.cuda.runtime.getDevice()
    if found.device.id != here:
        raise KnnscopeError(f"{what} lie on cuda:{found.device.id}, the index on cuda:{here}")
    return found


def queries(given: Any, dim: int) -> tuple[Any, bool]:
    """Queries as float64, (queries, dim), finite; and whether a single one of one dimension was given.

    Raises:
        KnnscopeError: another shape, type or device, or a number that is not finite.
    """
    found = matrix(given, "queries")
    single = found.ndim == 1
    if single:
        found = found[None]
    if found.ndim != 2 or found.shape[1] != dim:
        raise KnnscopeError(f"queries have shape {given.shape}: (queries, {dim}), or ({dim},) for one, was expected")
    bfloat = found.dtype == cp.int16
    wide = (found.astype(cp.int32) << 16).view(cp.float32) if bfloat else found
    values = cp.ascontiguousarray(wide, dtype=cp.float64)
    if wide.dtype.kind == "f" and not bool(cp.isfinite(values).all()):
        check_finite(cp.asnumpy(values), "queries")
    return values, single


def mask(given: Any, count: int, rows: int) -> Any:
    """Rows that may be answers, bool, (1 or queries, rows), on the GPU.

    Raises:
        KnnscopeError: another shape or type.
    """
    found = cp.asarray(given) if isinstance(given, np.ndarray | list | tuple) else _taken(given, "where")
    if found.dtype != cp.bool_ or found.shape not in ((rows,), (count, rows)):
        raise KnnscopeError(
            f"where has shape {found.shape} and type {found.dtype}: bool, ({rows},) or ({count}, {rows}), was expected"
        )
    return cp.ascontiguousarray(cp.atleast_2d(found))


def like(array: Any, given: Any) -> Any:
    """An answer as an array of the library that the queries are of."""
    if isinstance(given, cp.ndarray):
        return array
    library = sys.modules.get(type(given).__module__.partition(".")[0])
    if hasattr(given, "__array_namespace__"):
        library = given.__array_namespace__()
    take = getattr(library, "from_dlpack", None)
    return array if take is None else take(array)
