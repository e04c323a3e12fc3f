"""What all rungs have in common: where they compute, what they move, and the phases that are timed apart."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from knnscope.search.rounding import Formula

FLOAT = 4
"""Bytes of a component, a distance, a copied scalar."""


class Rung(ABC):
    """A version of the search for one query.

    ``load`` puts the rows where the search wants them, ``build`` prepares what does not depend on the query, ``search`` answers, and
    ``copy_back`` brings the answer to the host. Only the last two are the search's time.
    """

    changed: str
    """What is new against the rung below, in a sentence."""
    without: ClassVar[str | None] = None
    """The same where NumPy runs in CuPy's place; None where the sentence holds for both, or nothing runs."""
    gpu: ClassVar[bool] = False
    """Whether it uses what only a GPU has."""
    loop: ClassVar[bool] = False
    """Whether Python visits every row, so that its time may be scaled from fewer."""
    formula: Formula = Formula("rooted")

    def __init__(self, xp: Any) -> None:
        self.xp = xp
        self.note: str | None = None
        """What a search found out about itself, such as a rate."""

    @property
    def on_gpu(self) -> bool:
        """Whether its arrays are CuPy's."""
        return self.xp is not np

    @property
    def ran(self) -> str:
        """``changed``, of the module that computes."""
        return self.changed if self.on_gpu else self.without or self.changed

    def load(self, rows: Any) -> None:
        """Keep the rows, (rows, dim) float32, in this module's memory."""
        self.rows = self.xp.asarray(rows)

    def build(self, k: int) -> None:  # noqa: B027 - most have nothing to prepare
        """Prepare for searches with this k."""

    def ready(self, query: Any) -> Any:
        """The query, (dim,) float32, where the search wants it."""
        return self.xp.asarray(query)

    @abstractmethod
    def search(self, query: Any, k: int) -> Any:
        """Row numbers of the k nearest, best first."""

    def copy_back(self, found: Any) -> list[int]:
        """The answer as Python's own numbers."""
        return [int(row) for row in found.tolist()] if hasattr(found, "tolist") else list(found)

    @abstractmethod
    def moved(self, k: int) -> int | None:
        """Bytes that the search's array operations read and write, each by itself, without selection; None where that is not known."""

    def launches(self, k: int) -> tuple[int, int] | None:  # noqa: ARG002
        """Kernels and copies between host and GPU in a search, where they follow from the code; else None."""
        return None if self.on_gpu else (0, 0)

    @property
    def elements(self) -> int:
        """Components of all rows."""
        return int(self.rows.shape[0] * self.rows.shape[1])

    @property
    def count(self) -> int:
        """Rows."""
        return int(self.rows.shape[0])
