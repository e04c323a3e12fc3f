"""Searches like one before: as many queries, neighbors and threads. They go the way that answered all of it, and choose nothing again.

Between two searches of 0.2 ms the caches have been written over, so what Python does takes three times as long as in a loop of its own, and the
other threads wait for it. A way begins once searches of its kind have been answered by one program (programs.py). What it does not answer is searched
again by all that there is, and its kind has to be answered several times more before it is gone again.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

import numpy as np

from knnscope.arithmetic import is_ieee
from knnscope.certified.cpu import plane_steps
from knnscope.certified.cpu.kept import Kept
from knnscope.certified.cpu.queries import TYPES, wide
from knnscope.certified.cpu.ranking import blank_answers
from knnscope.certified.cpu.workers import Workers
from knnscope.certified.scanner import Ranked

KEPT_BYTES = 1 << 23
"""Of a program whose large memory ``scratch`` keeps; larger ones are laid out each time."""
WAYS = 16
"""Kinds of searches of an index that are known."""
MISSED = 4 * WAYS
"""Kinds with a search that its way did not answer, the last ones, that are known."""
DEARER, MOST = 4, 1 << 16
"""Times as many searches of a kind have to be answered after one that was not; and how many at most."""


class Kind(NamedTuple):
    """Queries, neighbors, and threads."""

    queries: int
    k: int
    threads: int


class Way(NamedTuple):
    """Where its program is kept, under which size, and the answer's path."""

    kept: Kept[Any]
    size: Hashable
    path: tuple[str, ...]


class _Seen(NamedTuple):
    """Searches of a kind that were answered since one was not, and how many of them it takes."""

    answered: int
    needed: int


class Ways:
    """What is known of some rows. Several threads may ask and tell at once: what gets lost is only time."""

    def __init__(self) -> None:
        self._ways: dict[Kind, Way] = {}
        self._seen: dict[Kind, _Seen] = {}

    def answered(self, kind: Kind, way: Way) -> None:
        """A search was answered by one program."""
        if kind in self._ways:
            return
        seen = self._seen.get(kind)
        if seen is not None:
            self._seen[kind] = seen = seen._replace(answered=seen.answered + 1)
            if seen.answered < seen.needed:
                return
        if len(self._ways) >= WAYS:
            self._ways.clear()
        self._ways[kind] = way

    def _missed(self, kind: Kind) -> None:
        self._ways.pop(kind, None)
        seen = self._seen.pop(kind, _Seen(0, 1))
        for longest in list(self._seen)[: max(0, len(self._seen) - MISSED + 1)]:
            self._seen.pop(longest, None)
        self._seen[kind] = _Seen(0, min(MOST, DEARER * seen.needed))

    def answer(self, queries: Any, k: Any, dim: int, workers: Workers) -> Ranked | None:
        """The answer to queries as a user gives them, or None: then they have not been looked at.

        Numbers that are not finite need no look: no bound holds for them, so no program answers all.

        Args:
            queries: anything.
            k: anything.
            dim: components of the rows.
            workers: who computes.

        Raises:
            MemoryError: there was none.
        """
        if type(queries) is not np.ndarray or type(k) is not int or queries.dtype not in TYPES:
            return None
        shape = queries.shape
        if not 1 <= len(shape) <= 2 or shape[-1] != dim:
            return None
        kind = Kind(shape[0] if len(shape) == 2 else 1, k, workers.count)
        way = self._ways.get(kind)
        program = way.kept.find(way.size) if way is not None and is_ieee() else None
        if way is None or program is None:
            return None
        asked = wide(queries).reshape(kind.queries, dim)
        answers = blank_answers(kind.queries, k)
        done = program.answer(asked, answers, workers)
        way.kept.give_back(way.size, program)
        if done:
            return Ranked(*answers, way.path)
        self._missed(kind)
        return None


class LaidOut:
    """Programs over the arrays of some rows, with which they live: of the plane by several threads and by one, and of the codes; and the ways there."""

    def __init__(self) -> None:
        self.steps = Kept[plane_steps.Steps](plane_steps.KEPT_BYTES)
        self.alone, self.passes = Kept[Any](KEPT_BYTES), Kept[Any](KEPT_BYTES)
        self.ways = Ways()
