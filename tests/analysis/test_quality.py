"""Retrieval quality against values worked out by hand."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st

from knnscope.analysis import quality
from knnscope.datasets.beir import Selection, Source, assemble
from knnscope.records import Neighbors, Qrels, TextDataset, Texts
from knnscope.search import definition


def qrels(grades: dict[int, dict[int, int]]) -> Qrels:
    triples = [(q, d, g) for q, line in grades.items() for d, g in line.items()]
    return Qrels(*(np.array(column, np.int64) for column in zip(*triples, strict=True)))


def test_values_by_hand() -> None:
    judged = qrels({0: {7: 2, 8: 1, 9: 0}})
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
            found = quality.measures([line], qrels({0: {1: 1}}), k, [0])
            assert found == pytest.approx({"ndcg_at_10": ndcg, "recall_at_k": recall, "mrr_at_10": mrr})


def test_the_ideal_has_more_than_was_found_and_no_more_than_ten() -> None:
    judged = qrels({0: dict.fromkeys(range(12), 1)})
    assert quality.measures([list(range(10))], judged, 10, [0]) == pytest.approx(
        {"ndcg_at_10": 1, "recall_at_k": 10 / 12, "mrr_at_10": 1}
    )
    assert quality.measures([[3, 50, 51]], judged, 1, [0])["recall_at_k"] == pytest.approx(1 / 12)


def test_mean_over_the_queries_that_are_judged() -> None:
    judged = qrels({0: {1: 1}, 2: {5: 1}, 9: {0: 1}})
    lines = {0: [1, 2], 1: [1, 2], 2: [3, 5]}
    assert quality.measures(list(lines.values()), judged, 1, list(lines)) == pytest.approx(
        {"ndcg_at_10": (1 + 1 / log2(3)) / 2, "recall_at_k": 0.5, "mrr_at_10": 0.75}
    )
    assert quality.measures([[1, 2]], judged, 1, [1]) == {}


def test_lines_belong_to_the_queries_named() -> None:
    judged = qrels({0: {1: 1}, 1: {2: 1}, 2: {3: 1}})
    assert quality.measures([[3, 9], [9, 1]], judged, 2, [2, 0])["mrr_at_10"] == pytest.approx(0.75)
    assert quality.measures([[3, 9], [9, 1]], judged, 2, [0, 2])["mrr_at_10"] == 0


def test_a_query_that_finds_nothing_counts_as_nothing() -> None:
    judged = qrels({0: {1: 1}, 1: {2: 1}})
    expected = {"ndcg_at_10": 0.5, "recall_at_k": 0.5, "mrr_at_10": 0.5}
    assert quality.measures([[], [2]], judged, 1, [0, 1]) == pytest.approx(expected)


@pytest.mark.parametrize(("metric", "sign"), [("l2", 1), ("ip", -1), ("cosine", -1)])
def test_ties_are_ranked_by_row_number(metric: str, sign: int) -> None:
    found = Neighbors(np.array([[9, 4, 2, 7]]), sign * np.array([[1, 1, 0.5, 1]], np.float32))
    assert quality.ranked(found, metric, {}, [0]) == [[2, 4, 7, 9]]
    assert quality.ranked(found, metric, {3: 4}, [3]) == [[2, 7, 9]]
    assert quality.ranked(found, metric, {3: 4}, [0]) == [[2, 4, 7, 9]]
    judged = qrels({0: {4: 1}})
    lines = quality.ranked(found, metric, {}, [0])
    assert quality.measures(lines, judged, 1, [0])["mrr_at_10"] == 0.5


def test_a_query_that_is_a_document_does_not_find_itself() -> None:
    """ArguAna: one more is searched, its own document is dropped, and k are left, also where its copy ranks before it."""
    values = np.array([[0.0], [0.0], [1.0], [3.0], [6.0]])
    dataset = TextDataset(
        "arguments",
        Texts(["a", "b", "c", "d", "e"], ["-"] * 5),
        Texts(["d", "x", "b"], ["-"] * 3),
        qrels({0: {2: 1}, 1: {3: 1}, 2: {0: 1, 2: 1}}),
    )
    own = quality.own_documents(dataset)
    assert own == {0: 3, 2: 1}
    k = 2
    found = definition.search(values, np.array([[3.0], [4.0], [0.0]]), k + 1, "l2")
    lines = quality.ranked(found, "l2", own, range(3))
    assert lines == [[2, 0], [3, 4, 2], [0, 2]]
    assert quality.measures(lines, dataset.qrels, k, range(3)) == pytest.approx(
        {"ndcg_at_10": 1, "recall_at_k": 1, "mrr_at_10": 1}
    )
    plain = quality.measures(found.ids.tolist(), dataset.qrels, k, range(3))
    assert plain["mrr_at_10"] < 1
    assert quality.own_documents(TextDataset("", dataset.documents, Texts(["x"], ["-"]), dataset.qrels)) == {}


def by_trec_eval(run: dict[str, list[str]], qrels: dict[str, dict[str, int]], k: int) -> dict[str, float]:
    """Means of pytrec_eval over the raw judgements; the lists are handed over as strictly falling scores.

    One more document, of grade 0 and never found, changes no measure; without it trec_eval crashes where all grades are below -1.
    """
    qrels = {q: {**line, "never found": 0} for q, line in qrels.items()}
    ranks = {q: {d: 1000.0 - r for r, d in enumerate(line)} for q, line in run.items()}
    tops = {q: {d: 1000.0 - r for r, d in enumerate(line[: quality.DEPTH])} for q, line in run.items()}
    whole = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", f"recall.{k}"}).evaluate(ranks)
    short = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(tops)
    return {
        "ndcg_at_10": np.mean([v["ndcg_cut_10"] for v in whole.values()]),
        "recall_at_k": np.mean([v[f"recall_{k}"] for v in whole.values()]),
        "mrr_at_10": np.mean([v["recip_rank"] for v in short.values()]),
    }


def dataset_of(qrels: dict[str, dict[str, int]], documents: list[str], queries: list[str]) -> TextDataset:
    rows = [(q, d, g) for q, line in qrels.items() for d, g in line.items()]
    return assemble(Source("toy", [("", d, d) for d in documents], [("", q, q) for q in queries], rows), Selection())


def test_judged_documents_that_the_corpus_lacks_count_in_the_ideal() -> None:
    """beir 101: one query complete, one with half of what is relevant, one with nothing of it; each finds all there is."""
    qrels = {"q1": {"d1": 1}, "q2": {"d2": 1, "gone": 1}, "q3": {"gone too": 1}}
    found = dataset_of(qrels, ["d1", "d2", "d3"], ["q1", "q2", "q3"])
    measured = quality.measures([[0, 1, 2], [1, 0, 2], [0, 1, 2]], found.qrels, 3, range(3))
    assert measured["ndcg_at_10"] == pytest.approx(0.5377, abs=5e-5)
    assert measured["recall_at_k"] == pytest.approx(0.5)
    assert measured == pytest.approx(
        by_trec_eval({"q1": ["d1", "d2", "d3"], "q2": ["d2", "d1", "d3"], "q3": ["d1", "d2", "d3"]}, qrels, 3)
    )


def test_a_query_whose_grades_are_all_below_minus_one_crashes_nothing() -> None:
    """TREC's -2 for junk: trec_eval clears memory of a size that is then negative."""
    for grade in (1, -2, -7):
        found = quality.measures([[0, 1, 2]], qrels({0: {1: grade}}), 10, [0])
        assert found["ndcg_at_10"] == pytest.approx(0.63093 if grade > 0 else 0, abs=5e-6)


NAMES = [f"d{i}" for i in range(12)]


@given(
    st.dictionaries(
        st.sampled_from(["q1", "q2", "q3", "ghost"]),
        st.dictionaries(st.sampled_from([*NAMES, "gone", "gone too"]), st.integers(-2, 4), min_size=1, max_size=9),
        min_size=1,
    ),
    st.lists(st.permutations(NAMES), min_size=3, max_size=3),
    st.integers(1, 15),
    st.integers(0, 12),
)
def test_measures_are_those_of_trec_eval_on_the_raw_judgements(
    qrels: dict[str, dict[str, int]], orders: list[list[str]], k: int, length: int
) -> None:
    """Grades below 0 and of 0, documents and queries that are not there, queries without a relevant document, k beyond the list."""
    if not qrels.keys() & {"q1", "q2", "q3"}:
        return
    found = dataset_of(qrels, NAMES, ["q1", "q2", "q3"])
    run = {q: order[:length] for q, order in zip(("q1", "q2", "q3"), orders, strict=True)}
    lines = [[NAMES.index(d) for d in run[q]] for q in found.queries.ids]
    measured = quality.measures(lines, found.qrels, k, range(len(found.queries)))
    assert measured == pytest.approx(by_trec_eval(run, qrels, k), abs=1e-12)


def test_no_grade_below_zero_reaches_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytrec_eval 0.5.11 ends by a segmentation fault on some; as in trec_eval such a document is not relevant."""
    given: list[int] = []
    inner = pytrec_eval.RelevanceEvaluator

    def evaluator(grades: dict[str, dict[str, int]], wanted: set[str]) -> object:
        given.extend(grade for line in grades.values() for grade in line.values())
        return inner(grades, wanted)

    monkeypatch.setattr(pytrec_eval, "RelevanceEvaluator", evaluator)
    qrels = {"q1": {"d0": -2, "d1": 2, "gone": -1}, "q2": {"d2": -3, "gone": -2}}
    found = dataset_of(qrels, NAMES, ["q1", "q2"])
    measured = quality.measures([[0, 1], [2, 0]], found.qrels, 2, range(2))
    assert given
    assert min(given) == 0
    # q1 finds its one relevant document at rank 2: DCG 2 / log2(3) of an ideal 2; q2 has none
    assert measured == pytest.approx({"ndcg_at_10": 0.5 / np.log2(3), "recall_at_k": 0.5, "mrr_at_10": 0.25})
