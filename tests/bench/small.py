"""A data set of nine rows, its answers, and a worker that is its own host."""

from __future__ import annotations

import numpy as np

from knnscope.bench import result
from knnscope.bench.plan import Case
from knnscope.bench.worker import Worker
from knnscope.search import definition

ROWS = np.random.default_rng(0).standard_normal((9, 2)).astype(np.float32)
QUERIES = ROWS[:3] + np.float32(0.1)
ANSWERS = definition.search(ROWS, QUERIES, 2, "l2")
FACTS = result.Facts("made up", 9, 2, "float32", 4, "l2", 1)


class Here(Worker):
    """A worker that is its own host."""

    def pause(self) -> None:
        pass

    def close(self) -> None:
        pass


def case(name: str, batch: int = 1) -> Case:
    return Case(name, 2, batch, "host")
