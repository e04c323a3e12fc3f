"""What every reader of vectors checks: shapes, types, and that a small file does not claim a large one's memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt

from knnscope.environment import memory
from knnscope.errors import KnnscopeError
from knnscope.records import DTYPES, Vectors

MAX_DIM = 1 << 22
"""Components of a row: with more, rounding in float32 may make anything of a cosine (search/rounding.py), and nothing could be graded."""
MAX_GROWTH = 1000
"""Bytes of numbers for each byte stored: compressed zeros, but no bomb."""


def checked(path: Path, values: npt.NDArray[Any]) -> Vectors:
    """Rows of numbers in two dimensions; another byte order is turned into this machine's, which takes a copy.

    Raises:
        KnnscopeError: another shape or type, no rows, too many components, or no memory for the copy.
    """
    if values.ndim != 2:
        raise KnnscopeError(f"{path}: an array of shape {values.shape}, two dimensions (rows, dim) were expected")
    if values.dtype.name not in DTYPES:
        raise KnnscopeError(
            f"{path}: components of type {values.dtype}, expected one of {', '.join(DTYPES)}: save values.astype('float32')"
        )
    if 0 in values.shape:
        raise KnnscopeError(f"{path}: {values.shape[0]} rows of {values.shape[1]} components, nothing to search")
    if values.shape[1] > MAX_DIM:
        raise KnnscopeError(f"{path}: {values.shape[1]:,} components a row are more than the limit of {MAX_DIM:,}")
    if not values.dtype.isnative:
        memory_limit(path, values.nbytes, values.nbytes)
        values = values.astype(values.dtype.newbyteorder("="))
    return Vectors(values)


def memory_limit(path: Path, needed: int, stored: int) -> None:
    """Refuse what does not fit into memory, and what claims far more than the file holds.

    Args:
        path: the file.
        needed: bytes that reading it takes.
        stored: bytes that it stores them in.

    Raises:
        KnnscopeError: either.
    """
    facts = memory()
    available = min(filter(None, (facts["available"], facts["limit"])), default=None)
    if available is not None and needed > available:
        raise KnnscopeError(
            f"{path}: needs {needed:,} bytes of memory, {available:,} are free: save it as .npy, which is memory-mapped"
        )
    if needed > MAX_GROWTH * stored + (1 << 20):
        raise KnnscopeError(f"{path}: claims {needed:,} bytes of numbers and stores {stored:,}: not a file of vectors")
