"""Grades: what is exact, what float32 explains, and what is wrong, with the evidence."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from knnscope.datasets import registry
from knnscope.errors import KnnscopeError
from knnscope.records import VectorDataset
from knnscope.search import definition, reference
from knnscope.search.grading import GRADES, Evidence, Grade, Judge
from knnscope.search.rounding import DEFINITION, Formula
from tests import oracle

DIFFERENCE, EXPANDED = Formula("difference"), Formula("expanded")
STEP = 2.0**-23


def judge(rows: object, queries: object, k: int, metric: str = "l2") -> Judge:
    x, q = np.array(rows, np.float32), np.array(queries, np.float32)
    return Judge(x, q, reference.answers(x, q, k, metric), metric)


def grade(judged: Judge, ids: list[list[int]], formula: Formula = DIFFERENCE, first: int = 0) -> Grade:
    return judged.grade(np.array(ids), first, formula)


def evidence(found: Grade) -> Evidence:
    assert found.evidence is not None
    return found.evidence


def test_equal_lists_are_exact() -> None:
    judged = judge([[3], [1], [2]], [[0], [9]], 3)
    for formula in (DEFINITION, DIFFERENCE, EXPANDED, Formula("expanded", "tf32")):
        assert grade(judged, [[1, 2, 0], [0, 2, 1]], formula) == Grade("exact", 2, 0, 0)
    assert grade(judged, [[1, 2], [0, 2]]) == Grade("exact", 2, 0, 0), "fewer than the truth holds"
    assert grade(judged, [[0]], first=1) == Grade("exact", 1, 0, 0)


def test_ties_in_the_wrong_order() -> None:
    judged = judge([[1], [-1], [1], [5]], [[0]], 4)
    for formula in (DIFFERENCE, EXPANDED, Formula("expanded", "float64")):
        assert grade(judged, [[2, 0, 1, 3]], formula).grade == "float32"
    found = grade(judged, [[0, 2, 1, 3]], DEFINITION)
    assert (found.grade, found.differing, found.beyond) == ("wrong", 1, 1)
    assert evidence(found) == Evidence(
        0, 2, 2, 1, 1.0, 1.0, 0.0, (0, 2, 1, 3), (0, 1, 2, 3), "is as near and has the smaller number"
    )
    assert grade(judged, [[0, 2]], DEFINITION).evidence == Evidence(
        0, 2, 2, 1, 1.0, 1.0, 0.0, (0, 2), (0, 1), "is as near and has the smaller number"
    )


@pytest.mark.parametrize(
    ("steps", "difference", "expanded"), [(2, "float32", "float32"), (3, "wrong", "float32"), (4, "wrong", "wrong")]
)
def test_an_exchange_is_held_to_the_bound_of_the_formula(steps: int, difference: str, expanded: str) -> None:
    """One component: the gap is 7 steps of 2^-24; two rows may be off by 2 * 3 * 1.75^2 = 18.4 of those, expanded by 24.5."""
    judged = judge([[1.75 + steps * STEP], [1.75], [7]], [[0]], 3)
    for ids in ([0, 1, 2], [0, 1], [0]):
        assert grade(judged, [ids], DIFFERENCE).grade == difference
        assert grade(judged, [ids], EXPANDED).grade == expanded
        assert grade(judged, [ids], DEFINITION).grade == "wrong"
        assert grade(judged, [ids], Formula("expanded", "float64")).grade == "wrong"


def test_tf32_is_held_to_float32() -> None:
    judged = judge([[1 + 2.0**-12], [1], [7]], [[0]], 3)
    gap = 2 * 2.0**-12
    assert gap < Formula("expanded", "tf32").bound("l2", 1, np.ones(1), np.ones(1), np.zeros(1))[0]
    assert grade(judged, [[0, 1, 2]], Formula("expanded", "tf32")).grade == "wrong"
    close = judge([[1 + STEP], [1], [7]], [[0]], 3)
    assert grade(close, [[0, 1, 2]], Formula("expanded", "tf32")).grade == "float32"


@pytest.mark.parametrize(
    ("metric", "rows", "query", "distances"),
    [
        ("l2", [[9], [1], [2], [3], [8]], [0], (4.0, 1.0)),
        ("ip", [[-9], [-1], [-2], [-3], [-8]], [1], (-2.0, -1.0)),
        ("cosine", [[0, 9], [3, 0], [1, 1], [-1, 3], [-1, 8]], [1, 0], (np.sqrt(0.5), 1.0)),
    ],
)
def test_evidence_of_an_exchange(
    metric: str, rows: list[list[int]], query: list[int], distances: tuple[float, float]
) -> None:
    judged = judge(rows, [query] * 4, 4, metric)
    expected = judged.truth.ids[3].tolist()
    assert expected[:2] == [1, 2]
    ids = [expected[1], expected[0], *expected[2:]]
    found = grade(judged, [judged.truth.ids[2].tolist(), ids], first=2)
    assert (found.grade, found.queries, found.differing, found.beyond) == ("wrong", 2, 1, 1)
    shown = evidence(found)
    assert (shown.query, shown.rank, shown.row, shown.rival) == (3, 1, 2, 1)
    assert (shown.distance, shown.rival_distance) == pytest.approx(distances, rel=1e-15)
    assert (shown.ids, shown.expected, shown.why) == (tuple(ids), tuple(expected), "is nearer and comes later")
    assert shown.allowed is not None
    assert 0 < shown.allowed < 1e-5


def test_evidence_of_a_missing_row() -> None:
    judged = judge([[1], [2], [3], [4], [50]], [[0]], 3)
    found = grade(judged, [[0, 2, 4]], EXPANDED)
    shown = evidence(found)
    assert (found.grade, shown.rank, shown.row, shown.rival) == ("wrong", 3, 4, 1)
    assert (shown.distance, shown.rival_distance, shown.why) == (2500.0, 4.0, "is nearer and is missing")
    allowed = EXPANDED.bound("l2", 1, np.zeros(2), np.array([50.0, 2.0]), np.zeros(1)).sum()
    assert shown.allowed == pytest.approx(allowed)


@pytest.mark.parametrize(
    ("ids", "rank", "row", "why"),
    [
        ([0, 0, 1], 2, 0, "is given twice"),
        ([0, -1, -1], 2, -1, "is no row: there are 4"),
        ([0, 1, 4], 3, 4, "is no row: there are 4"),
        ([2**40, 0, 1], 1, 2**40, "is no row: there are 4"),
    ],
)
@pytest.mark.parametrize("formula", [DEFINITION, EXPANDED])
def test_malformed_lists(ids: list[int], rank: int, row: int, why: str, formula: Formula) -> None:
    """Also where all rows are equal, so that any row would do."""
    for rows in ([[1], [2], [3], [4]], [[1]] * 4):
        found = grade(judge(rows, [[0]], 3), [ids], formula)
        assert (found.grade, found.beyond) == ("wrong", 1)
        assert evidence(found) == Evidence(0, rank, row, None, None, None, None, tuple(ids), (0, 1, 2), why)


def test_the_worst_of_a_batch_is_shown_and_all_are_counted() -> None:
    judged = judge([[1], [1 + STEP / 2], [1 + STEP], [2], [40]], [[0]] * 4, 3)
    found = grade(judged, [[0, 1, 2], [0, 2, 1], [0, 1, 4], [0, 1, 3]], DIFFERENCE)
    assert (found.grade, found.queries, found.differing, found.beyond) == ("wrong", 4, 3, 2)
    assert (evidence(found).query, evidence(found).row) == (2, 4)


def test_batches_add_up() -> None:
    shown = [Evidence(i, 1, 0, 1, 1.0, 0.0, 0.0, (0,), (1,), "") for i in range(2)]
    exact, close, wrong = (
        Grade("exact", 5, 0, 0),
        Grade("float32", 7, 2, 0, shown[0]),
        Grade("wrong", 1, 1, 1, shown[1]),
    )
    for one, other in ((exact, close), (close, exact)):
        assert one.with_others(other) == Grade("float32", 12, 2, 0, shown[0])
    for one, other in ((wrong, close), (close, wrong)):
        assert one.with_others(other) == Grade("wrong", 8, 3, 1, shown[1])
    assert GRADES == ("exact", "float32", "undecided", "wrong")


def by_difference(rows: np.ndarray, queries: np.ndarray, metric: str) -> np.ndarray:
    """float32, one component at a time; cosine by the norms of both."""

    def chain(term: Callable[[int], np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
        total = np.zeros(shape, np.float32)
        for j in range(rows.shape[1]):
            total += term(j)
        return total

    shape = (len(queries), len(rows))
    if metric == "l2":
        return chain(lambda j: (rows[:, j] - queries[:, j, None]) ** 2, shape)
    products = chain(lambda j: rows[:, j] * queries[:, j, None], shape)
    if metric == "ip":
        return products
    lengths = [np.sqrt(chain(lambda j, v=v: v[:, j] * v[:, j], v.shape[:1])) for v in (rows, queries)]  # type: ignore[misc]
    scale = lengths[0] * lengths[1][:, None]
    return np.divide(products, scale, out=np.zeros(shape, np.float32), where=scale > 0)


def expanded(rows: np.ndarray, queries: np.ndarray, metric: str) -> np.ndarray:
    products = queries @ rows.T
    if metric == "ip":
        return products
    norms = [np.einsum("ij,ij->i", v, v) for v in (rows, queries)]
    if metric == "l2":
        return norms[0] - 2 * products + norms[1][:, None]
    scale = np.sqrt(norms[0]) * np.sqrt(norms[1])[:, None]
    return np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)


def order(values: np.ndarray, metric: str, k: int) -> np.ndarray:
    return np.argsort(-values if metric != "l2" else values, axis=1, kind="stable")[:, :k]


DATA: dict[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "normal": lambda random, shape: random.standard_normal(shape),
    "ties": lambda random, shape: random.integers(-2, 3, shape),
    "near-duplicate": lambda random, shape: 1 + STEP * random.integers(-3, 4, shape),
    "large norm": lambda random, shape: random.standard_normal(shape) + 1000,
    "of all sizes": lambda random, shape: random.standard_normal(shape) * 10.0 ** random.integers(-9, 9, (shape[0], 1)),
}
data_sets = given(
    st.sampled_from(definition.METRICS),
    st.sampled_from(sorted(DATA)),
    st.integers(1, 20),
    st.integers(0, 9999),
    st.data(),
)


def drawn(kind: str, dim: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    values = DATA[kind](np.random.default_rng(seed), (46, dim)).astype(np.float32)
    return values[:40], values[40:]


@data_sets
def test_a_float32_search_is_never_wrong_by_its_own_formula(
    metric: str, kind: str, dim: int, seed: int, data: st.DataObject
) -> None:
    rows, queries = drawn(kind, dim, seed)
    k = data.draw(st.integers(1, 40))
    judged = judge(rows, queries, k, metric)
    for formula, search in ((DIFFERENCE, by_difference), (EXPANDED, expanded)):
        ids = order(search(rows, queries, metric), metric, k)
        found = judged.grade(ids, 0, formula)
        assert found.grade != "wrong", found.evidence
        assert (found.grade == "exact") == (ids == judged.truth.ids).all()


@data_sets
def test_a_row_clearly_farther_is_always_wrong(
    metric: str, kind: str, dim: int, seed: int, data: st.DataObject
) -> None:
    rows, queries = drawn(kind, dim, seed)
    k, query = data.draw(st.integers(1, 39)), data.draw(st.integers(0, 5))
    judged = judge(rows, queries, k, metric)
    line = judged.truth.ids[query]
    rank = data.draw(st.integers(0, k - 1))
    keys = oracle.float64(rows, queries[query : query + 1], metric)[0] * (1 if metric == "l2" else -1)
    allowed = oracle.float32_bound(rows, queries[query : query + 1], metric)[0].max()
    farther = [i for i in np.flatnonzero(keys > keys[line[rank]] + 2 * allowed).tolist() if i not in line]
    assume(farther)
    given_ids = line.copy()
    given_ids[rank] = data.draw(st.sampled_from(farther))
    for formula in (DIFFERENCE, EXPANDED):
        found = judged.grade(given_ids[None], query, formula)
        assert (found.grade, found.differing, found.beyond) == ("wrong", 1, 1)
        shown = evidence(found)
        assert (shown.query, shown.row) == (query, shown.ids[shown.rank - 1])
        assert (shown.ids, shown.expected) == (tuple(given_ids.tolist()), tuple(line.tolist()))
        assert shown.rival not in shown.ids[: shown.rank]
        x, q = rows.astype(float).tolist(), queries[query].astype(float).tolist()
        assert shown.rival is not None
        assert shown.distance == oracle.distance(x[shown.row], q, metric)
        assert shown.rival_distance == oracle.distance(x[shown.rival], q, metric)
        gap = shown.distance - shown.rival_distance
        assert (gap if metric == "l2" else -gap) > (shown.allowed or 0)


@pytest.mark.parametrize("kind", ["large-norm", "near-duplicate"])
def test_the_expanded_form_that_claims_differences_is_wrong(kind: str) -> None:
    """What Faiss does to large batches: it changes the form, and the answers with it."""
    dataset, _ = registry.load(f"synthetic:{kind},rows=4000,dim=128,queries=50")
    assert isinstance(dataset, VectorDataset)
    assert dataset.queries is not None
    rows, queries = dataset.documents.values, dataset.queries.values
    judged = judge(rows, queries, 10)
    ids = order(expanded(rows, queries, "l2"), "l2", 10)
    found = judged.grade(ids, 0, DIFFERENCE)
    assert found.grade == "wrong"
    assert found.beyond > 10  # of 50; how many depends on the processor's BLAS
    assert judged.grade(ids, 0, EXPANDED).grade == ("undecided" if kind == "large-norm" else "float32")
    plain = order(by_difference(rows, queries, "l2"), "l2", 10)
    assert judged.grade(plain, 0, DIFFERENCE).grade in ("exact", "float32")


def shifted(offset: float, dim: int = 128) -> tuple[np.ndarray, np.ndarray]:
    values = np.random.default_rng(0).standard_normal((2100, dim)) + offset
    return values[:2000].astype(np.float32), values[2000:].astype(np.float32)


@pytest.mark.parametrize("offset", [0, 1, 10, 100, 1000])
@pytest.mark.parametrize("k", [1, 10])
def test_random_answers_are_never_right(offset: float, k: int) -> None:
    """However far the vectors are from the origin, and however much the bound allows there."""
    rows, queries = shifted(offset)
    ids = np.random.default_rng(1).integers(2000 // k, size=(len(queries), k)) + 2000 // k * np.arange(k)
    found = judge(rows, queries, k).grade(ids, 0, EXPANDED)
    assert found.grade == ("undecided" if offset == 1000 else "wrong")
    if found.grade == "undecided":
        shown = evidence(found)
        assert (found.beyond, found.differing) == (0, 100)
        assert shown.spread is not None
        assert shown.allowed is not None
        assert shown.spread < shown.allowed


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("metric", definition.METRICS)
@pytest.mark.parametrize("dim", [3, 384])
def test_an_honest_search_keeps_its_grade_on_ordinary_data(offset: float, metric: str, dim: int) -> None:
    rows, queries = shifted(offset, dim)
    rows, queries = rows[:500], queries[:40]
    judged = judge(rows, queries, 10, metric)
    for formula, search in ((DIFFERENCE, by_difference), (EXPANDED, expanded)):
        found = judged.grade(order(search(rows, queries, metric), metric, 10), 0, formula)
        assert found.grade in ("exact", "float32"), found.evidence


@pytest.mark.parametrize(("offset", "grade"), [(10, "float32"), (100, "undecided"), (1000, "undecided")])
def test_an_exchange_is_excused_only_where_the_bound_is_small(offset: float, grade: str) -> None:
    """128 components: 131 * 2^-24 * (2 |x|)^2 for two rows; from the 10th neighbor to the median row it is about 85."""
    rows, queries = shifted(offset)
    judged = judge(rows, queries, 10)
    gaps = np.diff(judged.truth.distances)
    query = int(gaps.min(axis=1).argmin())
    place = int(gaps[query].argmin())
    ids = judged.truth.ids[query].copy()
    ids[[place, place + 1]] = ids[[place + 1, place]]
    found = judged.grade(ids[None], query, EXPANDED)
    assert (found.grade, found.beyond) == (grade, 0)
    assert (evidence(found).spread is None) == (grade == "float32")
    assert judged.grade(judged.truth.ids, 0, EXPANDED).grade == "exact", "the defined ids are right whatever the bound"
    assert judged.grade(judged.truth.ids[:, :1], 0, EXPANDED) == Grade("exact", 100, 0, 0)


def test_undecided_comes_between_float32_and_wrong() -> None:
    shown = [Evidence(i, 1, 0, 1, 1.0, 0.0, 0.0, (0,), (1,), "") for i in range(3)]
    close, open_, wrong = (Grade(g, 1, 1, int(g == "wrong"), e) for g, e in zip(GRADES[1:], shown, strict=True))
    assert close.with_others(open_) == open_.with_others(close) == Grade("undecided", 2, 2, 0, shown[1])
    assert wrong.with_others(open_) == open_.with_others(wrong) == Grade("wrong", 2, 2, 1, shown[2])


def test_copies_far_from_the_origin_are_told_from_other_rows() -> None:
    """The bound is 4,000 and hides everything between the 20 copies, and nothing of what is 1.28e8 further."""
    rows, _ = shifted(0)
    rows[:20] = 1000 + rows[:20] / 1000
    judged = judge(rows, rows[:1], 10)
    assert judged.grade(judged.truth.ids[:, ::-1], 0, EXPANDED).grade == "float32"


def test_more_neighbors_than_half_of_the_rows_are_judged_as_well() -> None:
    rows, queries = shifted(0)
    for few, k in ((20, 11), (20, 20), (3, 2), (2, 1)):
        judged = judge(rows[:few], queries, k)
        found = judged.grade(order(expanded(rows[:few], queries, "l2"), "l2", k), 0, EXPANDED)
        assert found.grade in ("exact", "float32")
        far = judge(rows[:few] + 1000, queries + 1000, k)
        found = far.grade(far.truth.ids[:, ::-1] if k > 1 else 1 - far.truth.ids, 0, EXPANDED)
        assert found.grade == "undecided"


def test_a_truth_that_overflows_judges_nobody() -> None:
    rows = np.array([[1e200, 0.0], [-1e200, 0.0], [0.0, 1e200]])
    with pytest.raises(KnnscopeError, match="l2 of finite numbers overflows"):
        Judge(rows, rows[:1], reference.answers(rows, rows[:1], 3, "l2"), "l2")
