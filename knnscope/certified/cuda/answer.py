"""What a search has queued: where its answer will be, and how to read what the kernels say of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.errors import KnnscopeError
from knnscope.records import Certificate
from knnscope.search import definition

NOT_A_NUMBER, CHANGED, BY_ALL_ROWS, NOT_FINITE = 1, 2, 8, 16
"""Bits of ``errors``: a value is no number; a row is not where its bound says; all rows have answered, in place of a path that could not (4, among
kernels); the query is no vector of finite numbers."""

Mask = tuple[int | None, int]
"""Where the rows that may be answers are written, a byte each, and bytes from one query's to the next."""
EVERY: Mask = (None, 0)


@dataclass(slots=True)
class Told:
    """What the kernels say, a number a query. path: the path's name."""

    candidates: npt.NDArray[np.integer[Any]]
    computed: npt.NDArray[np.integer[Any]]
    margins: npt.NDArray[np.float64]
    errors: npt.NDArray[np.uint32]
    path: str

    @classmethod
    def of(cls, parts: Sequence[Told]) -> Told:
        """Of queries one after another."""

        def all_of(name: str) -> Any:
            return np.concatenate([getattr(part, name) for part in parts])

        return cls(all_of("candidates"), all_of("computed"), all_of("margins"), all_of("errors"), parts[0].path)

    def certificate(self, metric: int, rows: int, allowed: npt.NDArray[np.int64] | None = None) -> Certificate:
        """The proof.

        Args:
            metric: its number.
            rows: of the index.
            allowed: rows that may be answers, (1 or queries,); None for all.

        Raises:
            KnnscopeError: a query that is not finite, a value that float64 does not hold, or a row that was changed.
        """
        if (strange := np.flatnonzero(self.errors & NOT_FINITE)).size:
            raise KnnscopeError(f"queries: row {strange[0]} holds a number that is not finite")
        if (self.errors & NOT_A_NUMBER).any():
            raise KnnscopeError(f"{definition.METRICS[metric]} of finite numbers overflows: scale the vectors down")
        if (self.errors & CHANGED).any():
            raise KnnscopeError(
                "the vectors were changed after the index was built: a row is not where its code says: build the index again"
            )
        by_all = (self.errors & BY_ALL_ROWS) != 0
        done = np.broadcast_to(np.int64(rows) if allowed is None else allowed, by_all.shape)
        candidates, computed = (
            np.where(by_all, done, some).astype(np.int64) for some in (self.candidates, self.computed)
        )
        margins = np.where(by_all | (computed == rows), np.inf, self.margins)
        path = {"exhaustive"} if by_all.any() else set[str]()
        if not by_all.all() or not by_all.size:
            path.add(self.path)
        return Certificate(rows, candidates, computed, margins, tuple(sorted(path)))


@dataclass(frozen=True, slots=True)
class Queued:
    """ids, int64, and values, float64, (queries, k), on the GPU, written when its stream comes to it.

    read: waits, and brings what was told. brought: waits, and brings ids and values too; not where they were written into given arrays.
    """

    ids: Any
    values: Any
    read: Callable[[], Certificate]
    brought: Callable[[], tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], Certificate]]


class LazyCertificate(Certificate):
    """A certificate that is read when it is first looked at, which waits for the search."""

    __slots__ = ("_read",)

    def __init__(self, read: Callable[[], Certificate]) -> None:
        object.__setattr__(self, "_read", read)

    def __getattr__(self, name: str) -> Any:  # asked for what is not set
        if name not in Certificate.__slots__:
            raise AttributeError(name)
        found = self._read()
        for field in Certificate.__slots__:
            object.__setattr__(self, field, getattr(found, field))
        object.__setattr__(self, "_read", lambda: found)  # the index is kept no longer
        return getattr(found, name)
