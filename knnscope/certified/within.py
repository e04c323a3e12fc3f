"""Answers to a radius, over rows in several parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from knnscope.certified.ids import Strings
from knnscope.certified.scanner import RadiusRequest, Within, too_many
from knnscope.search import definition


def left_of(request: RadiusRequest, found: Sequence[Within]) -> RadiusRequest:
    """The request for further rows: its limit without what was found.

    Raises:
        KnnscopeError: more was found than there may be.
    """
    total = sum(len(one.ids) for one in found)
    if total > request.most:
        raise too_many(total, request.most)
    each = np.sum([np.diff(one.offsets) for one in found], axis=0)
    if np.size(each) and int(each.max()) > request.most_each:
        raise too_many(int(each.max()), request.most_each, int(each.argmax()))
    return request._replace(most=request.most - total)


def joined(found: Sequence[Within], queries: int, metric: str) -> Within:
    """Answers over different rows as one, each query's by the definition's order: value, then id.

    Args:
        found: ids as ``Ids.told`` gives them.
        queries: how many.
        metric: l2, ip or cosine.
    """
    if len(found) == 1:
        return found[0]
    if not found:
        none = np.zeros(queries, dtype=np.int64)
        return Within(np.zeros(queries + 1, np.int64), none[:0], np.empty(0), none, none, ())
    ids, values, numbers = (
        np.concatenate(some)
        for some in zip(*((one.ids, one.distances, np.repeat(np.arange(queries), np.diff(one.offsets))) for one in found), strict=True)
    )  # fmt: skip
    ranks = Strings.ranks(ids) if ids.dtype.kind == "T" else ids
    order = np.lexsort((ranks, -values if definition.descending(metric) else values, numbers))
    offsets: npt.NDArray[np.int64] = np.sum([one.offsets for one in found], axis=0, dtype=np.int64)
    candidates, computed = (
        np.sum([getattr(one, name) for one in found], axis=0) for name in ("candidates", "computed")
    )
    path = tuple(sorted({path for one in found for path in one.path}))
    return Within(offsets, ids[order], values[order], candidates, computed, path)
