"""The k nearest of every row of an index among its rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.arithmetic import Ieee
from knnscope.certified import state as states
from knnscope.certified.dtypes import widened
from knnscope.certified.filters import masks
from knnscope.certified.ids import Numbers, Strings
from knnscope.certified.living import Living
from knnscope.certified.state import State
from knnscope.checks import check_whole
from knnscope.errors import KnnscopeError
from knnscope.progress import bar
from knnscope.records import Neighbors

TOGETHER = 1024
"""Rows that are asked for together."""
Arrays = tuple[npt.NDArray[Any], npt.NDArray[np.float64]]


class KnnGraph:
    """What an index does with its own rows as queries."""

    _living: Living

    def knn_graph(self, k: int, include_self: bool = False, threads: int | None = None) -> Neighbors:
        """The k nearest rows of each row: line i belongs to the row that ``ids[i]`` of the index names.

        A row is left out of its own line by its id. Others that equal it stay in; equal distances go to the smaller id. Long work shows its
        progress on standard error, and can be interrupted.

        Args:
            k: 1 to the number of rows, itself not counted unless ``include_self``.
            include_self: whether a row may be its own neighbor: it is one as any other, at the place that its distance and id give it.
            threads: how many work at once (default: as built).

        Returns:
            ids and distances, (rows, k), without a certificate.

        Raises:
            KnnscopeError: no such k; values that float64 cannot hold; rows that were changed after the index was built, where that shows.
        """
        living, state = self._living, self._living.state
        most = state.rows - (not include_self)
        if most < 1:
            raise KnnscopeError("a graph of fewer than two rows: there is no neighbor to find, add rows first")
        k = check_whole(k, "k", 1, most, f"1 to {most:,}, the rows that may be neighbors of one")
        living.maker.check_threads(threads)
        with np.errstate(all="ignore"), Ieee():
            found = _of_one_part(state, (k, include_self), threads)
            if found is None:
                found = _by_searches(state, (k, include_self), (living.maker.read, living.metric), threads)
        ids, distances = found
        return Neighbors(Strings.bare(ids) if ids.dtype.kind == "T" else ids, distances)


def _of_one_part(state: State, wanted: tuple[int, bool], threads: int | None) -> Arrays | None:
    """By a scanner that computes each pair once; None where none does."""
    if len(state.parts) != 1 or state.parts[0].live is not None:
        return None
    segment = state.parts[0].segment
    graph: Callable[..., Arrays | None] | None = getattr(segment.scanner, "graph", None)
    found = graph(*wanted, threads) if graph is not None else None
    return None if found is None else (segment.ids.told(found[0]), found[1])


def _by_searches(
    state: State, wanted: tuple[int, bool], how: tuple[Callable[..., Any], str], threads: int | None
) -> Arrays:
    """By searches for one neighbor more than are wanted, of which the row itself is taken out, or else the last."""
    (k, itself), (read, metric) = wanted, how
    values, at, live = np.empty((state.rows, k)), 0, masks(None, state, 1)
    kind: Any = type(state.parts[0].segment.ids)
    ids: npt.NDArray[Any] = np.empty(
        (state.rows, k), dtype=np.int64 if kind is Numbers else states.all_ids(state).dtype
    )
    with bar(state.rows, "graph", "row") as progress:
        for part in state.parts:
            places, names = part.places(), part.ids().array()
            for first in range(0, part.left, TOGETHER):
                own = names[first : first + TOGETHER]
                some = np.arange(first, first + len(own)) if places is None else places[first : first + len(own)]
                queries = np.ascontiguousarray(widened(read(part.segment.rows, some)), dtype=np.float64)
                found = states.nearest(state, states.Asked(queries, k + (not itself), live), metric, threads)
                here = slice(at, at + len(own))
                if itself:
                    ids[here], values[here] = found.ids, found.distances
                else:
                    others = found.ids != own[:, None]
                    others[others.all(axis=1), k] = False
                    ids[here] = found.ids[others].reshape(len(own), k)
                    values[here] = found.distances[others].reshape(len(own), k)
                at += len(own)
                progress.update(len(own))
    return ids, values
