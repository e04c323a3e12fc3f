"""An index of some rows of many, whose errors name the row among all."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.index import ExactIndex
from knnscope.checks import check_finite
from knnscope.errors import KnnscopeError
from knnscope.search.device import gpu_in_turn


class Slice(NamedTuple):
    """Rows, (rows, dim); the number of the first among all; what they are called, None for their numbers; whose rows, for errors."""

    rows: npt.NDArray[Any]
    first: int
    ids: npt.NDArray[Any] | None = None
    name: str = "rows"


class How(NamedTuple):
    """What an index is built with: as ``ExactIndex`` takes it. turn: of the process among those of its machine, who share its GPUs: see ``gpu_in_turn``."""

    metric: str = "l2"
    device: str = "auto"
    threads: int | None = None
    memory: str = "fast"
    turn: int = 0


def index_of(some: Slice, how: How) -> ExactIndex:
    """An index of the rows under their own names, or their numbers among all rows; ready to be searched.

    Raises:
        KnnscopeError: as ``ExactIndex``; a number that is not finite is named by its row among all.
    """
    rows, first, ids, name = some
    if ids is None and first:
        ids = np.arange(first, first + len(rows))
    device = f"cuda:{gpu_in_turn(how.turn)}" if how.device == "cuda" else how.device
    try:
        return ExactIndex(rows, how.metric, ids, device, how.threads, how.memory).wait()
    except KnnscopeError:
        check_finite(rows, name, first)
        raise
