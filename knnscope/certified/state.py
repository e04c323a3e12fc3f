"""What an index holds at one moment: segments that never change, and which of their rows are left.

A reader takes the state once and sees all of it as it was then; a writer makes another one and puts it in its place, in one step of the
interpreter. Rows are in the order in which they were added; those of an update were added last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.ids import Ids, Int64, Numbers, Strings
from knnscope.certified.scanner import UNKNOWN, Ranked, Request
from knnscope.records import Certificate
from knnscope.search import definition

Mask = npt.NDArray[np.bool_]
NO_PLACES = np.empty(0, dtype=np.int64)


class Segment:
    """Rows, what they are called, and a scanner of them.

    is_open: the rows that were added last, with nothing written beside them. is_coarse: whether merging should write them again.
    """

    __slots__ = ("__weakref__", "_make", "_scanner", "ids", "is_coarse", "is_open", "rows")

    def __init__(self, rows: Any, ids: Ids, scanner: Any, is_coarse: bool = False) -> None:
        """Rows with a scanner that was built."""
        self.rows, self.ids, self.is_coarse, self.is_open = rows, ids, is_coarse, False
        self._scanner: Any = scanner
        self._make: Callable[[Any, Int64], Any] | None = None

    @classmethod
    def opened(cls, rows: Any, ids: Ids, make: Callable[[Any, Int64], Any]) -> Segment:
        """Rows whose scanner is made, from rows and names, when the first search needs it."""
        made = cls(rows, ids, None)
        made.is_open, made._make = True, make
        return made

    @property
    def scanner(self) -> Any:
        """A ``Scanner``."""
        if self._scanner is None:
            assert self._make is not None
            self._scanner = self._make(self.rows, self.ids.names)
        return self._scanner


class Part(NamedTuple):
    """A segment; its rows that are left, bool, (1, rows), or None for all; and how many these are."""

    segment: Segment
    live: Mask | None
    left: int

    def places(self) -> Int64 | None:
        """The rows that are left, None for all."""
        return None if self.live is None else np.flatnonzero(self.live)

    def ids(self) -> Ids:
        """Of the rows that are left."""
        places = self.places()
        return self.segment.ids if places is None else self.segment.ids.take(places)


def whole(segment: Segment) -> Part:
    """A segment all of whose rows are there."""
    return Part(segment, None, len(segment.ids))


class State(NamedTuple):
    """Parts in the order of their rows, the open one last; how many rows are left; the next whole number that no row has had.

    whole: the scanner of the only segment, where it is not open, and all of its rows are there and are called by whole numbers; else None.
    """

    parts: tuple[Part, ...]
    rows: int
    next_id: int
    whole: Any


EMPTY = State((), 0, 0, None)


def state_of(parts: Sequence[Part], next_id: int) -> State:
    """The state of these parts; those without a row that is left are dropped."""
    kept = tuple(part for part in parts if part.left)
    segment = kept[0].segment if len(kept) == 1 and kept[0].live is None else None
    if segment is not None and (segment.is_open or not isinstance(segment.ids, Numbers)):
        segment = None
    return State(kept, sum(part.left for part in kept), next_id, segment.scanner if segment else None)


def find(state: State, wanted: npt.NDArray[Any]) -> list[Int64]:
    """Of each part the row of each wanted id, int64, (parts)(wanted,); -1 where it is not there, or not any more."""
    found = []
    for segment, live, _ in state.parts:
        places = segment.ids.find(wanted)
        if live is not None:
            places = np.where(live[0, places], places, -1)  # of -1 whatever the last row has
        found.append(places)
    return found


def without(state: State, places: Sequence[Int64]) -> list[Part]:
    """The parts without these rows; -1 for none. Masks are copied, for who reads the state."""
    left = []
    for part, gone in zip(state.parts, places, strict=True):
        gone = gone[gone >= 0]
        if len(gone):
            live = np.ones((1, len(part.segment.ids)), dtype=np.bool_) if part.live is None else part.live.copy()
            live[0, gone] = False
            part = part._replace(live=live, left=part.left - len(gone))
        left.append(part)
    return left


def all_ids(state: State) -> npt.NDArray[Any]:
    """Ids of the rows that are left, in their order."""
    found = [part.ids().array() for part in state.parts]
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


class Asked(NamedTuple):
    """Queries, float64, (queries, dim); neighbors of each; of each part the rows that may be answers, as filters.masks gives them."""

    queries: npt.NDArray[np.float64]
    k: int
    masks: Sequence[Mask]


def nearest(state: State, asked: Asked, metric: str, threads: int | None) -> Ranked:
    """The k nearest rows of all parts: ids as ``Ids.told`` gives them.

    Args:
        state: with a row.
        asked: see there.
        metric: l2, ip or cosine.
        threads: see ``Scanner.nearest``.
    """
    found = list[Ranked]()
    both = zip(state.parts, asked.masks, strict=True)
    # the most rows first: what they say of the k-th neighbor leaves little of the others
    for (segment, _, _), mask in sorted(both, key=lambda one: -len(one[0].segment.ids)):
        own = Request(asked.queries, min(asked.k, len(segment.ids)), mask, _most(found, asked.k, metric))
        ranked: Ranked = segment.scanner.nearest(own, threads)
        found.append(ranked._replace(ids=segment.ids.told(ranked.ids)))
    return found[0] if len(found) == 1 else merged(found, asked.k, metric)


def _most(found: Sequence[Ranked], k: int, metric: str) -> npt.NDArray[np.float64]:
    """The k-th key of each query among what was found so far: see ``Request``."""
    if sum(one.distances.shape[1] for one in found) < k:
        return UNKNOWN
    if len(found) == 1:
        last = found[0].distances[:, k - 1]  # they ascend
        return -last if definition.descending(metric) else last.copy()
    values = np.concatenate([one.distances for one in found], axis=1)
    keys = -values if definition.descending(metric) else values
    keys.partition(k - 1, axis=1)
    return keys[:, k - 1].copy()


def merged(found: Sequence[Ranked], k: int, metric: str) -> Ranked:
    """The k nearest of answers over different rows, by the definition's order: value, then id."""
    ids = np.concatenate([one.ids for one in found], axis=1)
    values = np.concatenate([one.distances for one in found], axis=1)
    ranks = Strings.ranks(ids) if ids.dtype.kind == "T" else ids
    keys = -values if definition.descending(metric) else values
    # no row, -1, comes after rows that are infinitely far
    order = np.lexsort((ranks.view(np.uint64), keys), axis=1)[:, :k]
    lines = np.arange(len(ids))[:, None]  # take_along_axis takes as long as all else here
    return Ranked(ids[lines, order], values[lines, order], *_joined(found))


def joined_certificate(proofs: Sequence[Certificate]) -> Certificate:
    """Of an answer over several segments: sums, the least margin, and all paths.

    What is left out of a segment is further by its margin than the segment's k-th row, or than what was known of the k-th of all before; and neither
    is nearer than the k-th of all.
    """
    return Certificate(sum(proof.rows_scanned for proof in proofs), *_joined(proofs))


def _joined(
    found: Sequence[Ranked] | Sequence[Certificate],
) -> tuple[Int64, Int64, npt.NDArray[np.float64], tuple[str, ...]]:
    """Of both the last fields, but whether it is exact."""
    return (
        reduce(np.add, [one.candidates for one in found]),
        reduce(np.add, [one.computed for one in found]),
        reduce(np.minimum, [one.margin for one in found]),
        tuple(sorted({path for one in found for path in one.path})),
    )
