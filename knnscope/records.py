"""The records that the stages hand to each other. Read this first: they hold no behaviour beyond access, printing and saving."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from knnscope.errors import KnnscopeError
from knnscope.store import read_arrays, write_arrays

FloatArray = npt.NDArray[np.floating[Any]]
IdArray = npt.NDArray[np.int64]

METRICS = ("l2", "ip", "cosine")
"""Squared Euclidean distance, which sorts ascending; inner product and cosine similarity, which sort descending."""
DTYPES = ("float16", "float32", "float64", "int8", "uint8", "int32")
"""Types of rows: float64 holds each without rounding."""
SHOWN = (10, 5)
"""Queries, and neighbors of each, that a notebook shows of an answer."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts and their ids, in the order of the source."""

    ids: Sequence[str]
    texts: Sequence[str]

    def __len__(self) -> int:
        return len(self.ids)


def _no_ids() -> IdArray:
    return np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Qrels:
    """Graded relevance: document ``documents[i]`` has grade ``grades[i]`` for query ``queries[i]`` (row numbers).

    Judged documents that the corpus lacks have no row; ``absent_grades[i]`` is the grade of one for query ``absent_queries[i]``.
    They cannot be found, and count in what could have been.
    """

    queries: IdArray
    documents: IdArray
    grades: IdArray
    absent_queries: IdArray = field(default_factory=_no_ids)
    absent_grades: IdArray = field(default_factory=_no_ids)

    def __len__(self) -> int:
        """Pairs, those of absent documents among them."""
        return len(self.grades) + len(self.absent_grades)

    def of(self, query: int) -> dict[int, int]:
        """Document row to grade, for one query row."""
        chosen = self.queries == query
        return dict(zip(self.documents[chosen].tolist(), self.grades[chosen].tolist(), strict=True))


def _short(name: str) -> str:
    """A name on one line, of printable characters."""
    return "".join(c if c.isprintable() else " " for c in name[:200])


@dataclass(frozen=True, slots=True)
class TextDataset:
    """A retrieval task in words; ``notes`` are things the user should be told about the input."""

    name: str
    documents: Texts
    queries: Texts
    qrels: Qrels
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        counts = f"{len(self.documents):,} documents, {len(self.queries):,} queries, {len(self.qrels):,} judgements"
        return f"<TextDataset {_short(self.name)}: {counts}>"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>"

    def to_dict(self) -> dict[str, Any]:
        """What it holds, in JSON's own types; the texts are in ``rows``."""
        return {
            "name": self.name,
            "documents": len(self.documents),
            "queries": len(self.queries),
            "judgements": len(self.qrels),
            "notes": list(self.notes),
        }

    def rows(self) -> list[dict[str, Any]]:
        """A flat dict a document, for ``pandas.DataFrame`` or ``polars.DataFrame``."""
        both = zip(self.documents.ids, self.documents.texts, strict=True)
        return [{"row": row, "id": key, "text": text} for row, (key, text) in enumerate(both)]


@dataclass(frozen=True, slots=True)
class Vectors:
    """Row vectors, shape (rows, dim), with their ids and the texts that they were made from, where there are any."""

    values: npt.NDArray[Any]
    ids: Sequence[str] | None = None
    texts: Sequence[str] | None = None

    def __len__(self) -> int:
        return int(self.values.shape[0])

    @property
    def dim(self) -> int:
        """Components of a row."""
        return int(self.values.shape[1])


@dataclass(frozen=True, slots=True)
class EncodedBy:
    """What made vectors from texts, so that other words can be encoded alike.

    name: a published model, or the path of a folder. recipe: its fields, ``name`` among them. weights: which file of the folder. others: digest of
    the model's other files, where it is known.
    """

    name: str
    sha256: str
    recipe: dict[str, object]
    weights: str | None = None
    others: str | None = None


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """The nearest rows of each query as a file has them, best first: ids (queries, k), and distances where it has them."""

    ids: npt.NDArray[np.integer[Any]]
    distances: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class VectorDataset:
    """Vectors as they are; ``metric``, ``encoded_by`` and ``truth`` where the source declares them."""

    name: str
    documents: Vectors
    queries: Vectors | None = None
    metric: str | None = None
    notes: tuple[str, ...] = ()
    encoded_by: EncodedBy | None = None
    truth: GroundTruth | None = None

    def __repr__(self) -> str:
        rows = self.documents
        queries = f", {len(self.queries):,} queries" if self.queries is not None else ""
        metric = f", {self.metric}" if self.metric else ""
        return (
            f"<VectorDataset {_short(self.name)}: {len(rows):,} rows x {rows.dim} {rows.values.dtype}{queries}{metric}>"
        )

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>"

    def to_dict(self) -> dict[str, Any]:
        """What it holds, in JSON's own types; the vectors are in ``documents.values`` and ``rows``."""
        return {
            "name": self.name,
            "rows": len(self.documents),
            "dim": self.documents.dim,
            "dtype": self.documents.values.dtype.name,
            "queries": 0 if self.queries is None else len(self.queries),
            "metric": self.metric,
            "encoded_by": None if self.encoded_by is None else self.encoded_by.name,
            "notes": list(self.notes),
        }

    def rows(self) -> list[dict[str, Any]]:
        """A flat dict a row, with its vector as an array; id and text where they are known."""
        rows = self.documents
        found = [{"row": row, "vector": vector} for row, vector in enumerate(rows.values)]
        for name, values in (("id", rows.ids), ("text", rows.texts)):
            if values is not None:
                for line, value in zip(found, values, strict=True):
                    line[name] = value
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """Why an answer is exact.

    rows_scanned: rows whose bound was looked at. candidates: int64, (queries,): rows that it could not exclude. computed: of those,
    distances computed. margin: float64, (queries,): the rows left out are at least this much further than the k-th neighbor (for l2
    in plain distance, not squared; infinite where none was left out). path: the scans used, and "exhaustive" where bounds were of no
    use. exact: true; an answer that is not proven has no certificate. A single query has arrays of one element.
    """

    rows_scanned: int
    candidates: IdArray
    computed: IdArray
    margin: npt.NDArray[np.float64]
    path: tuple[str, ...]
    exact: bool = True

    def __repr__(self) -> str:
        count = len(self.candidates)
        some = f", candidates={_range(self.candidates)}, margin={_range(self.margin)}" if count else ""
        path = _short(", ".join(self.path)) or "nothing to scan"
        return f"Certificate(exact={self.exact}, queries={count}, rows_scanned={self.rows_scanned}{some}, path={path})"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>"

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's own types; an infinite margin is None."""
        return {
            "exact": self.exact,
            "rows_scanned": self.rows_scanned,
            "candidates": self.candidates.tolist(),
            "computed": self.computed.tolist(),
            "margin": _finite(self.margin),
            "path": list(self.path),
        }

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All of it as arrays, for a file."""
        return {
            "candidates": self.candidates,
            "computed": self.computed,
            "margin": self.margin,
            "path": np.array(self.path, dtype=np.str_),
            "scanned": np.array([self.rows_scanned, self.exact], dtype=np.int64),
        }

    @classmethod
    def of_arrays(cls, found: dict[str, npt.NDArray[Any]], queries: int) -> Certificate | None:
        """What ``arrays`` gave, of so many queries; None where they have none of it.

        Raises:
            KeyError: one is missing.
            ValueError: shapes or types that do not belong together.
        """
        if "scanned" not in found:
            return None
        of_queries = [found[name] for name in ("candidates", "computed", "margin")]
        fit = all(
            a.shape == (queries,) and a.dtype == t
            for a, t in zip(of_queries, (np.int64, np.int64, np.float64), strict=True)
        )
        if not fit or found["scanned"].shape != (2,) or found["path"].ndim != 1 or found["path"].dtype.kind != "U":
            raise ValueError("its certificate belongs to another answer")
        scanned, exact = found["scanned"].tolist()
        candidates, computed, margin = of_queries
        return cls(scanned, candidates, computed, margin, tuple(found["path"].tolist()), bool(exact))


Answer = TypeVar("Answer")


def write_answer(path: str | Path, arrays: Mapping[str, npt.NDArray[Any]], certificate: Certificate | None) -> None:
    """Write an answer's arrays and its certificate as an .npz file.

    Raises:
        KnnscopeError: another ending, or the file cannot be written.
    """
    write_arrays(Path(path), {**arrays, **(certificate.arrays() if certificate else {})}, follow=True)


def read_answer(path: str | Path, kind: str, answer_of: Callable[[dict[str, npt.NDArray[Any]]], Answer]) -> Answer:
    """The answer whose arrays ``write_answer`` wrote.

    Args:
        path: the file.
        kind: what it is called to the user.
        answer_of: makes it of its arrays; raises KeyError or ValueError where they are none.

    Raises:
        KnnscopeError: no such file, a damaged one, or arrays that are no answer; names the file.
    """
    found = read_arrays(Path(path))
    try:
        return answer_of(found)
    except (KeyError, ValueError) as error:
        raise KnnscopeError(f"{path}: not an answer that {kind}.save wrote ({error})") from error


def _range(values: npt.NDArray[Any]) -> str:
    least, most = values.min(), values.max()
    return f"{least:g}" if least == most else f"{least:g} to {most:g}"


def _finite(values: npt.NDArray[Any]) -> Any:
    """A list, or a list of lists, with None for what JSON has no number for."""
    if values.ndim > 1:
        return [_finite(line) for line in values]
    return [value if np.isfinite(value) else None for value in values.tolist()]


@dataclass(frozen=True, slots=True, eq=False)
class Neighbors:
    """The k nearest rows of each query, best first; unpacks as ``ids, distances``.

    ids: int64, or strings where rows are called so, (queries, k), or (k,) for a query of one dimension; -1, or an empty string, where fewer
    than k rows are allowed. distances: (queries, k), or (k,); squared Euclidean for ``l2``, similarity for ``ip`` and ``cosine``; where a row
    is missing, infinite, with the sign that sorts last: negative for similarities. certificate: where the search has a proof.
    """

    ids: IdArray
    distances: FloatArray
    certificate: Certificate | None = None

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        yield self.ids
        yield self.distances

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.ids.shape))
        proof = f", {self.certificate!r}" if self.certificate else ""
        return f"Neighbors(ids={shape} {self.ids.dtype}, distances={shape} {self.distances.dtype}{proof})"

    def _repr_html_(self) -> str:
        """The first neighbors of the first queries, and how many there are."""
        ids, distances = np.atleast_2d(self.ids, self.distances)
        queries, k = ids.shape
        lines, ranks = min(queries, SHOWN[0]), min(k, SHOWN[1])
        head = "".join(f"<th>{name}</th>" for name in ("query", *range(1, ranks + 1)))
        body = "".join(
            f"<tr><td>{i}</td>{''.join(f'<td>{escape(str(ids[i, j]))} ({distances[i, j]:.6g})</td>' for j in range(ranks))}</tr>"
            for i in range(lines)
        )
        cut = f"; shown: {lines:,} of {queries:,} queries, {ranks:,} of {k:,} neighbors: id (distance)"
        return (
            f"<div><p>{escape(repr(self) + cut)}</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's own types, in the shapes of the arrays; None for a distance that is not finite, or no certificate."""
        return {
            "ids": self.ids.tolist(),
            "distances": _finite(self.distances),
            "certificate": self.certificate and self.certificate.to_dict(),
        }

    def rows(self) -> list[dict[str, Any]]:
        """A flat dict a neighbor, for ``pandas.DataFrame`` or ``polars.DataFrame``: query (its row), rank (from 1), id, distance.

        A neighbor that is missing, because fewer than k rows were allowed, has no dict.
        """
        ids, distances = np.atleast_2d(self.ids, self.distances)
        there = np.argwhere((ids != "" if ids.dtype.kind == "U" else ids >= 0) | np.isfinite(distances))
        return [
            {
                "query": query,
                "rank": place + 1,
                "id": ids[query, place].item(),
                "distance": float(distances[query, place]),
            }
            for query, place in there.tolist()
        ]

    def save(self, path: str | Path) -> None:
        """Write ids, distances and the certificate as an .npz file, which NumPy reads as well.

        Raises:
            KnnscopeError: another ending, or the file cannot be written.
        """
        write_answer(path, {"ids": self.ids, "distances": self.distances}, self.certificate)

    @classmethod
    def load(cls, path: str | Path) -> Neighbors:
        """Read what ``save`` wrote; nothing in the file is run.

        Raises:
            KnnscopeError: no such file, a damaged one, or arrays that are no answer; names the file.
        """
        return read_answer(path, cls.__name__, _answer_of)


def _answer_of(found: dict[str, npt.NDArray[Any]]) -> Neighbors:
    """The answer that these arrays hold.

    Raises:
        KeyError: one is missing.
        ValueError: shapes or types that do not belong together.
    """
    ids, distances = found["ids"], found["distances"]
    if (
        (ids.dtype != np.int64 and ids.dtype.kind != "U")
        or distances.dtype.kind != "f"
        or ids.ndim not in (1, 2)
        or ids.shape != distances.shape
    ):
        raise ValueError(f"ids {ids.shape} {ids.dtype}, distances {distances.shape} {distances.dtype}")
    return Neighbors(ids, distances, Certificate.of_arrays(found, 1 if ids.ndim == 1 else len(ids)))


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do, as data: read before it is built, printed when it refuses."""

    metrics: frozenset[str]
    dtypes: frozenset[str] = frozenset({"float32", "float64", "float16", "int8", "uint8"})
    devices: frozenset[str] = frozenset({"cpu"})
    max_k: int | None = None
    exact: bool = False
    """Returns the ids that search/definition.py defines, ties included; else right up to float32 rounding."""
