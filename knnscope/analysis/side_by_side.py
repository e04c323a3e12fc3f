"""What several engines found for one query, with the texts: a record that can be saved and printed later."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import msgspec
import numpy.typing as npt

from knnscope.analysis.measurement import Metric
from knnscope.records import Neighbors, TextDataset, VectorDataset, Vectors
from knnscope.search import agreement
from knnscope.search.catalog import REFERENCE

Distance = float | Literal["nan", "inf", "-inf"]
"""JSON has no infinity; a wrong engine may return one."""


class Found(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An engine's answer: rows and distances, best first."""

    rows: tuple[int, ...]
    distances: tuple[Distance, ...]


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row that is named; id and text where the data set has them. grade and rank (by definition) where it is judged relevant."""

    row: int
    id: str | None = None
    text: str | None = None
    grade: int | None = None
    rank: int | None = None

    @property
    def name(self) -> str:
        """Its id, or its row number."""
        return str(self.row) if self.id is None else self.id


class Differs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first rank at which an engine gives another row than the reference, and both distances in float64."""

    engine: str
    rank: int
    row: int
    expected_row: int
    distance: Distance
    expected_distance: Distance


class SideBySide(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One query and its answers. reference: the engine that the others are compared with."""

    dataset: str
    metric: Metric
    query_id: str | None
    query: str | None
    reference: str
    engines: dict[str, Found]
    documents: list[Document]
    differences: list[Differs]

    def __post_init__(self) -> None:
        """Hold the fields to each other.

        Raises:
            ValueError: an answer of another length, or a row that is not described.
        """
        known = {document.row for document in self.documents}
        depths = {len(values) for found in self.engines.values() for values in (found.rows, found.distances)}
        if self.reference not in self.engines or len(depths) != 1 or not min(depths):
            raise ValueError("engines: answers of one length are needed, the reference's among them")
        named = {row for found in self.engines.values() for row in found.rows}
        named |= {row for d in self.differences for row in (d.row, d.expected_row)}
        if not named <= known:
            raise ValueError(f"documents: rows {sorted(named - known)[:3]} are not among them")

    def document(self, row: int) -> Document:
        """What is known of a row."""
        return next(document for document in self.documents if document.row == row)

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's own types; distances as the engine gave them."""

        def name(row: int) -> str:
            return self.document(row).name

        return {
            "dataset": self.dataset,
            "query_id": self.query_id,
            "query": self.query,
            "metric": self.metric,
            "k": len(self.engines[self.reference].rows),
            "engines": {
                engine: {
                    "rows": list(answer.rows),
                    "ids": [name(row) for row in answer.rows],
                    "distances": list(answer.distances),
                }
                for engine, answer in self.engines.items()
            },
            "agree": not self.differences,
            "differences": [
                {
                    "engine": d.engine,
                    "rank": d.rank,
                    "id": name(d.row),
                    "expected_id": name(d.expected_row),
                    "float64_distance": d.distance,
                    "expected_float64_distance": d.expected_distance,
                }
                for d in self.differences
            ],
            "relevant": [{"id": d.name, "grade": d.grade, "rank": d.rank} for d in self.relevant],
        }

    def rows(self) -> list[dict[str, Any]]:
        """A flat dict for each engine and rank, for ``pandas.DataFrame`` or ``polars.DataFrame``."""
        return [
            {"engine": engine, "rank": rank, "row": row, "id": self.document(row).name, "distance": distance}
            for engine, answer in self.engines.items()
            for rank, (row, distance) in enumerate(zip(answer.rows, answer.distances, strict=True), 1)
        ]

    @property
    def relevant(self) -> list[Document]:
        """Those judged relevant, best rank first."""
        return sorted((d for d in self.documents if d.grade is not None), key=lambda d: d.rank or 0)


@dataclass(frozen=True, slots=True)
class Question:
    """A query: its vector, (1, dim), and its row number in the data set or its words, where there are any."""

    vector: npt.NDArray[Any]
    row: int | None = None
    words: str | None = None


class Searched(Protocol):
    """What was searched: the data set, its rows, and texts and ids where there are any."""

    dataset: TextDataset | VectorDataset

    @property
    def documents(self) -> Vectors:
        """The rows."""

    @property
    def document_texts(self) -> Sequence[str] | None:
        """The texts of the rows."""

    @property
    def query_ids(self) -> Sequence[str] | None:
        """Ids of the queries."""

    def query_text(self, row: int) -> str | None:
        """The text of a query."""


def side_by_side(workload: Searched, metric: str, question: Question, found: Mapping[str, Neighbors]) -> SideBySide:
    """The record of one query's answers.

    Args:
        workload: what was searched.
        metric: as searched.
        question: what was asked.
        found: engine name to neighbors of this one query, all of the same k; every id is a row of the workload.
    """
    dataset, rows, row = workload.dataset, workload.documents.values, question.row
    reference = REFERENCE if REFERENCE in found else next(iter(found))
    grades: dict[int, int] = {}
    if isinstance(dataset, TextDataset) and row is not None:
        grades = {document: grade for document, grade in dataset.qrels.of(row).items() if grade > 0}
    ranks = agreement.ranks(rows, question.vector, list(grades), metric) if grades else {}
    differences = agreement.differences(found, reference, rows, question.vector, metric)
    named = [int(i) for answer in found.values() for i in answer.ids[0]]
    ids, texts, query_ids = dataset.documents.ids, workload.document_texts, workload.query_ids
    return SideBySide(
        dataset=dataset.name,
        metric=metric,  # type: ignore[arg-type]
        query_id=None if row is None else query_ids[row] if query_ids else str(row),
        query=workload.query_text(row) if row is not None else question.words,
        reference=reference,
        engines={
            name: Found(tuple(answer.ids[0].tolist()), tuple(_number(d) for d in answer.distances[0]))
            for name, answer in found.items()
        },
        documents=[
            Document(i, ids[i] if ids else None, texts[i] if texts is not None else None, grades.get(i), ranks.get(i))
            for i in dict.fromkeys([*named, *grades])
        ],
        differences=[
            Differs(d.engine, d.rank, d.row, d.expected_row, _number(d.distance), _number(d.expected_distance))
            for d in differences
        ],
    )


def _number(value: Any) -> Distance:
    number = float(value)
    return number if math.isfinite(number) else str(number)  # type: ignore[return-value]
