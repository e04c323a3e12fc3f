"""Certified search gives the defined answer on every kind of synthetic data, by every k, size of a batch and instruction set."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from knnscope.certified.cpu import dispatch
from knnscope.certified.index import ExactIndex
from knnscope.datasets import registry
from knnscope.records import Neighbors
from knnscope.search import definition

ISAS = dispatch.available()
METRICS = definition.METRICS


@cache
def made(data: str) -> tuple[np.ndarray, np.ndarray, dict[str, Neighbors]]:
    """Rows, queries, and what every set of instructions answers by each metric."""
    dataset, _ = registry.load(f"synthetic:{data},rows=3000,queries=40")
    rows, queries = dataset.documents.values, dataset.queries.values
    return rows, queries, {metric: definition.search(rows, queries, 100, metric) for metric in METRICS}


ASKED = tuple((k, batch) for k in (1, 10, 100) for batch in ((1, 2, 4, 5, 13, 40) if k == 10 else (40,)))
"""Each k, and each size of a batch."""


@pytest.mark.parametrize(
    ("data", "metric", "isa", "both"),
    [
        # every day the fastest answers all of them, each other one every metric and every kind of data, with one thread and with two by turns
        pytest.param(
            data,
            metric,
            isa,
            both,
            marks=[pytest.mark.slow] if both or (isa != ISAS[0] and (i - j) % len(METRICS)) else [],
        )
        for i, metric in enumerate(METRICS)
        for j, data in enumerate(("text", "isotropic", "near-duplicate", "large-norm", "ties"))
        for isa in ISAS
        for both in (False, True)
    ],
)
def test_kinds_of_data(data: str, metric: str, isa: str, both: bool) -> None:
    rows, queries, answers = made(data)
    expected = answers[metric]
    index = ExactIndex(rows, metric, threads=2, device=f"cpu:{isa}")
    for number, (k, batch) in enumerate(ASKED):
        for threads in (1, 2) if both else (1 + (number + METRICS.index(metric)) % 2,):
            found = [index.search(queries[i : i + batch], k, threads=threads) for i in range(0, 40, batch)]
            np.testing.assert_array_equal(np.concatenate([f.ids for f in found]), expected.ids[:, :k])
            values = np.concatenate([f.distances for f in found])
            np.testing.assert_array_equal(values, expected.distances[:, :k])
