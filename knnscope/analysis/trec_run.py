"""TREC's run files: a line for each answer, ``qid Q0 docid rank score tag``, as trec_eval and its kin read them.

trec_eval orders by score, kept in float32, and equal scores by the document's id, backwards. So scores are written as float32, and one that
would not be less than the one before it is lowered by as little as can be: every program then judges the order that was found.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from knnscope.errors import KnnscopeError
from knnscope.records import FloatArray
from knnscope.search import definition
from knnscope.store import whole_file

LARGEST = 2.0**127
"""Of a score: half of what float32 holds, so that there is room below."""
BLANK = re.compile(r"\s")


@dataclass(frozen=True, slots=True)
class TrecRun:
    """Answers to queries: rows of documents, best first, with what the search gave for them.

    queries, documents: their ids. lines: rows of documents. distances: of the same shape, as the metric has them.
    """

    queries: Sequence[str]
    documents: Sequence[str]
    lines: Sequence[Sequence[int]]
    distances: Sequence[Sequence[float]]
    metric: str
    tag: str


def scores(distances: FloatArray, metric: str) -> npt.NDArray[np.float32]:
    """Of one query: larger is better, each less than the one before, in float32; of l2 the negated squared distances."""
    values = np.asarray(distances, np.float64) * (1 if definition.descending(metric) else -1)
    found = np.clip(values, -LARGEST, LARGEST).astype(np.float32)
    for rank in range(1, len(found)):
        found[rank] = min(found[rank], np.nextafter(found[rank - 1], np.float32(-np.inf)))
    return found


def write(path: Path, run: TrecRun) -> None:
    """Write a run, whole or not at all.

    Raises:
        KnnscopeError: an id with a blank, which the format has no room for, or a file that cannot be written.
    """
    for what, ids in (("query", run.queries), ("document", run.documents)):
        for key in ids:
            if not key or BLANK.search(key):
                raise KnnscopeError(f"{path}: {what} id {key!r}: a TREC run has no room for blanks in ids: rename it")
    tag = BLANK.sub("-", run.tag) or "knnscope"
    with whole_file(path, follow=True) as file:
        for query, line, distances in zip(run.queries, run.lines, run.distances, strict=True):
            values = scores(np.asarray(distances), run.metric)
            told = (
                f"{query} Q0 {run.documents[row]} {rank} {value:.9g} {tag}\n"
                for rank, (row, value) in enumerate(zip(line, values.tolist(), strict=True), 1)
            )
            file.write("".join(told).encode("utf-8", "surrogatepass"))
