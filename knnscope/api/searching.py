"""Exact neighbors of queries, and one query from several engines side by side: what ``knnscope search`` does, for Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from knnscope.analysis.side_by_side import Question, SideBySide, side_by_side
from knnscope.api.workload import Workload
from knnscope.errors import ArgumentError, KnnscopeError
from knnscope.progress import bar
from knnscope.records import Neighbors
from knnscope.search import catalog, engine

DEPTH = 3
"""Neighbors that are shown where none says how many."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What is searched, (rows, dim), and by which metric."""

    values: npt.NDArray[Any]
    metric: str = "l2"


def knn(queries: Any, vectors: Any, k: int, metric: str = "l2") -> Neighbors:
    """The k nearest vectors of each query, exactly as float64 orders them; equal distances go to the smaller row.

    To ask more than once, build ``knnscope.ExactIndex`` and search that.

    Args:
        queries: array of shape (queries, dim), or (dim,) for one.
        vectors: array or memory map of shape (rows, dim): float64, float32, float16, int8, uint8 or int32.
        k: 1 to the number of rows.
        metric: "l2" (squared distance), "ip" or "cosine" (similarities).

    Returns:
        ids, int64, and distances, float64: (queries, k), or (k,) for one query; with a certificate.

    Raises:
        KnnscopeError: shapes that do not fit, a number that is not finite, or another metric.
    """
    from knnscope.certified.index import ExactIndex  # brings a compiler along

    found: Any = ExactIndex(vectors, metric).search(queries, k)
    answer: Neighbors = found
    return answer


def default_k(wanted: int | None, rows: int) -> int:
    """How many neighbors: as many as are wanted, else ``DEPTH``, or all of fewer rows.

    Raises:
        KnnscopeError: more are wanted than there are rows.
    """
    return engine.check_k(min(DEPTH, rows) if wanted is None else wanted, rows)


def engines_of(names: Sequence[str] | None) -> list[str]:
    """The engines of these names, each once; by default those whose library is here and that need not be named.

    Raises:
        KnnscopeError: none, an unknown one, or a missing library: names the line that installs it.
    """
    if names is None:
        return catalog.usual()
    if not names:
        raise ArgumentError(f"engines is empty: choose from {', '.join(catalog.ENGINES)}")
    for name in names:
        catalog.load(name)
    return list(dict.fromkeys(names))


def search_all(
    engines: Sequence[str], rows: Rows, queries: npt.NDArray[Any], k: int
) -> tuple[dict[str, Neighbors], list[str]]:
    """Answers by engine, and why an engine was left out.

    Args:
        engines: names, whose libraries are loaded.
        rows: what is searched.
        queries: (queries, dim), of a type that the engines take.
        k: neighbors.

    Raises:
        KnnscopeError: none of them can; says why the first cannot.
    """
    found: dict[str, Neighbors] = {}
    refused: list[str] = []
    with bar(len(engines), "search", "engine") as progress:
        for name in engines:
            progress.set_description(f"search with {name}", refresh=False)
            try:
                found[name] = engine.build(catalog.load(name), rows.values, rows.metric, name).search(queries, k)
            except KnnscopeError as error:
                refused.append(str(error))
            progress.update()
    if not found:
        raise KnnscopeError(refused[0])
    return found, refused


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a data set: words or the id of one of its queries; k and metric by default as usual for it."""

    words: str | None = None
    query_id: str | None = None
    k: int | None = None
    metric: str | None = None

    def check(self) -> None:
        """Refuse no query, or two.

        Raises:
            KnnscopeError: says what to give.
        """
        if (self.words is None) == (self.query_id is None):
            raise KnnscopeError("give either a query in words or --query-id ID")
        if self.words is not None and not self.words.strip():
            raise KnnscopeError("the query is empty: give some words")


def ask(workload: Workload, asked: Asked, engines: Sequence[str] | None = None) -> tuple[SideBySide, list[str]]:
    """One query from several engines (None: the usual ones), and why an engine was left out.

    Raises:
        KnnscopeError: no query, no such query, a k beyond the rows, or no engine can.
    """
    asked.check()
    k = default_k(asked.k, len(workload.dataset.documents))
    row = workload.query_row(asked.query_id) if asked.query_id is not None else None
    query = workload.words(asked.words or "") if row is None else workload.query_vector(row)
    rows = Rows(workload.documents.values, asked.metric or workload.metric)
    found, refused = search_all(engines_of(engines), rows, query, k)
    return side_by_side(workload, rows.metric, Question(query, row, asked.words), found), refused


def top(found: Mapping[str, Neighbors], line: int, rank: int = DEPTH) -> dict[str, Neighbors]:
    """One query's first neighbors out of the answers to many."""
    return {
        name: Neighbors(a.ids[line : line + 1, :rank], a.distances[line : line + 1, :rank]) for name, a in found.items()
    }
