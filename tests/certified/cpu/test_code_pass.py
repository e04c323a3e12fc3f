"""Passes over the byte codes by several threads: the answers of one, whichever rows each of them takes and whatever they tell each other."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from knnscope.certified.cpu import code_pass, dispatch, plane
from knnscope.certified.index import ExactIndex
from knnscope.records import Neighbors
from knnscope.search import definition

ROWS, DIM = 12_000, 24
MOST = 600
"""Of neighbors: more than parts tell each other."""


def rows_of(kind: str) -> np.ndarray:
    random = np.random.default_rng(5)
    if kind == "sorted":  # all that is near lies in one part
        centres = np.sort(random.standard_normal((60, DIM)) * 4, axis=0)
        return (np.repeat(centres, ROWS // 60, axis=0) + random.standard_normal((ROWS, DIM))).astype(np.float32)
    return random.standard_normal((ROWS, DIM)).astype(np.float32)


@cache
def made(kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, queries, and rows that are allowed."""
    rows, random = rows_of(kind), np.random.default_rng(6)
    queries = rows[random.choice(ROWS, 70)] + random.standard_normal((70, DIM)).astype(np.float32) / 4
    return rows, queries, random.random(ROWS) < 0.6


@cache
def defined(kind: str, metric: str) -> tuple[Neighbors, Neighbors]:
    """What every set of instructions answers, of all rows and of those that are allowed."""
    rows, queries, where = made(kind)
    return definition.search(rows, queries, MOST, metric), definition.search(rows[where], queries, MOST, metric)


@pytest.mark.parametrize("isa", dispatch.available())
@pytest.mark.parametrize("kind", ["sorted", "random"])
@pytest.mark.parametrize("metric", definition.METRICS)
def test_threads_give_the_answers_of_the_definition(
    monkeypatch: pytest.MonkeyPatch, kind: str, isa: str, metric: str
) -> None:
    monkeypatch.setattr(plane, "FEWEST", 1 << 40)
    grids: set[tuple[int, int]] = set()
    given = code_pass.CodePass._grid

    def grid(self: code_pass.CodePass, *size: int) -> tuple[int, int]:
        grids.add(given(self, *size))
        return given(self, *size)

    monkeypatch.setattr(code_pass.CodePass, "_grid", grid)
    rows, queries, where = made(kind)
    every, some = defined(kind, metric)
    index = ExactIndex(rows, metric, device=f"cpu:{isa}", threads=3)
    for k in (1, 10, MOST):
        for batch, threads in ((1, 7), (3, 2), (10, 3), (70, 2), (70, 7)):
            asked = queries[:batch]
            found = index.search(asked, k, threads=threads)
            np.testing.assert_array_equal(found.ids, every.ids[:batch, :k])
            np.testing.assert_array_equal(found.distances, every.distances[:batch, :k])
            assert "exhaustive" not in found.certificate.path
            found = index.search(asked, k, where, threads=threads)
            np.testing.assert_array_equal(found.ids, np.flatnonzero(where)[some.ids[:batch, :k]])
    assert max(parts for parts, _ in grids) >= 7, "threads share the rows"
    assert max(groups for _, groups in grids) > 1 or isa == "amx", "and the queries"
