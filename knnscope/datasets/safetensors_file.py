"""safetensors: a length, a header of JSON, then the tensors, mapped, not read; bfloat16 becomes float32, which holds it exactly.

Layout: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.datasets.array_checks import checked, memory_limit
from knnscope.datasets.packed_files import mapped
from knnscope.errors import KnnscopeError
from knnscope.records import VectorDataset

MAX_HEADER = 1 << 24
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I32": "<i4", "I8": "i1", "U8": "u1"}


def safetensors(path: Path, column: str) -> VectorDataset:
    """The tensor of two dimensions; of several the one named, or ``train`` with the queries ``test``.

    Raises:
        KnnscopeError: a damaged file, or no such tensor.
    """
    size = path.stat().st_size
    data = mapped(path)
    length = int.from_bytes(data[:8], "little")
    if not 2 <= length <= min(size - 8, MAX_HEADER):
        raise KnnscopeError(f"{path}: no safetensors file: its header would have {length:,} of {size:,} bytes")
    try:
        header: Any = json.loads(data[8 : 8 + length].decode("utf-8"))
        rows = {name: t for name, t in header.items() if name != "__metadata__" and len(t["shape"]) == 2}
        there = ", ".join(f"{n} {t['dtype']} {t['shape']}" for n, t in list(header.items())[:9] if n != "__metadata__")
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise KnnscopeError(f"{path}: no safetensors file, its header is damaged ({type(error).__name__})") from error
    wanted = [column] if column else ["train", "test"] if "train" in rows else list(rows)
    if (column and column not in rows) or not rows or (len(wanted) > 1 and "train" not in rows):
        raise KnnscopeError(
            f"{path}: {len(rows)} tensors of two dimensions: name one as {path}#NAME; there is {there or 'none'}"
        )
    parts = [checked(path, _tensor(path, rows[n], data, 8 + length)) for n in wanted if n in rows]
    return VectorDataset(str(path), parts[0], parts[1] if len(parts) > 1 else None)


def _tensor(path: Path, about: dict[str, Any], data: Any, base: int) -> npt.NDArray[Any]:
    named, shape, offsets = about.get("dtype"), about.get("shape"), about.get("data_offsets")
    if not isinstance(named, str) or named not in _TYPES:
        raise KnnscopeError(f"{path}: components of type {str(named)[:40]}, expected one of {', '.join(_TYPES)}")
    numbers = [*shape, *offsets] if isinstance(shape, list) and isinstance(offsets, list) else []
    if len(numbers) != 4 or not all(type(n) is int and 0 <= n < 1 << 62 for n in numbers):
        raise KnnscopeError(f"{path}: no safetensors file: a tensor's shape and place are no whole numbers")
    rows, dim, first, last = numbers
    dtype = np.dtype(_TYPES[named])
    if not first <= last <= len(data) - base or rows * dim * dtype.itemsize != last - first:
        raise KnnscopeError(
            f"{path}: a tensor of {rows:,} x {dim:,} {named} does not lie in bytes {first:,} to {last:,}: cut off"
        )
    if not rows * dim:
        raise KnnscopeError(f"{path}: {rows:,} rows of {dim:,} components, nothing to search")
    values = np.ndarray((rows, dim), dtype, buffer=data, offset=base + first)
    if named != "BF16":
        return values
    memory_limit(path, 4 * values.size, 4 * values.size)
    widened: npt.NDArray[Any] = np.left_shift(values, np.uint32(16), dtype=np.uint32).view(np.float32)
    return widened
