"""What kernels/exact_plane.cu says of a search, and what follows from it. Nothing here needs a GPU."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.certified import plane_bound
from knnscope.certified.cuda.answer import Told

TOLD = np.dtype(
    [("alpha", np.float64), ("beta", np.float64), ("skipped", np.uint64)]
    + [(name, np.uint32) for name in ("least", "candidates", "computed", "errors")]
)
"""What the kernel says of a query."""
TOLD_BYTES = TOLD.itemsize


def told(found: npt.NDArray[np.uint8], last: npt.NDArray[np.float64], metric: int) -> Told:
    """What the kernel says; last: the k-th values, (queries,)."""
    each = found.view(TOLD)
    made = Told(each["candidates"], each["computed"], np.full(len(each), np.inf), each["errors"], "plane")
    for number, (one, value) in enumerate(zip(each, last.tolist(), strict=True)):
        bounds = [_key64(one["skipped"])] if one["skipped"] != np.uint64(2**64 - 1) else []
        if one["least"] != np.uint32(2**32 - 1):
            bounds.append(plane_bound.least(_float32(one["least"]), float(one["alpha"]), float(one["beta"])))
        made.margins[number] = margin(value, min(bounds, default=math.inf), metric)
    return made


def margin(last: float, key: float, metric: int) -> float:
    """How much further than the k-th value every row is whose key is at least ``key``: for l2 in plain distance."""
    if not key < math.inf or not abs(last) < math.inf:
        return math.inf
    if metric == 0:
        return max(0.0, math.sqrt(max(0.0, key)) - math.sqrt(last))
    return max(0.0, last + key)


def _float32(order: Any) -> float:
    bits = int(order)
    return float(np.uint32(bits ^ 0x80000000 if bits >> 31 else ~bits & 0xFFFFFFFF).view(np.float32))


def _key64(order: Any) -> float:
    bits = int(order)
    return float(np.uint64(bits ^ 1 << 63 if bits >> 63 else ~bits & 2**64 - 1).view(np.float64))
