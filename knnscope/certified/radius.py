"""All rows within a radius, as a user asks for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.certified.scanner import RadiusRequest, Scanner, Within
from knnscope.checks import check_whole
from knnscope.errors import KnnscopeError
from knnscope.ragged import RadiusNeighbors
from knnscope.records import Certificate
from knnscope.search import definition

LIMIT = 1 << 26
"""Answers of all queries together: 1 GiB."""
MOST = 1 << 48
"""The largest limit."""


def as_keys(radius: Any, queries: int, metric: str) -> npt.NDArray[np.float64]:
    """Radii as the largest keys, float64, (queries,): similarities with the other sign.

    Args:
        radius: a number, or one for each query.
        queries: how many.
        metric: l2, ip or cosine.

    Raises:
        KnnscopeError: another shape or type, NaN, or a negative squared distance.
    """
    try:
        given = np.asarray(radius)
    except (ValueError, TypeError, RuntimeError, BufferError) as error:
        raise KnnscopeError(f"radius = {radius!r}: a number, or one for each query, was expected") from error
    if given.dtype.kind not in "iuf" or given.shape not in ((), (queries,)):
        raise KnnscopeError(
            f"radius has shape {given.shape} and type {given.dtype}: a number, or one for each query, ({queries},), was expected"
        )
    radii = np.broadcast_to(given.astype(np.float64), (queries,))
    bad = np.isnan(radii) | (radii < 0 if metric == "l2" else False)
    if bad.any() or (not queries and not given.shape and np.isnan(float(given))):
        number = int(np.argmax(bad))
        whose = f" of query {number:,}" if given.shape else ""
        what = "a squared distance from 0 on" if metric == "l2" else "the least similarity"
        raise KnnscopeError(f"radius{whose} is {float(radii[number] if queries else given)}: {what} was expected")
    keys: npt.NDArray[np.float64] = -radii if definition.descending(metric) else radii.copy()
    return keys


def as_limits(limit: Any, limit_each: Any) -> tuple[int, int]:
    """How many answers there may be, of all queries together and of each.

    Raises:
        KnnscopeError: no whole number from 1 on.
    """
    both = ((limit, "limit", LIMIT), (limit_each, "limit_each", MOST))
    total, each = (
        usual if given is None else check_whole(given, name, 1, MOST, f"1 to {MOST:,}") for given, name, usual in both
    )
    return total, each


def answer(scanner: Scanner, request: RadiusRequest, rows: int, threads: int | None) -> RadiusNeighbors:
    """Ask, and say why the answer is exact.

    Raises:
        KnnscopeError: see ``Scanner.within``.
    """
    found: Within = scanner.within(request, threads)
    margin = np.where(found.computed == rows, np.inf, 0.0)
    proof = Certificate(rows, found.candidates, found.computed, margin, found.path)
    return RadiusNeighbors(found.offsets, found.ids, found.distances, proof)
