"""Kinds of rows that code is compiled for, and whether all of it is on disk."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import code_cache
from knnscope.certified.dtypes import BFLOAT, HALF


class Kind(NamedTuple):
    """What code differs by, of one version and processor: type of rows, their order in memory (C, F, or A for any), instruction set, memory (fast or small)."""

    dtype: str
    order: str
    isa: str
    memory: str = "fast"

    @property
    def mark(self) -> str:
        """The file that says that all of it is there."""
        return f"{'-'.join(self)}.all"

    def is_compiled(self) -> bool:
        """Whether all that searches need is on disk."""
        try:
            return code_cache.read(self.mark) is not None
        except code_cache.UnusableError:
            return False

    def set_compiled(self) -> None:
        """Say so; where nothing can be written nothing is said."""
        with contextlib.suppress(code_cache.UnusableError, OSError):
            code_cache.write(self.mark, b"")


def kind_of(rows: npt.NDArray[Any], isa: str, memory: str = "fast") -> Kind:
    """The kind of these rows, (rows, dim), as ``rows.as_rows`` or ``dtypes.computable`` gives them."""
    name = {BFLOAT: "bfloat16", HALF: "float16"}.get(rows.dtype, rows.dtype.name)
    order = "C" if rows.flags.c_contiguous else "F" if rows.flags.f_contiguous else "A"
    return Kind(name, order, isa, "small" if memory == "small" else "fast")


def example(kind: Kind, values: npt.NDArray[np.integer[Any]]) -> npt.NDArray[Any]:
    """Whole numbers, (rows, dim), as rows of this kind."""
    if kind.dtype == "bfloat16":
        rows: npt.NDArray[Any] = (values.astype(np.float32).view(np.int32) >> 16).astype(BFLOAT)
    else:
        rows = values.astype(kind.dtype)
    if kind.order == "F":
        return np.asfortranarray(rows)
    return np.ascontiguousarray(rows) if kind.order == "C" else np.repeat(rows, 2, axis=1)[:, ::2]
