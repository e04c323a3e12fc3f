"""Distances that stand in a file of ground truth, held against the defined ones. Programs store different things; which, the numbers tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.search.rounding import Formula, norms

Float64 = npt.NDArray[np.float64]
FLOAT32 = Formula("expanded", "float32")
ROUNDED = 2.0**-22
"""Of a stored value: float32, after a root or a subtraction."""

FORMS: dict[str, dict[str, Callable[[Float64], Float64]]] = {
    "l2": {"squared distances": lambda s: s, "distances, not squared": lambda s: s * s},
    "ip": {"inner products": lambda s: s, "negated inner products": lambda s: -s, "1 - inner product": lambda s: 1 - s},
    "cosine": {
        "cosine similarities": lambda s: s,
        "1 - cosine similarity": lambda s: 1 - s,
        "negated cosine similarities": lambda s: -s,
        "squared distances of scaled vectors": lambda s: 1 - s / 2,
    },
}
"""By metric, what may be stored and how the defined value follows from it."""


@dataclass(frozen=True, slots=True)
class Distances:
    """What the distances of a file are. form: which of ``FORMS``. fit: whether each is right up to float32 rounding.

    off: the largest departure, in what the definition gives. query, rank, stored, defined: where the departure is largest against what rounding allows.
    """

    form: str
    fit: bool
    off: float | None
    query: int
    rank: int
    stored: float | None
    defined: float | None

    @property
    def told(self) -> str:
        """In words."""
        if self.fit:
            return f"{self.form}, right up to float32 rounding"
        return (
            f"wrong: nearest to {self.form}, but at query {self.query:,}, place {self.rank:,} the file has {_number(self.stored)}, "
            f"where the defined value is {_number(self.defined)}"
        )


class Stored:
    """Gathers query by query."""

    def __init__(self, metric: str, dim: int) -> None:
        self._metric, self._dim = metric, dim
        self._worst: dict[str, tuple[float, float, int, int, float, float]] = {}

    def add(
        self,
        query: int,
        given: npt.NDArray[Any],
        defined: Float64,
        known: npt.NDArray[np.bool_],
        rows: npt.NDArray[Any],
        asked: npt.NDArray[Any],
    ) -> None:
        """One query's places: distances as they are stored, of any type of float, and as defined.

        known: which name a row; rows: their vectors.
        """
        with np.errstate(all="ignore"):
            stored = np.asarray(given, np.float64)  # a NaN may be of the kind that signals
            allowed = FLOAT32.bound(self._metric, self._dim, defined, norms(rows), norms(asked[None]))
            for form, back in FORMS[self._metric].items():
                values = back(stored)
                off = np.abs(values - defined)
                over = off / (allowed + ROUNDED * np.maximum(np.abs(defined), 1 if self._metric == "cosine" else 0))
                over = np.where(np.isnan(over), np.inf, over)
                over = np.where(np.isinf(stored) & (np.abs(defined) > np.finfo(np.float32).max), 0, over)
                over = np.where(known, over, 0)
                rank = int(over.argmax())
                here = (float(over[rank]), float(off[rank]), query, rank + 1, float(stored[rank]), float(defined[rank]))
                self._worst[form] = max(self._worst.get(form, (-1.0, 0.0, 0, 0, 0.0, 0.0)), here)

    def summary(self) -> Distances:
        """The form that fits best."""
        form, (over, *rest) = min(self._worst.items(), key=lambda item: item[1][0])
        off, query, rank, stored, defined = rest
        return Distances(form, over <= 1, off, int(query), int(rank), stored, defined)


def _number(value: float | None) -> str:
    return "no finite number" if value is None else f"{value:.17g}"
