"""The seam between the index and the machines that search: what a scanner is asked, and what it answers.

An answer is ranked already, by the definition (search/definition.py): the rows that a bound leaves are ranked where they lie.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from knnscope.errors import KnnscopeError

UNKNOWN: npt.NDArray[np.float64] = np.empty(0)
"""In place of the largest keys of answers, where nothing is known of them."""


class Request(NamedTuple):
    """The k nearest rows.

    queries: float64, (queries, dim). k: neighbors of each. allowed: rows that may be answers, bool, (0 or 1 or queries, rows): (0, rows) for all.
    most: float64, (queries,), or ``UNKNOWN``: of each query a key that no answer is above, infinite where there is none; rows beyond it may be left
    out of the answer, which then has fewer, and its margin is that beyond this key, where the k-th is larger.
    """

    queries: npt.NDArray[np.float64]
    k: int
    allowed: npt.NDArray[np.bool_]
    most: npt.NDArray[np.float64] = UNKNOWN

    def some(self, which: Any) -> Request:
        """The same of some queries."""
        allowed = self.allowed if len(self.allowed) < 2 else self.allowed[which]
        return Request(self.queries[which], self.k, allowed, self.most[which] if len(self.most) else self.most)


class Ranked(NamedTuple):
    """The answer: as in records.Neighbors and records.Certificate, but that rows have their names."""

    ids: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float64]
    candidates: npt.NDArray[np.int64]
    computed: npt.NDArray[np.int64]
    margin: npt.NDArray[np.float64]
    path: tuple[str, ...]


class RadiusRequest(NamedTuple):
    """All rows within a radius.

    queries: float64, (queries, dim). keys: float64, (queries,): the largest key that an answer of each may have: a distance, or a similarity with the
    other sign. allowed: as in ``Request``. most, most_each: how many answers there may be, of all queries together and of each.
    """

    queries: npt.NDArray[np.float64]
    keys: npt.NDArray[np.float64]
    allowed: npt.NDArray[np.bool_]
    most: int
    most_each: int


class Within(NamedTuple):
    """The answer to it: as in ``ragged.RadiusNeighbors`` and records.Certificate, but that rows have their names."""

    offsets: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float64]
    candidates: npt.NDArray[np.int64]
    computed: npt.NDArray[np.int64]
    path: tuple[str, ...]


class Scanner(Protocol):
    """Rows as one kind of machine searches them."""

    @property
    def levels(self) -> str:
        """What is scanned before the rows, in words."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes beside the rows."""
        ...

    def prompt(self, queries: Any, k: int) -> Ranked | None:
        """The answer to queries as a user gives them, where rows are few and nothing has to be converted or refused; else None: ``nearest``."""
        ...

    def again(self, queries: Any, k: int, threads: int | None) -> Ranked | None:
        """The answer to queries as a user gives them, where a search like it was answered before and chooses nothing anew; else None: ``nearest``."""
        ...

    def nearest(self, request: Request, threads: int | None = None) -> Ranked:
        """Answer a request.

        Raises:
            KnnscopeError: values that float64 cannot hold; rows that were changed after the scanner was built, where that shows.
        """
        ...

    def within(self, request: RadiusRequest, threads: int | None = None) -> Within:
        """Answer a request for all rows within a radius, each query's by key and name.

        Raises:
            KnnscopeError: see ``nearest``; more answers than there may be.
        """
        ...


class TooManyError(KnnscopeError):
    """More answers than there may be: of all queries, or of one."""

    def __init__(self, found: int, most: int, query: int | None = None) -> None:
        whose, name = (
            ("all queries together have", "limit") if query is None else (f"query {query:,} has", "limit_each")
        )
        super().__init__(
            f"{whose} more than {most:,} rows within the radius (at least {found:,}): nothing is cut off; give a smaller radius, fewer queries at a "
            f"time, or a larger {name}"
        )
        self._told = found, most, query

    def __reduce__(self) -> tuple[Any, ...]:
        return TooManyError, self._told

    def of_all(self, before: int, most: int, first: int = 0) -> TooManyError:
        """The same as who asked for more than this part is told it.

        Args:
            before: answers of other parts.
            most: that all parts may have together.
            first: the number of this part's first query.
        """
        found, own, query = self._told
        return TooManyError(found + before, most) if query is None else TooManyError(found, own, query + first)


def too_many(found: int, most: int, query: int | None = None) -> TooManyError:
    """The error for more answers than there may be: of all queries, or of one."""
    return TooManyError(found, most, query)


class ChangedError(KnnscopeError):
    """A row is not where its code says."""


def changed(row: int) -> ChangedError:
    """The error for a row whose distance lies outside the bounds that were written when the scanner was built."""
    return ChangedError(
        f"the vectors were changed after the index was built: row {row:,} is not where its code says: build the index again"
    )


def overflows(metric: str) -> KnnscopeError:
    """The error for a value that is no number."""
    return KnnscopeError(f"{metric} of finite numbers overflows: scale the vectors down")
