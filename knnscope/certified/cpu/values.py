"""Components of rows of any type that the project knows, read by compiled code and widened without rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from knnscope.certified.cpu.jit import compiled


@intrinsic
def _float_of(typingctx: Any, bits: Any) -> Any:  # noqa: ARG001
    """The float32 of these 32 bits."""

    def generate(context: Any, builder: Any, _: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), generate


def value(rows: Any, row: int, j: int) -> float:
    """Component ``j`` of a row, float64."""
    raise NotImplementedError  # only inside compiled functions


@compiled()
def half_of(bits: int) -> float:
    """A float16 by its bits."""
    exponent, digits = bits >> 10 & 31, bits & 1023
    if exponent == 31:
        return np.inf
    size = np.float64(digits) * 2.0**-24
    if exponent:
        size = (1024.0 + digits) * np.float64(_float_of(np.int32((exponent + 102) << 23)))  # 2^(exponent - 25)
    return -size if bits & 0x8000 else size


@overload(value, inline="always")
def _value(rows: Any, row: Any, j: Any) -> Any:  # noqa: ARG001
    if rows.dtype == types.int16:

        def bfloat(rows: Any, row: Any, j: Any) -> Any:
            return np.float64(_float_of(np.int32(rows[row, j]) << np.int32(16)))

        return bfloat
    if rows.dtype == types.uint16:

        def half(rows: Any, row: Any, j: Any) -> Any:
            return half_of(np.int32(rows[row, j]))

        return half

    def native(rows: Any, row: Any, j: Any) -> Any:
        return np.float64(rows[row, j])

    return native


def centred(rows: Any, row: int, j: int, centre: Any) -> np.float32:
    """Component ``j`` of a row less that of the centre, rounded once; for float32 rows the centre has to be float32 as well."""
    raise NotImplementedError  # only inside compiled functions


@overload(centred, inline="always")
def _centred(rows: Any, row: Any, j: Any, centre: Any) -> Any:  # noqa: ARG001
    if rows.dtype == types.float32:

        def single(rows: Any, row: Any, j: Any, centre: Any) -> Any:
            return rows[row, j] - np.float32(centre[j])

        return single

    def double(rows: Any, row: Any, j: Any, centre: Any) -> Any:
        return np.float32(value(rows, row, j) - centre[j])

    return double
