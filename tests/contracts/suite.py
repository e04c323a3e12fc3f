"""What every engine keeps, wherever it computes: a class that a test module names its engines for.

A metric that an engine has not got is asked for as well, and has to be refused.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope.errors import KnnscopeError, UnsupportedError
from knnscope.records import Neighbors
from knnscope.search import catalog, definition, reference
from knnscope.search import engine as engines
from knnscope.search.engine import Engine
from knnscope.search.grading import Judge
from tests import oracle

RANDOM = np.random.default_rng
LARGEST = {"float16": 2048, "float32": 2**24, "float64": 2**24, "int8": 127, "uint8": 255, "int32": 2**31 - 1}
"""Up to here a type holds every whole number, and so does what it is computed in: int32 is never computed in float32."""


UNITS = {"tf32": oracle.UTF32, "float32": oracle.U32, "float64": oracle.U64}

CHECKS_ITSELF = ("certified", "certified-gpu", "dask")
"""The project's own search is also called without ``CheckedIndex``. It checks what it is given: that is part of it, and timed with it."""


@contextmanager
def work_of_ours(patched: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Checks and conversions that code of this package makes meanwhile, as "module: what"."""
    found: list[str] = []
    isfinite = np.isfinite

    def finite(*values: Any, **more: Any) -> Any:
        if (module := sys._getframe(1).f_globals["__name__"]).startswith("knnscope"):
            found.append(f"{module}: isfinite")
        return isfinite(*values, **more)

    def seen(frame: FrameType, event: str, what: Any) -> None:
        module = str(frame.f_globals.get("__name__"))
        if not module.startswith("knnscope"):
            return
        if event == "call" and (
            module in ("knnscope.checks", "knnscope.search.ranges")
            or frame.f_code.co_name.lstrip("_").startswith("check")
        ):
            found.append(f"{module}: {frame.f_code.co_name}")
        if event == "c_call" and what.__name__ == "astype":
            found.append(f"{module}: astype")

    with patched.context() as context:
        context.setattr(np, "isfinite", finite)
        before = sys.getprofile()
        sys.setprofile(seen)
        try:
            yield found
        finally:
            sys.setprofile(before)


def tried(name: str, metric: str, dtype: str = "float32") -> Engine:
    """The engine; what it lacks is refused (see ``check``), and there is nothing more to try."""
    engine = catalog.load(name)
    if metric not in engine.capabilities.metrics:
        pytest.skip(f"{name} has no metric {metric}")
    if dtype not in engine.capabilities.dtypes:
        pytest.skip(f"{name} takes no {dtype}")
    return engine


def check(name: str, metric: str, rows: np.ndarray, queries: np.ndarray, *ks: int) -> None:
    """The answers for each k are right: ids as defined for exact engines, else up to the float32 bound."""
    engine = catalog.load(name)
    if metric not in engine.capabilities.metrics:
        with pytest.raises(UnsupportedError, match=f"has no metric '{metric}'"):
            engines.build(engine, rows, metric, name)
        return
    rows_before, queries_before = rows.copy(), queries.copy()
    index = engines.build(engine, rows, metric, name)
    for k in ks:
        found = index.search(queries, k)
        np.testing.assert_array_equal(rows, rows_before)
        np.testing.assert_array_equal(queries, queries_before)
        whole(found, len(rows), len(queries), k)
        if engine.capabilities.exact:
            defined(found, rows, queries, metric)
            continue
        formula = engine.formula(metric, rows.dtype.name, len(queries), rows.shape[1])
        near(found, rows, queries, metric, formula.precision)
        if formula.precision != "tf32":  # what the product says of an answer agrees with the independent check
            judge = Judge(rows, queries, reference.answers(rows, queries, k, metric), metric)
            assert judge.grade(found.ids, 0, formula).grade != "wrong"


def whole(found: Neighbors, rows: int, queries: int, k: int) -> None:
    """An answer of the right form: k different rows for each query."""
    assert isinstance(found.ids, np.ndarray)
    assert found.ids.shape == found.distances.shape == (queries, k)
    assert found.ids.dtype == np.int64
    assert found.distances.dtype.kind == "f"
    assert all(len(set(line)) == k for line in found.ids.tolist())
    assert found.ids.min() >= 0
    assert found.ids.max() < rows


def defined(found: Neighbors, rows: np.ndarray, queries: np.ndarray, metric: str) -> None:
    """Bit by bit what the definition gives."""
    for line, distances, query in zip(found.ids.tolist(), found.distances.tolist(), queries, strict=True):
        assert (line, distances) == oracle.nearest(rows, query, len(line), metric)


def near(found: Neighbors, rows: np.ndarray, queries: np.ndarray, metric: str, precision: str = "float32") -> None:
    """Right up to the rounding of what the engine says that it computes in."""
    sign = -1 if definition.descending(metric) else 1
    true = oracle.float64(rows, queries, metric)
    slack = oracle.float32_bound(rows, queries, metric, UNITS[precision])
    slack = slack.max(axis=1, keepdims=True) + 1e-30
    best = np.sort(sign * true, axis=1)[:, : found.ids.shape[1]]
    got = np.take_along_axis(true, found.ids, axis=1)
    assert (sign * got <= best + 2 * slack).all(), "a row is missing that is nearer by more than rounding"
    assert (np.abs(found.distances - got) <= slack).all()
    if precision != "tf32":
        assert (np.diff(sign * found.distances.astype(np.float64), axis=1) >= -1e-12).all(), "best first"


def right_or_one_line(
    name: str, metric: str, engine: Engine, rows: np.ndarray, queries: np.ndarray, up: float, query_up: float
) -> None:
    """An answer is held to that of the same numbers scaled down by powers of two, which is exact."""
    try:
        found = engines.build(engine, rows, metric, name).search(queries, 3)
    except KnnscopeError as error:
        assert "overflow" in str(error)
        assert "\n" not in str(error)
        return
    whole(found, len(rows), len(queries), 3)
    if engine.capabilities.exact:
        defined(found, rows, queries, metric)
    down, query_down = (2.0 ** -round(np.log2(value)) for value in (up, query_up))
    distances = found.distances.astype(np.float64)
    if metric != "cosine":
        distances = distances * down * query_down
    scaled = rows.astype(np.float64) * down, queries.astype(np.float64) * query_down
    near(
        Neighbors(found.ids, distances),
        *scaled,
        metric,
        engine.formula(metric, rows.dtype.name, 2, rows.shape[1]).precision,
    )


class EngineContract:
    """Subclass it as ``TestX`` with ``ENGINES``; conftest.py hands every name and metric to the tests."""

    ENGINES: tuple[str, ...] = ()

    @pytest.mark.parametrize(
        "shape", [(1, 1, 1), (1, 7, 3), (2, 1, 1), (17, 3, 5), (100, 384, 4), (300, 33, 40), (64, 1025, 2)]
    )
    def test_shapes(self, name: str, metric: str, shape: tuple[int, int, int]) -> None:
        count, dim, asked = shape
        random = RANDOM(sum(shape))
        rows = random.standard_normal((count, dim)).astype(np.float32)
        queries = random.standard_normal((asked, dim)).astype(np.float32)
        check(name, metric, rows, queries, *{1, min(10, count), count})

    @pytest.mark.parametrize("dtype", definition.DTYPES)
    def test_dtypes(self, name: str, metric: str, dtype: str) -> None:
        """Small numbers, and those at both ends of what the type and float32 hold."""
        random = RANDOM(5)
        largest = LARGEST[dtype]
        engine = catalog.load(name)
        for low, high in ((0, 99), (0 if dtype == "uint8" else -largest, largest)):
            rows, queries = (random.integers(low, high, (n, 20), endpoint=True) for n in (50, 3))
            rows[0], queries[0], queries[1] = low, high, low  # the largest difference, and none
            rows, queries = rows.astype(dtype), queries.astype(dtype)
            if dtype in engine.capabilities.dtypes or metric not in engine.capabilities.metrics:
                check(name, metric, rows, queries, 7)
            else:
                with pytest.raises(KnnscopeError, match=f"rows are {dtype}"):
                    engines.build(engine, rows, metric, name)

    def test_ties_zeros_and_constant_rows(self, name: str, metric: str) -> None:
        random = RANDOM(6)
        ties = random.integers(-1, 2, (200, 4)).astype(np.float32)
        check(name, metric, ties, ties[:5], 30)
        check(name, metric, np.zeros((9, 3), np.float32), np.zeros((2, 3), np.float32), 9)
        constant = np.full((40, 6), 0.1, np.float32)
        check(name, metric, constant, constant[:2], 12)
        mixed = np.concatenate([np.zeros((3, 5)), random.standard_normal((9, 5))]).astype(np.float32)
        check(name, metric, mixed, mixed[[0, 5]], 12)

    def test_layouts(self, name: str, metric: str, tmp_path_factory: pytest.TempPathFactory) -> None:
        random = RANDOM(7)
        rows = random.standard_normal((60, 12)).astype(np.float32)
        queries = random.standard_normal((6, 12)).astype(np.float32)
        check(name, metric, np.asfortranarray(rows), np.asfortranarray(queries), 5)
        check(name, metric, rows[::2], queries[::-1], 5)
        path = tmp_path_factory.mktemp("map") / "rows.npy"
        np.save(path, rows)
        check(name, metric, np.load(path, mmap_mode="r"), queries, 5)

    def test_long_rows_that_lie_close_together(self, name: str, metric: str) -> None:
        """Norms of 8,000 and distances of 20: who computes in float64 is held to that."""
        random = RANDOM(12)
        rows = (random.standard_normal((300, 64)) + 1000).astype(np.float32)
        check(name, metric, rows, rows[:3] + np.float32(0.25), 10)

    def test_same_answer_twice(self, name: str, metric: str) -> None:
        engine = tried(name, metric)
        rows = RANDOM(8).standard_normal((500, 40)).astype(np.float32)
        index = engines.build(engine, rows, metric, name)
        first, second = index.search(rows[:20], 10), index.search(rows[:20], 10)
        np.testing.assert_array_equal(first.ids, second.ids)
        np.testing.assert_array_equal(first.distances, second.distances)

    def test_rows_added_later(self, name: str, metric: str) -> None:
        """As if all had been there from the start, or refused in one line."""
        engine = tried(name, metric)
        random = RANDOM(13)
        rows = random.standard_normal((300, 40)).astype(np.float32)
        rows[250] = 1e3  # longer than any before
        index = engines.build(engine, rows[:200], metric, name)
        with pytest.raises(KnnscopeError, match="39 components, the others 40"):
            index.add(rows[:, :39])
        if not index.adds:
            with pytest.raises(UnsupportedError, match=f"{name} takes no rows after it is built"):
                index.add(rows[200:])
            return
        index.add(rows[200:250])
        index.add(rows[250:])
        queries = rows[[0, 249, 250, 299]] + np.float32(0.125)
        found = index.search(queries, 7)
        whole(found, 300, 4, 7)
        near(found, rows, queries, metric, engine.formula(metric, "float32", 4, 40).precision)

    def test_a_bare_search_has_no_check_or_conversion_of_ours(
        self, name: str, metric: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """``compare`` times the bare search: one engine would pay for what another is spared. Checks are ``CheckedIndex``'s and ``range``'s."""
        engine = tried(name, metric)
        rows = RANDOM(14).standard_normal((300, 40)).astype(np.float32)
        queries = rows[:3] + np.float32(0.125)
        index = engines.build(engine, rows, metric, name)
        index.search(queries, 7)  # what is loaded or compiled at first
        with work_of_ours(monkeypatch) as found:
            answer = index.raw.search(queries, 7)
        whole(Neighbors(np.asarray(answer.ids, dtype=np.int64), np.asarray(answer.distances)), 300, 3, 7)
        assert not found or name in CHECKS_ITSELF

    def test_refusals(self, name: str) -> None:
        engine = catalog.load(name)
        rows = np.ones((4, 3), np.float32)
        index = engines.build(engine, rows, "l2", name)
        for k in (0, -1, 5):
            with pytest.raises(KnnscopeError, match="outside 1 to 4"):
                index.search(rows, k)
        with pytest.raises(KnnscopeError, match="2 components, the rows 3"):
            index.search(rows[:, :2], 1)
        for bad in (np.nan, np.inf, -np.inf):
            broken = rows.copy()
            broken[2, 1] = bad
            with pytest.raises(KnnscopeError, match=r"row 2 has -?(nan|inf) in component 1"):
                index.search(broken, 1)
            with pytest.raises(KnnscopeError, match="row 2"):
                engines.build(engine, broken, "l2", name)
        for shape in ((3,), (0, 3), (3, 0), (1, 2, 3)):
            with pytest.raises(KnnscopeError, match="shape"):
                engines.build(engine, np.ones(shape, np.float32), "l2", name)
        for dtype in ("complex64", "U3", "object"):
            with pytest.raises(KnnscopeError, match="real numbers"):
                engines.build(engine, np.ones((2, 2)).astype(dtype), "l2", name)
        with pytest.raises(KnnscopeError, match="no metric 'hamming'"):
            engines.build(engine, rows, "hamming", name)

    def test_any_small_data(self, name: str) -> None:
        @given(data=st.data())
        def any_small_data(data: st.DataObject) -> None:
            metric = data.draw(st.sampled_from(sorted(catalog.load(name).capabilities.metrics)))
            count, dim, asked = (
                data.draw(st.integers(1, 12)),
                data.draw(st.integers(1, 6)),
                data.draw(st.integers(1, 3)),
            )
            number = st.one_of(
                st.integers(-3, 3).map(float), st.floats(-1e4, 1e4, width=32).filter(lambda v: v == 0 or abs(v) > 1e-4)
            )
            values = data.draw(st.lists(number, min_size=(count + asked) * dim, max_size=(count + asked) * dim))
            both = np.array(values, np.float32).reshape(count + asked, dim)
            check(name, metric, both[:count], both[count:], data.draw(st.integers(1, count)))

        any_small_data()  # not a method: Hypothesis keeps its examples apart by engine

    @pytest.mark.parametrize(("dtype", "size"), [("float32", 1e25), ("float64", 1e60), ("float64", 1e200)])
    def test_numbers_that_overflow_give_a_right_answer_or_one_line(
        self, name: str, metric: str, dtype: str, size: float
    ) -> None:
        """Squares of these overflow."""
        engine = tried(name, metric, dtype)
        small = RANDOM(9).standard_normal((6, 4))
        for up, query_up in ((size, size), (size, 1.0), (1.0, size)):
            rows, queries = (small * up).astype(dtype), (small[:2] * query_up).astype(dtype)
            right_or_one_line(
                name, metric, engine, rows, queries, *((size, size) if metric == "l2" else (up, query_up))
            )

    def test_a_row_that_overflows_is_not_left_out(self, name: str, metric: str) -> None:
        """Infinity minus infinity is no number, which compares as no better than any: the nearest rows would be missing."""
        engine = tried(name, metric)
        random, size = RANDOM(10), 1e25
        rows, queries = (random.standard_normal((n, 8)).astype(np.float32) for n in (20, 2))
        queries[:, :2] = size
        rows[7, :2], rows[11, :2] = (2 * size, -size), (3 * size, -size)
        right_or_one_line(name, metric, engine, rows, queries, size, size)

    def test_a_near_row_whose_square_overflows_is_not_left_out(self, name: str) -> None:
        """|x|^2 - 2 x.q + |q|^2 is infinity minus infinity where the distance itself is small."""
        engine = tried(name, "l2")
        size, queries = 2.0**63, np.zeros((2001, 64), np.float32)
        queries[:, :2] = size, size / 2  # many, so that Faiss multiplies matrices
        rows = np.zeros((8, 64), np.float32)
        rows[3, :2] = 2 * size, size / 2  # nearer than the zeros
        rows[4:, 0] = -size
        right_or_one_line(name, "l2", engine, rows, queries, size, size)
