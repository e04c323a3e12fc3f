"""Queries that lie on a GPU: checked, queued, and answered by arrays of their own library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from knnscope.certified.cuda import arrays
from knnscope.certified.cuda.answer import LazyCertificate, Queued
from knnscope.records import Neighbors

Asked = tuple[Any, int, Any, tuple[Any, Any] | None]
"""Queries, k, where and out, as ``ExactIndex.search`` takes them."""


def answered(queue: Callable[..., Queued], shape: tuple[int, int], asked: Asked) -> Neighbors:
    """The answer, which lies there too, once the current stream comes to it.

    Args:
        queue: see ``CudaScanner.queue``.
        shape: of the rows.
        asked: see there.

    Raises:
        KnnscopeError: another shape, type or device.
    """
    queries, k, where, out = asked
    values, single = arrays.queries(queries, shape[1])
    allowed = None if where is None else arrays.mask(where, len(values), shape[0])
    taken = None if out is None else arrays.taken(out, (k,) if single else (len(values), k))
    found = queue(values, k, allowed, taken)
    proof = LazyCertificate(found.read)
    if out is not None:
        return Neighbors(*out, proof)
    ids, distances = (found.ids[0], found.values[0]) if single else (found.ids, found.values)
    return Neighbors(arrays.like(ids, queries), arrays.like(distances, queries), proof)
