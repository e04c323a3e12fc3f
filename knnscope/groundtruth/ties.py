"""What ground truth hangs by: at which queries the k-th place is a tie and with whom, and how far behind all other rows are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.groundtruth.answers import keys, lowered
from knnscope.groundtruth.parts import Part

LISTED = 100
"""Queries that are named in a certificate."""
SHOWN = 20
"""Ids that are named of those within the answer that tie with its last place."""


@dataclass
class Ties:
    """Gathered batch by batch.

    tied: queries whose k-th place is as near as a row that is not in the answer. within: queries two of whose places are as near. float32: queries
    whose k-th place and the next one float32 cannot tell apart, the tied among them. margins: for each query how much further the rows are that were not
    ranked. gaps: how much further the row after the k-th is.
    """

    k: int
    metric: str
    tied: int = 0
    within: int = 0
    float32: int = 0
    listed: list[dict[str, Any]] = field(default_factory=list)
    margins: list[npt.NDArray[np.float64]] = field(default_factory=list)
    gaps: list[npt.NDArray[np.float64]] = field(default_factory=list)

    def add(self, first: int, part: Part) -> None:
        """The answers to the queries from ``first`` on."""
        ids, distances = part.found.ids, part.found.distances
        last = distances[:, self.k - 1]
        own = distances[:, : self.k]
        self.within += int((own[:, 1:] == own[:, :-1]).any(axis=1).sum())
        behind = keys(last, self.metric)
        self.margins.append(lowered(part.floor - behind))
        if distances.shape[1] == self.k:  # all rows are in the answer
            self.gaps.append(np.full(len(ids), np.inf))
            return
        self.gaps.append(keys(distances[:, self.k], self.metric) - behind)
        with np.errstate(over="ignore"):
            self.float32 += int((last.astype(np.float32) == distances[:, self.k].astype(np.float32)).sum())
        tied = np.flatnonzero(last == distances[:, self.k])
        self.tied += len(tied)
        for line in tied[: max(0, LISTED - len(self.listed))].tolist():
            equal = distances[line] == last[line]
            inside, outside = ids[line, : self.k][equal[: self.k]], ids[line, self.k :][equal[self.k :]]
            self.listed.append(
                {
                    "query": first + line,
                    "distance": float(last[line]),
                    "in": inside[:SHOWN].tolist(),
                    "in_count": len(inside),
                    "out": outside.tolist(),
                    "more_out": bool(equal[-1]),
                }
            )

    def summary(self) -> dict[str, Any]:
        """All of it in JSON's own types."""
        return {
            "queries": self.tied,
            "queries_that_float32_cannot_tell": self.float32,
            "queries_with_equal_distances_within": self.within,
            "listed": self.listed,
            "rule": "equal distances: the smaller id; 'out' are rows as near as the k-th that have larger ids, more_out: and perhaps others",
        }

    def margin(self) -> dict[str, Any]:
        """Least, median and largest, with the queries that have the least."""
        return {"to_the_next": _spread(self.gaps), "to_rows_left_out": _spread(self.margins), "in": _UNIT[self.metric]}


_UNIT = {"l2": "plain distance, not squared", "ip": "inner product", "cosine": "cosine similarity"}


def _spread(parts: Iterable[npt.NDArray[np.float64]]) -> dict[str, Any]:
    values = np.concatenate(list(parts))
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return {"queries": 0}
    order = known[np.argsort(values[known], kind="stable")]
    return {
        "queries": len(known),
        "least": float(values[order[0]]),
        "median": float(np.median(values[known])),
        "most": float(values[order[-1]]),
        "smallest": [{"query": int(i), "margin": float(values[i])} for i in order[:10]],
    }
