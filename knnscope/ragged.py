"""Answers whose number differs from query to query, in one piece: all rows within a radius."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.records import SHOWN, Certificate, read_answer, write_answer


@dataclass(frozen=True, slots=True, eq=False)
class RadiusNeighbors:
    """All rows within a radius of each query, the nearest first; query i has those from ``offsets[i]`` up to ``offsets[i + 1]``.

    offsets: int64, (queries + 1,). ids: (answers,), int64. distances: float64, (answers,): squared Euclidean for ``l2``, similarity for
    ``ip`` and ``cosine``. certificate: where the search has a proof; its margin is 0, or infinite where every row's distance was computed.
    So they are the arrays of a sparse matrix in CSR form: ``scipy.sparse.csr_array((distances, ids, offsets))``, where ids are row numbers.
    """

    offsets: npt.NDArray[np.int64]
    ids: npt.NDArray[Any]
    distances: npt.NDArray[np.float64]
    certificate: Certificate | None = None

    def __len__(self) -> int:
        """Queries."""
        return len(self.offsets) - 1

    def __getitem__(self, query: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
        """Ids and distances of one query.

        Raises:
            IndexError: there is no such query.
        """
        number = range(len(self))[query]
        some = slice(int(self.offsets[number]), int(self.offsets[number + 1]))
        return self.ids[some], self.distances[some]

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        """Unpacks as ``offsets, ids, distances``."""
        yield self.offsets
        yield self.ids
        yield self.distances

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """How many rows each query has, int64, (queries,)."""
        return np.diff(self.offsets)

    def __repr__(self) -> str:
        proof = f", {self.certificate!r}" if self.certificate else ""
        return f"RadiusNeighbors({len(self):,} queries, {len(self.ids):,} rows within the radius{proof})"

    def _repr_html_(self) -> str:
        """The nearest rows of the first queries, and how many there are."""
        lines = []
        for query in range(min(len(self), SHOWN[0])):
            ids, distances = self[query]
            some = zip(ids[: SHOWN[1]].tolist(), distances[: SHOWN[1]].tolist(), strict=True)
            cells = "".join(f"<td>{escape(str(one))} ({value:.6g})</td>" for one, value in some)
            lines.append(f"<tr><td>{query}</td><td>{len(ids):,}</td>{cells}</tr>")
        cut = f"; shown: {len(lines):,} of {len(self):,} queries, up to {SHOWN[1]} rows each: id (distance)"
        head = "<tr><th>query</th><th>rows</th></tr>"
        return f"<div><p>{escape(repr(self) + cut)}</p><table>{head}{''.join(lines)}</table></div>"

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's own types; None for a distance that is not finite, or no certificate."""
        return {
            "offsets": self.offsets.tolist(),
            "ids": self.ids.tolist(),
            "distances": [value if np.isfinite(value) else None for value in self.distances.tolist()],
            "certificate": self.certificate and self.certificate.to_dict(),
        }

    def rows(self) -> list[dict[str, Any]]:
        """A flat dict an answer, for ``pandas.DataFrame`` or ``polars.DataFrame``: query (its row), rank (from 1), id, distance."""
        queries = np.repeat(np.arange(len(self)), self.counts)
        ranks = np.arange(len(self.ids)) - self.offsets[queries] + 1
        columns = (column.tolist() for column in (queries, ranks, self.ids, self.distances))
        return [
            dict(zip(("query", "rank", "id", "distance"), line, strict=True)) for line in zip(*columns, strict=True)
        ]

    def save(self, path: str | Path) -> None:
        """Write offsets, ids, distances and the certificate as an .npz file, which NumPy reads as well.

        Raises:
            KnnscopeError: another ending, or the file cannot be written.
        """
        arrays = {"offsets": self.offsets, "ids": self.ids, "distances": self.distances}
        write_answer(path, arrays, self.certificate)

    @classmethod
    def load(cls, path: str | Path) -> RadiusNeighbors:
        """Read what ``save`` wrote; nothing in the file is run.

        Raises:
            KnnscopeError: no such file, a damaged one, or arrays that are no answer; names the file.
        """
        return read_answer(path, cls.__name__, _answer_of)


def _answer_of(found: dict[str, npt.NDArray[Any]]) -> RadiusNeighbors:
    """The answer that these arrays hold.

    Raises:
        KeyError: one is missing.
        ValueError: shapes, types or offsets that do not belong together.
    """
    offsets, ids, distances = found["offsets"], found["ids"], found["distances"]
    one = offsets.ndim == ids.ndim == distances.ndim == 1 and len(ids) == len(distances) and len(offsets) > 0
    types = (
        offsets.dtype == np.int64 and distances.dtype == np.float64 and (ids.dtype == np.int64 or ids.dtype.kind == "U")
    )
    if not one or not types:
        raise ValueError(
            f"offsets {offsets.shape} {offsets.dtype}, ids {ids.shape} {ids.dtype}, distances {distances.shape}"
        )
    if offsets[0] != 0 or offsets[-1] != len(ids) or (np.diff(offsets) < 0).any():
        raise ValueError("its offsets do not fit")
    return RadiusNeighbors(offsets, ids, distances, Certificate.of_arrays(found, len(offsets) - 1))
