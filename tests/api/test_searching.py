"""knn, and one query from several engines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import knnscope
from knnscope.api.searching import DEPTH, Asked, Rows, ask, default_k, engines_of, search_all
from knnscope.api.workload import Workload
from knnscope.errors import KnnscopeError
from knnscope.records import VectorDataset, Vectors
from knnscope.search import definition

RNG = np.random.default_rng(7)
ROWS = RNG.standard_normal((60, 5)).astype(np.float32)
QUERIES = RNG.standard_normal((4, 5)).astype(np.float32)


@pytest.mark.parametrize("metric", definition.METRICS)
def test_knn_is_the_definition(metric: str) -> None:
    found, expected = knnscope.knn(QUERIES, ROWS, 7, metric), definition.search(ROWS, QUERIES, 7, metric)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.distances, expected.distances)
    assert knnscope.knn(QUERIES[0], ROWS, 1, metric).ids.tolist() == expected.ids[0, :1].tolist()


def test_knn_refuses_what_cannot_be() -> None:
    for queries, k, metric, message in (
        (QUERIES, 61, "l2", "k = 61 is outside 1 to 60"),
        (QUERIES[:, :4], 1, "l2", "4 components"),
        (QUERIES, 1, "l3", "did you mean|known"),
    ):
        with pytest.raises(KnnscopeError, match=message):
            knnscope.knn(queries, ROWS, k, metric)


@given(st.integers(1, 20))
def test_the_default_k_is_never_more_than_the_rows(rows: int) -> None:
    assert default_k(None, rows) == min(DEPTH, rows)
    assert default_k(rows, rows) == rows
    with pytest.raises(KnnscopeError, match=f"k = {rows + 1} is outside 1 to {rows}"):
        default_k(rows + 1, rows)


def data(rows: int = 60) -> Workload:
    return Workload(VectorDataset("some", Vectors(ROWS[:rows])))


def test_a_question_to_several_engines() -> None:
    answer, refused = ask(data(), Asked(query_id="3"), ["numpy64", "numpy", "sklearn"])
    assert refused == []
    assert answer.engines["numpy64"].rows[0] == 3
    assert answer.to_dict()["agree"] is True
    assert [(row["engine"], row["rank"]) for row in answer.rows()][:4] == [
        *(("numpy64", rank) for rank in (1, 2, 3)),
        ("numpy", 1),
    ]
    few, _ = ask(data(2), Asked(query_id="0"), ["numpy64"])
    assert few.to_dict()["k"] == 2


def test_engines_by_name() -> None:
    assert engines_of(["numpy", "numpy64", "numpy"]) == ["numpy", "numpy64"]
    assert "certified" in engines_of(None)
    for names, message in (([], "engines is empty"), (["nump"], "did you mean numpy")):
        with pytest.raises(KnnscopeError, match=message):
            engines_of(names)


def test_engines_that_cannot_are_said_and_left_out() -> None:
    found, refused = search_all(["numpy64", "sklearn"], Rows(ROWS, "ip"), QUERIES, 2)
    assert list(found) == ["numpy64"]
    assert "sklearn has no metric 'ip'" in refused[0]
    with pytest.raises(KnnscopeError, match="sklearn has no metric"):
        search_all(["sklearn"], Rows(ROWS, "ip"), QUERIES, 2)


@pytest.mark.parametrize("asked", [Asked(), Asked("words", "1"), Asked("  ")])
def test_no_question_or_two(asked: Asked) -> None:
    with pytest.raises(KnnscopeError, match=r"give either|is empty"):
        ask(data(), asked, ["numpy64"])
