"""What is searched in a measurement: rows and queries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from knnscope.records import Qrels


@dataclass(frozen=True, slots=True)
class Task:
    """What is searched.

    qrels and own are by row numbers of the whole data set; query_rows says which its queries are. held_out: the queries were rows.
    """

    name: str
    rows: npt.NDArray[Any]
    queries: npt.NDArray[Any]
    metric: str
    qrels: Qrels | None = None
    query_rows: tuple[int, ...] = ()
    own: dict[int, int] = field(default_factory=dict)
    held_out: bool = False
