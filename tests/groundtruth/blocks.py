"""Rows with many ties, and their ground truth in blocks of any size."""

from __future__ import annotations

import numpy as np

from knnscope.groundtruth import answers, parts
from knnscope.groundtruth.inputs import open_inputs
from knnscope.search import definition

CHANCE = np.random.default_rng(0)
BASE = CHANCE.integers(-3, 4, (900, 6)).astype(np.float32)  # many ties
QUERIES = np.concatenate([CHANCE.integers(-3, 4, (30, 6)), CHANCE.standard_normal((10, 6))]).astype(np.float32)


def in_blocks(rows: int, batch: int, metric: str, width: int, store: parts.Store | None = None) -> parts.Part:
    """All of it in blocks of so many rows; one part."""
    inputs = open_inputs(BASE, QUERIES, metric)
    store = store or parts.InMemory(len(QUERIES), batch)
    answers.compute(inputs, answers.Plan(10, width, rows, batch), store)
    found = [store.get(i) for i in range(len(store.batches))]
    return parts.Part(
        len(BASE),
        definition.Neighbors(
            np.concatenate([p.found.ids for p in found if p]), np.concatenate([p.found.distances for p in found if p])
        ),
        np.concatenate([p.floor for p in found if p]),
        np.concatenate([p.candidates for p in found if p]),
        np.concatenate([p.computed for p in found if p]),
    )
