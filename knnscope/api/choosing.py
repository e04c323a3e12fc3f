"""Which rows and queries of a data set are measured: a seeded choice where there are more than are wanted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.analysis import quality
from knnscope.api.workload import Workload
from knnscope.bench.task import Task
from knnscope.datasets import registry, vector_files
from knnscope.errors import ArgumentError, KnnscopeError
from knnscope.records import TextDataset, VectorDataset

Queries = str | Path | int | npt.NDArray[Any] | None
"""A file of vectors, how many, the vectors themselves, or as many as are usual."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which queries are asked, by which metric (None: the data's), and of how many at most; seed: of the choice.

    at_most: of those that the data has. given_at_most: of a file or an array; None: all of them.
    """

    queries: Queries = None
    metric: str | None = None
    seed: int = 0
    at_most: int = 1000
    given_at_most: int | None = None


def choose(workload: Workload, choice: Choice) -> Task:
    """Rows and queries: those that are given, the data's own (a seeded choice where there are many), or rows held out.

    Raises:
        KnnscopeError: no such file, or no row would be left.
    """
    metric, dataset, queries = choice.metric or workload.metric, workload.dataset, choice.queries
    chance = np.random.default_rng(choice.seed)

    def some(there: int, wanted: int) -> npt.NDArray[np.int64]:
        return np.sort(chance.choice(there, wanted, replace=False))

    if isinstance(queries, str | Path):
        queries = _file(str(queries))
    if isinstance(queries, np.ndarray):
        if queries.ndim == 2 and choice.given_at_most is not None and len(queries) > choice.given_at_most:
            queries = queries[some(len(queries), choice.given_at_most)]
        return Task(dataset.name, workload.documents.values, queries, metric)
    if queries is not None and queries < 1:
        raise ArgumentError(f"queries {queries}: a number above 0, a file of vectors or an array was expected")
    wanted = queries if queries is not None else choice.at_most
    own = len(dataset.queries) if dataset.queries is not None else 0
    if own:
        if queries is not None and wanted > own:
            raise ArgumentError(
                f"queries {wanted}: {dataset.name} has {own:,} queries of its own: ask for so many at most"
            )
        chosen = some(own, wanted) if own > wanted else np.arange(own)
        numbers = tuple(chosen.tolist())
        rows, asked = workload.documents.values, workload.query_vectors(numbers)
        if isinstance(dataset, TextDataset) and len(dataset.qrels):
            own_rows = quality.own_documents(dataset)
            return Task(dataset.name, rows, asked, metric, dataset.qrels, numbers, own_rows)
        return Task(dataset.name, rows, asked, metric, query_rows=numbers)
    rows = workload.documents.values
    if len(rows) < 2:
        raise KnnscopeError(f"{dataset.name}: one row and no queries: give some, as a file of vectors or an array")
    if queries is not None and wanted > len(rows) // 2:
        raise ArgumentError(f"queries {wanted}: at most half of the {len(rows):,} rows can be held out as queries")
    held = np.zeros(len(rows), dtype=bool)
    held[chance.choice(len(rows), min(wanted, len(rows) // 2), replace=False)] = True
    return Task(dataset.name, rows[~held], rows[held], metric, held_out=True)


def _file(name: str) -> npt.NDArray[Any]:
    """The vectors of a file."""
    path = vector_files.split(name)[0]
    if not path.exists() and not path.is_symlink():
        raise ArgumentError(f"queries {name}: no such file: a file of vectors or a number was expected")
    other, _ = registry.load(name)
    if not isinstance(other, VectorDataset):
        raise ArgumentError(f"queries {name}: a file of vectors or a number was expected")
    return other.documents.values
