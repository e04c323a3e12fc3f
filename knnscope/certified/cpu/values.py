"""Components of rows of any type that the project knows, read by compiled code and widened without rounding."""

from __future__ import annotations

from typing import Any

import numpy as np

from knnscope.certified.cpu.jit import compiled
from knnscope.certified.cpu.llvm import Emit, T, instructions
from knnscope.certified.dtypes import BFLOAT, HALF


@instructions
def _float_of(emit: Emit, bits: Any) -> Any:
    """The float32 of these 32 bits, as float64."""
    b = emit.builder
    return b.fpext(b.bitcast(b.trunc(bits, T.I32), T.F32), T.F64)


@compiled()
def half_of(bits: int) -> float:
    """A float16 by its bits."""
    exponent, digits = bits >> 10 & 31, bits & 1023
    if exponent == 31:
        return np.inf
    size = np.float64(digits) * 2.0**-24
    if exponent:
        size = (1024.0 + digits) * _float_of((exponent + 102) << 23)  # 2^(exponent - 25)
    return -size if bits & 0x8000 else size


@compiled(inline=True)
def value(rows: Any, row: int, j: int) -> float:
    """Component ``j`` of a row, float64; what is asked of the type is decided when this is compiled."""
    if rows.dtype == BFLOAT:
        return _float_of(rows[row, j] << 16)
    if rows.dtype == HALF:
        return half_of(rows[row, j])
    return np.float64(rows[row, j])


@compiled(inline=True)
def centred(rows: Any, row: int, j: int, centre: Any) -> np.float32:
    """Component ``j`` of a row less that of the centre, rounded once; for float32 rows the centre has to be float32 as well."""
    if rows.dtype == np.float32:
        return rows[row, j] - np.float32(centre[j])
    return np.float32(value(rows, row, j) - centre[j])
