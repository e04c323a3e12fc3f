"""Retrieval quality against values worked out by hand."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest

from knnscope import quality
from knnscope.records import Judgements, Neighbors, TextDataset, Texts
from knnscope.search import topk


def judgements(grades: dict[int, dict[int, int]]) -> Judgements:
    triples = [(q, d, g) for q, line in grades.items() for d, g in line.items()]
    return Judgements(*(np.array(column, np.int64) for column in zip(*triples, strict=True)))


def test_values_by_hand() -> None:
    judged = judgements({0: {7: 2, 8: 1, 9: 0}})
    found = quality.measures([[5, 8, 9, 7, *range(20, 30)]], judged, 3, [0])
    ideal = 2 / log2(2) + 1 / log2(3)
    assert found == pytest.approx(
        {"ndcg_at_10": (1 / log2(3) + 2 / log2(5)) / ideal, "recall_at_k": 1 / 2, "mrr_at_10": 1 / 2}
    )


def test_depths() -> None:
    """Rank 10 counts, rank 11 does not, but for recall, which has a depth of its own."""
    others = list(range(100, 120))
    for rank, ndcg, mrr in ((10, 1 / log2(11), 0.1), (11, 0, 0)):
        line = [*others[: rank - 1], 1, *others[rank:]]
        for k, recall in ((rank - 1, 0), (rank, 1), (20, 1)):
            found = quality.measures([line], judgements({0: {1: 1}}), k, [0])
            assert found == pytest.approx({"ndcg_at_10": ndcg, "recall_at_k": recall, "mrr_at_10": mrr})


def test_the_ideal_has_more_than_was_found_and_no_more_than_ten() -> None:
    judged = judgements({0: dict.fromkeys(range(12), 1)})
    assert quality.measures([list(range(10))], judged, 10, [0]) == pytest.approx(
        {"ndcg_at_10": 1, "recall_at_k": 10 / 12, "mrr_at_10": 1}
    )
    assert quality.measures([[3, 50, 51]], judged, 1, [0])["recall_at_k"] == pytest.approx(1 / 12)


def test_mean_over_the_queries_that_are_judged() -> None:
    judged = judgements({0: {1: 1}, 2: {5: 1}, 9: {0: 1}})
    lines = {0: [1, 2], 1: [1, 2], 2: [3, 5]}
    assert quality.measures(list(lines.values()), judged, 1, list(lines)) == pytest.approx(
        {"ndcg_at_10": (1 + 1 / log2(3)) / 2, "recall_at_k": 0.5, "mrr_at_10": 0.75}
    )
    assert quality.measures([[1, 2]], judged, 1, [1]) == {}


def test_lines_belong_to_the_queries_named() -> None:
    judged = judgements({0: {1: 1}, 1: {2: 1}, 2: {3: 1}})
    assert quality.measures([[3, 9], [9, 1]], judged, 2, [2, 0])["mrr_at_10"] == pytest.approx(0.75)
    assert quality.measures([[3, 9], [9, 1]], judged, 2, [0, 2])["mrr_at_10"] == 0


def test_a_query_that_finds_nothing_counts_as_nothing() -> None:
    judged = judgements({0: {1: 1}, 1: {2: 1}})
    expected = {"ndcg_at_10": 0.5, "recall_at_k": 0.5, "mrr_at_10": 0.5}
    assert quality.measures([[], [2]], judged, 1, [0, 1]) == pytest.approx(expected)


@pytest.mark.parametrize(("metric", "sign"), [("l2", 1), ("ip", -1), ("cosine", -1)])
def test_ties_are_ranked_by_row_number(metric: str, sign: int) -> None:
    found = Neighbors(np.array([[9, 4, 2, 7]]), sign * np.array([[1, 1, 0.5, 1]], np.float32))
    assert quality.ranked(found, metric, {}, [0]) == [[2, 4, 7, 9]]
    assert quality.ranked(found, metric, {3: 4}, [3]) == [[2, 7, 9]]
    assert quality.ranked(found, metric, {3: 4}, [0]) == [[2, 4, 7, 9]]
    judged = judgements({0: {4: 1}})
    lines = quality.ranked(found, metric, {}, [0])
    assert quality.measures(lines, judged, 1, [0])["mrr_at_10"] == 0.5


def test_a_query_that_is_a_document_does_not_find_itself() -> None:
    """ArguAna: one more is searched, its own document is dropped, and k are left, also where its copy ranks before it."""
    values = np.array([[0.0], [0.0], [1.0], [3.0], [6.0]])
    dataset = TextDataset(
        "arguments",
        Texts(["a", "b", "c", "d", "e"], ["-"] * 5),
        Texts(["d", "x", "b"], ["-"] * 3),
        judgements({0: {2: 1}, 1: {3: 1}, 2: {0: 1, 2: 1}}),
    )
    own = quality.own_documents(dataset)
    assert own == {0: 3, 2: 1}
    k = 2
    found = topk.search(values, np.array([[3.0], [4.0], [0.0]]), k + 1, "l2")
    lines = quality.ranked(found, "l2", own, range(3))
    assert lines == [[2, 0], [3, 4, 2], [0, 2]]
    assert quality.measures(lines, dataset.judgements, k, range(3)) == pytest.approx(
        {"ndcg_at_10": 1, "recall_at_k": 1, "mrr_at_10": 1}
    )
    plain = quality.measures(found.ids.tolist(), dataset.judgements, k, range(3))
    assert plain["mrr_at_10"] < 1
    assert quality.own_documents(TextDataset("", dataset.documents, Texts(["x"], ["-"]), dataset.judgements)) == {}
