"""The reference by matrix products equals the definition to the last bit."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from knnscope.errors import KnnscopeError
from knnscope.records import Neighbors
from knnscope.search import definition, reference
from tests import oracle

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def _near(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    few = np.random.default_rng(1).standard_normal((4, shape[1]))
    return few[random.integers(0, 4, shape[0])] * (1 + 2.0**-52 * random.integers(-2, 3, shape))


def _zeros(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return random.standard_normal(shape) * random.integers(0, 2, (shape[0], 1))


def _mixed(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return random.standard_normal(shape) * 10.0 ** random.integers(-40, 20, (shape[0], 1))


DATA: dict[str, Draw] = {
    "normal": lambda random, shape: random.standard_normal(shape),
    "ties": lambda random, shape: random.integers(-2, 3, shape).astype(float),
    "constant": lambda _, shape: np.full(shape, 0.1),
    "zero rows": _zeros,
    "near-duplicate": _near,
    "large norm": lambda random, shape: random.standard_normal(shape) + 30_000,
    "of all sizes": _mixed,
    "squares of few bits": lambda random, shape: random.integers(-5, 6, shape) * 2.0**-538,
    "squares underflow": lambda random, shape: (1 + random.integers(-3, 4, shape) * 2.0**-52) * 1e-170,
    "near overflow": lambda random, shape: random.standard_normal(shape) * 1e150,
}


def cast(values: np.ndarray, dtype: str) -> np.ndarray:
    if dtype in ("int8", "uint8"):
        info = np.iinfo(dtype)
        return np.clip(np.rint(values * 20), info.min, info.max).astype(dtype)
    return np.clip(values, np.finfo(dtype).min, np.finfo(dtype).max).astype(dtype)


def check(rows: np.ndarray, queries: np.ndarray, k: int, metric: str) -> None:
    """Both give the same bits, or both refuse in the same words."""

    def outcome(search: Callable[[], Neighbors]) -> tuple[bytes, bytes] | str:
        try:
            found = search()
        except KnnscopeError as error:
            return str(error)
        assert (found.ids.shape, found.ids.dtype) == ((len(queries), k), np.int64)
        assert found.distances.dtype == np.float64
        return found.ids.tobytes(), found.distances.tobytes()

    with np.errstate(over="ignore", invalid="ignore"):
        expected = outcome(lambda: definition.search(rows, queries, k, metric))
    assert outcome(lambda: reference.answers(rows, queries, k, metric)) == expected


@pytest.mark.parametrize(
    "metrics",
    [definition.METRICS, *(pytest.param((one,), marks=pytest.mark.slow) for one in definition.METRICS)],
    ids=",".join,
)
@pytest.mark.parametrize("data", DATA)
def test_same_bits_as_the_definition(data: str, metrics: tuple[str, ...]) -> None:
    @given(
        st.sampled_from(metrics),
        st.sampled_from(("float16", "float32", "float64", "int8", "uint8")),
        st.integers(1, 900),
        st.integers(1, 12),
        st.integers(1, 5),
        st.floats(0, 1),
        st.sampled_from((1, 1 << 11, 1 << 24)),
        st.booleans(),
        st.integers(0, 99),
    )
    def same(
        metric: str, dtype: str, count: int, dim: int, asked: int, share: float, scores: int, own: bool, seed: int
    ) -> None:
        random = np.random.default_rng(seed)
        rows = cast(DATA[data](random, (count, dim)), dtype)
        queries = rows[random.integers(0, count, asked)] if own else cast(DATA[data](random, (asked, dim)), dtype)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reference, "SCORES", scores)
            patch.setattr(reference, "QUERIES", 1 + seed % 3)
            check(rows, queries, 1 + round(share * (count - 1)), metric)

    for metric in metrics:
        same = example(metric, "float64", 600, 64, 3, 0.2, 1, False, 1)(same)  # 88 rows in the last block, k = 121
    same()


@given(
    st.sampled_from(definition.METRICS), st.sampled_from(sorted(DATA)), st.integers(1, 12), st.integers(1, 5), st.data()
)
def test_same_as_plain_python(metric: str, kind: str, count: int, dim: int, data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    rows, queries = DATA[kind](random, (count, dim)), DATA[kind](random, (2, dim))
    k = data.draw(st.integers(1, count))
    found = reference.answers(rows, queries, k, metric)
    for ids, distances, query in zip(found.ids.tolist(), found.distances.tolist(), queries, strict=True):
        assert (ids, distances) == oracle.nearest(rows, query, k, metric)


def test_long_queries_and_rows_whose_squares_underflow() -> None:
    """The products are ordinary numbers, and so is their rounding, though the norms of the rows seem to be zero."""
    random = np.random.default_rng(0)
    check(DATA["squares underflow"](random, (500, 64)), random.standard_normal((5, 64)) * 1e150, 10, "ip")


@pytest.mark.parametrize("metric", definition.METRICS)
@pytest.mark.parametrize("share", [1, 2])
def test_squares_that_overflow(metric: str, share: int) -> None:
    random = np.random.default_rng(2)
    rows = random.standard_normal((300, 4))
    rows[::share] *= 1e160
    check(rows, rows[:9], 100, metric)


@given(
    st.sampled_from(definition.METRICS),
    st.integers(1, 900),
    st.floats(0, 1),
    st.sampled_from((0, 0.01, 0.3)),
    st.integers(0, 99),
)
def test_any_products_within_the_slack_will_do(metric: str, count: int, share: float, off: float, seed: int) -> None:
    """The worst that rounding could do: each is off by all that is allowed, up or down."""
    random = np.random.default_rng(seed)
    rows, queries = random.integers(-2, 3, (count, 5)).astype(float), random.standard_normal((3, 5))
    sign = 1 if metric == "l2" else -1

    def keys(block: np.ndarray, asked: np.ndarray, *_: object) -> tuple[np.ndarray, np.ndarray]:
        true = sign * definition.distances(block, asked, metric)
        return true + off * random.choice([-1.0, 1.0], true.shape), np.full(len(asked), off + 1e-9)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "_keys", keys)
        patch.setattr(reference, "SCORES", 1)
        check(rows, queries, 1 + round(share * (count - 1)), metric)


@pytest.mark.parametrize("metric", definition.METRICS)
def test_few_rows_pass_the_filter(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the first block is the nearest, or the last."""
    random = np.random.default_rng(3)
    rows, query = random.standard_normal((12 * 256, 48)), random.standard_normal((1, 48))
    nearest = definition.search(rows, query, len(rows), metric).ids[0]
    refined: list[int] = []
    inner = definition.search

    def search(some: np.ndarray, asked: np.ndarray, k: int, by: str) -> Neighbors:
        refined.append(len(some))
        return inner(some, asked, k, by)

    monkeypatch.setattr(definition, "search", search)
    reference.answers(rows, query, 10, metric)
    monkeypatch.setattr(reference, "SCORES", 1)
    for order in (nearest, nearest[::-1]):
        reference.answers(rows[order], query, 10, metric)
    assert refined == [10] * 3


@pytest.mark.parametrize("metric", definition.METRICS)
def test_without_its_slack_the_filter_loses_rows(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows apart by less than the rounding of a product: only the definition can order them."""
    random = np.random.default_rng(4)
    centre = 1000 * random.standard_normal(64)
    rows = centre * (1 + 2.0**-52 * random.integers(-3, 4, (1000, 64)))
    queries = centre + random.standard_normal((10, 64))
    expected = definition.search(rows, queries, 10, metric)
    np.testing.assert_array_equal(reference.answers(rows, queries, 10, metric).ids, expected.ids)
    monkeypatch.setattr(reference, "gamma", lambda *_: 0.0)
    assert (reference.answers(rows, queries, 10, metric).ids != expected.ids).any()


@pytest.mark.parametrize("scale", [1, 2e153], ids=["filtered", "beyond the filter"])
@pytest.mark.parametrize("slow", [False, True])
def test_what_takes_long_is_told_before_most_of_it(
    scale: float, slow: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a clock that goes 100 s a look: with so many queries that minutes would pass until the first line of compare."""
    seen = itertools.count(step=100 if slow else 0)
    clock = time.perf_counter
    monkeypatch.setattr(reference.time, "perf_counter", lambda: next(seen) + clock())
    monkeypatch.setattr(reference, "QUERIES", 4)
    rows = np.random.default_rng(0).standard_normal((300, 8)) * scale
    reference.answers(rows, rows[:40], 3, "ip" if scale > 1 else "l2")
    line = r"reference answers to 40 queries: about \d+ (?:minute|hour)s? more; fewer queries take less"
    assert len(re.findall(line, capsys.readouterr().err)) == slow
