"""Arrays as Faiss takes and gives them: float32 and int64, (queries, k); label -1 and the worst float32 where there is no row."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.errors import KnnscopeError
from knnscope.records import FloatArray

METRIC_INNER_PRODUCT, METRIC_L2 = 0, 1
NAMES = {METRIC_INNER_PRODUCT: "ip", METRIC_L2: "l2"}
WORST = float(np.finfo(np.float32).max)

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Answer = tuple[Int64, FloatArray]
"""Labels and distances, (queries, as many as there are up to k); -1 and infinite where fewer are allowed."""


class ShapeError(KnnscopeError, AssertionError, ValueError):
    """Arrays that do not fit; Faiss asserts that they do."""


class RefusedError(KnnscopeError, RuntimeError):
    """What Faiss refuses with a RuntimeError, or what only Faiss has."""


def name_of(metric: int) -> str:
    """Our name of a metric.

    Raises:
        RefusedError: it is not here.
    """
    if metric not in NAMES:
        raise RefusedError(f"metric {metric}: METRIC_L2 and METRIC_INNER_PRODUCT are here, Faiss itself has others")
    return NAMES[metric]


def matrix(given: Any, dim: int | None, what: str) -> Float32:
    """Vectors as float32, (vectors, dim); None for any number of components.

    Raises:
        ShapeError: another shape.
    """
    values = np.ascontiguousarray(given, dtype=np.float32)
    if np.ndim(given) != 2 or dim not in (None, values.shape[1]):
        raise ShapeError(f"{what} have shape {np.shape(given)}: ({what}, {dim or 'components'}) was expected")
    return values


def counted(k: Any) -> int:
    """How many neighbors.

    Raises:
        ShapeError: less than one.
    """
    if index(k) < 1:
        raise ShapeError(f"k = {k}: 1 or more was expected")
    return index(k)


def rounded(values: FloatArray) -> Float32:
    """Distances as float32."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def filled(found: Answer, k: int, metric: int, into: tuple[Any, Any] = (None, None)) -> tuple[Float32, Int64]:
    """Distances and labels of k neighbors; where there is no row its distance is infinite, and its label -1.

    Args:
        found: what there is.
        k: how many are wanted.
        metric: decides what stands for no distance.
        into: float32 and int64, (queries, k), to be written; None for a new array.

    Raises:
        ShapeError: an array to be written has another shape or type.
    """
    ids, values = found
    shape, worst = (len(ids), k), WORST if metric == METRIC_L2 else -WORST
    distances, labels = (
        np.empty(shape, dtype) if one is None else one for one, dtype in zip(into, ("f4", "i8"), strict=True)
    )
    if not distances.shape == labels.shape == shape:
        raise ShapeError(f"D and I have shapes {distances.shape} and {labels.shape}: {shape} was expected")
    if (distances.dtype, labels.dtype) != (np.float32, np.int64):
        raise ShapeError(f"D and I are {distances.dtype} and {labels.dtype}: float32 and int64 were expected")
    distances[:], labels[:] = worst, -1
    width = ids.shape[1]
    distances[:, :width], labels[:, :width] = np.where(np.isfinite(values), rounded(values), worst), ids
    return distances, labels
