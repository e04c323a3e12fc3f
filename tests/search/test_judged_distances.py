"""Distances are held to the bound of the engine's own formula, and a query counts once, by its worst answer."""

from __future__ import annotations

import numpy as np
import pytest

from knnscope.search import definition
from knnscope.search.grading import WRONG, Evidence, Grade, Judge
from knnscope.search.rounding import DEFINITION, Formula


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_distances_are_held_to_the_formulas_own_bound(metric: str) -> None:
    random = np.random.default_rng(3)
    rows, queries = (random.standard_normal((n, 24)).astype(np.float32) for n in (200, 12))
    truth = definition.search(rows, queries, 5, metric)
    judge = Judge(rows, queries, truth, metric)
    difference = Formula("difference")
    for told in (truth.distances, truth.distances.astype(np.float32)):
        assert judge.grade(truth.ids, 0, difference, told) == judge.grade(truth.ids, 0, difference)
    assert judge.grade(truth.ids, 0, DEFINITION, truth.distances).grade == "exact"
    assert judge.grade(truth.ids, 0, DEFINITION, truth.distances.astype(np.float32)).grade == "wrong"
    for bad in (0.0, np.nan, np.inf):
        off = truth.distances.copy()
        off[7, 3] = bad
        found = judge.grade(truth.ids[4:], 4, difference, off[4:])
        assert (found.grade, found.queries, found.differing, found.beyond) == ("wrong", 8, 1, 1)
        assert found.evidence is not None
        assert (found.evidence.query, found.evidence.rank, found.evidence.rival) == (7, 4, None)
        assert found.evidence.row == truth.ids[7, 3]
        assert found.evidence.distance == truth.distances[7, 3]
        assert found.evidence.why.startswith(f"was given the distance {bad:.7g}, which is ")
    ids = truth.ids.copy()
    ids[2, 0], ids[5] = -1, ids[5, ::-1]
    found = judge.grade(ids, 0, difference, np.where(ids < 0, np.nan, truth.distances))
    assert found.beyond == 2, (
        "no row has no distance, and rows in the wrong order have those of others: each counts once"
    )
    assert found.evidence is not None
    assert found.evidence.why.startswith("is no row")


def test_the_expanded_form_may_lose_what_it_cancels() -> None:
    """Norms of 8,000 beside distances of 20: what rounding explains is far more than a difference may lose."""
    random = np.random.default_rng(4)
    rows = (random.standard_normal((200, 64)) + 1000).astype(np.float32)
    queries = rows[:4] + np.float32(0.25)
    truth = definition.search(rows, queries, 5, "l2")
    judge = Judge(rows, queries, truth, "l2")
    off = truth.distances + 1
    assert judge.grade(truth.ids, 0, Formula("expanded"), off).grade == "exact"
    assert judge.grade(truth.ids, 0, Formula("difference"), off).grade == "wrong"


def test_a_query_that_is_judged_twice_counts_once_by_its_worst_answer() -> None:
    evidence = Evidence(5, 1, 2, 3, 1.0, 2.0, 0.1, (2,), (3,), "is nearer")
    first, second = Grade.of({4: 0, 5: WRONG, 6: 1}, evidence), Grade.of({5: 1, 6: WRONG, 7: 0}, None)
    for both in (first.with_others(second), second.with_others(first)):
        assert (both.grade, both.queries, both.differing, both.beyond) == ("wrong", 4, 2, 2)
        assert both.levels == {4: 0, 5: WRONG, 6: WRONG, 7: 0}
    folded = first.numbered({4: 0, 5: 1, 6: 1})
    assert (folded.queries, folded.differing, folded.beyond) == (2, 1, 1)
    assert folded.evidence is not None
    assert folded.evidence.query == 1


def test_a_product_that_was_told_as_one_minus_itself_is_rounded_twice() -> None:
    """As usearch tells it: 1 - s in float32, turned back."""
    rows, queries = np.array([[0.3], [1e-4]], np.float32), np.array([[0.7]], np.float32)
    truth = definition.search(rows, queries, 2, "ip")
    told = (np.float32(1) - (np.float32(1) - truth.distances.astype(np.float32))).astype(np.float32)
    judge = Judge(rows, queries, truth, "ip")
    assert judge.grade(truth.ids, 0, Formula("difference"), told).grade == "wrong"
    assert judge.grade(truth.ids, 0, Formula("difference", shifted=True), told).grade == "exact"
    assert judge.grade(truth.ids, 0, Formula("difference", shifted=True), told + 1e-6).grade == "wrong"
