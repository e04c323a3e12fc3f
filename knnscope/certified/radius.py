"""All rows within a radius, as a user asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.arithmetic import Ieee
from knnscope.certified.filters import masks
from knnscope.certified.ids import Strings
from knnscope.certified.living import Living
from knnscope.certified.rows import as_queries, is_masked, plain
from knnscope.certified.scanner import RadiusRequest, TooManyError, Within
from knnscope.certified.state import Mask, State
from knnscope.certified.within import joined, left_of
from knnscope.checks import check_whole
from knnscope.errors import KnnscopeError
from knnscope.ragged import RadiusNeighbors
from knnscope.records import Certificate
from knnscope.search import definition
from knnscope.search.device import is_device

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
    if is_masked(radius):
        plain(radius, "radii")  # refuses it
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


class RadiusSearch:
    """What an index does with a radius."""

    _living: Living

    def radius_search(
        self,
        queries: Any,
        radius: Any,
        where: Any = None,
        *,
        limit: int | None = None,
        limit_each: int | None = None,
        threads: int | None = None,
    ) -> RadiusNeighbors:
        """All rows within a radius of each query, nearest first, with a certificate. Rows at exactly the radius are within it.

        Args:
            queries: (queries, dim), or (dim,) for a single one; finite, of a type that rows may have; in host memory.
            radius: for l2 the largest squared distance, for ip and cosine the least similarity: a number, or one for each query, (queries,).
            where: rows that may be answers, as ``search`` takes it.
            limit: how many rows all answers may have together (default: 67,108,864, which take 1 GiB). More are an error: nothing is cut off.
            limit_each: how many rows the answer to one query may have (default: as many as ``limit`` allows).
            threads: how many work at once (default: as built).

        Raises:
            KnnscopeError: a wrong shape, type or number; a radius that is negative (l2) or NaN; more rows than a limit allows; rows that
                were changed after the index was built, where that shows.
        """
        living, state = self._living, self._living.state
        if is_device(queries):
            raise KnnscopeError("radius_search reads queries of the host: copy them there first")
        with np.errstate(all="ignore"), Ieee():
            values, _ = as_queries(queries, living.dim)
            keys = as_keys(radius, len(values), living.metric)
            living.maker.check_threads(threads)
            request = RadiusRequest(values, keys, np.empty((0, 0), dtype=np.bool_), *as_limits(limit, limit_each))
            found = _within(state, request, masks(where, state, len(values)), threads, living.metric)
        scanned = sum(len(part.segment.ids) for part in state.parts)
        margin = np.where(found.computed == scanned, np.inf, 0.0)
        proof = Certificate(scanned, found.candidates, found.computed, margin, found.path)
        ids = Strings.bare(found.ids) if found.ids.dtype.kind == "T" else found.ids
        return RadiusNeighbors(found.offsets, ids, found.distances, proof)


def _within(state: State, request: RadiusRequest, allowed: Sequence[Mask], threads: int | None, metric: str) -> Within:
    """All rows of all parts within the radii; ids as ``Ids.told`` gives them.

    Raises:
        KnnscopeError: see ``Scanner.within``.
    """
    left, found = request, list[Within]()
    for (segment, _, _), mask in zip(state.parts, allowed, strict=True):
        try:
            some: Within = segment.scanner.within(left._replace(allowed=mask), threads)
        except TooManyError as error:
            raise error.of_all(request.most - left.most, request.most) from None
        found.append(some._replace(ids=segment.ids.told(some.ids)))
        left = left_of(request, found)
    return joined(found, len(request.queries), metric)
