"""The worker: what it hands over, keeps and refuses."""

from __future__ import annotations

import time
import weakref
from typing import Any

import numpy as np
import pytest

from knnscope.bench.plan import Case
from knnscope.errors import KnnscopeError, UnsupportedError
from knnscope.records import Neighbors
from knnscope.search.ranges import Range
from tests.bench import planted
from tests.bench.planted import Right
from tests.bench.small import ANSWERS, QUERIES, ROWS, Here, case


def worker(engine: Right, rows: np.ndarray = ROWS, metric: str = "l2") -> Here:
    made = Here(engine, rows, QUERIES, metric)
    made.build()
    return made


def test_a_worker_hands_over_an_answer_once_and_again_when_it_changes() -> None:
    """Each query of a fickle engine: right, right again (not handed over), then wrong, the same from then on."""
    one = worker(planted.Fickle())
    turns = [one.turn(case("x"), [0, 1], prime=False).answers for _ in range(5)]
    assert [[first for first, *_ in answers] for answers in turns] == [[0, 1], [], [0, 1], [], []]
    np.testing.assert_array_equal(turns[0][1][1], ANSWERS.ids[1:2])
    np.testing.assert_array_equal(turns[2][1][1], ANSWERS.ids[1:2, ::-1])
    again = worker(planted.Right()).turn(Case("x", 2, 3, "host"), [0], cold=True)
    np.testing.assert_array_equal(again.answers[0][1], ANSWERS.ids)


def test_a_worker_keeps_no_rows_that_its_engine_copied() -> None:
    class Copies(Right):
        def build(self, vectors: Any, metric: str) -> Right:
            return super().build(vectors.copy(), metric)

    rows = ROWS.copy()
    left = weakref.ref(rows)
    one = Here(Copies(), rows, QUERIES, "l2")
    del rows
    assert left() is not None
    one.build()
    assert left() is None
    assert one.warm(case("x")).fresh
    assert not one.warm(case("x", 3)).fresh
    with pytest.raises(KnnscopeError, match="k = 10 is outside 1 to 9"):
        one.warm(Case("x", 10, 1, "host"))


def test_a_case_that_is_new_to_a_process_is_called_three_times_before_it_is_timed() -> None:
    class Counts(Right):
        calls = 0

        def search(self, queries: Any, k: int) -> Neighbors:
            self.calls += 1
            time.sleep(0.02)  # longer than priming has to last
            return super().search(queries, k)

    engine = Counts()
    one = worker(engine)
    made = []
    for one_case in (case("x"), case("x"), case("x", 3)):
        before = engine.calls
        one.turn(one_case, [0, 0])
        made.append(engine.calls - before)
    assert made == [5, 3, 5]


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        (planted.TooMany, r"ids of shape \(1, 4\) for 1 queries and k = 2"),
        (planted.OneLineForAll, r"ids of shape \(1, 2\) for 3 queries and k = 2"),
        (planted.Flat, r"ids of shape \(2,\) for 1 queries and k = 2"),
    ],
)
def test_ids_of_another_shape_are_refused(engine: type[Right], message: str) -> None:
    one = worker(engine())
    with pytest.raises(ValueError, match=message):
        one.turn(Case("x", 2, 3 if "3 queries" in message else 1, "host"), [0])
    with pytest.raises(ValueError, match=r"for k = 2|same number of dimensions|must match"):
        one.answers(2, 3, 3)


class Later:
    """An answer that is computed when it is read."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.asarray(self.answer, dtype)


@pytest.mark.parametrize("what", ["ids", "distances"])
def test_an_answer_that_is_computed_when_it_is_read_is_refused(what: str) -> None:
    class Lazy(Right):
        def search(self, queries: Any, k: int) -> Neighbors:
            found = super().search(queries, k)
            return Neighbors(
                Later(found.ids) if what == "ids" else found.ids,  # type: ignore[arg-type]
                Later(found.distances) if what == "distances" else found.distances,  # type: ignore[arg-type]
            )

    with pytest.raises(
        KnnscopeError, match=f"^lazy answers with {what} of type Later, which may be computed only"
    ) as e:
        worker(Lazy()).turn(case("lazy"), [0])
    assert "\n" not in str(e.value)


def test_distances_of_another_shape_are_refused() -> None:
    class Fewer(Right):
        def search(self, queries: Any, k: int) -> Neighbors:
            found = super().search(queries, k)
            return Neighbors(found.ids, found.distances[:, :1])

    with pytest.raises(ValueError, match=r"distances of shape \(1, 1\) for ids of shape \(1, 2\)"):
        worker(Fewer()).turn(case("x"), [0])


def test_a_worker_refuses_what_its_engine_has_not() -> None:
    with pytest.raises(UnsupportedError, match="no metric 'cosine'"):
        worker(planted.OnlyL2(), metric="cosine")
    with pytest.raises(UnsupportedError, match="no device boundary"):
        worker(planted.Right()).warm(Case("x", 2, 1, "device"))
    with pytest.raises(UnsupportedError, match="limit of 5"):
        worker(planted.Shallow()).warm(Case("x", 6, 1, "host"))
    with pytest.raises(KnnscopeError, match="row 0 has nan"):
        worker(planted.Right(), np.full((9, 2), np.nan, np.float32))


def test_queries_are_held_against_a_range_once_and_not_in_what_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ranged(Right):
        def build(self, vectors: Any, metric: str) -> Right:
            self.range = Range(vectors, metric)
            return super().build(vectors, metric)

    with pytest.raises(KnnscopeError, match="l2 of these numbers overflows float32"):
        worker(Ranged(), np.full((9, 2), 1e19, np.float32))
    one = worker(Ranged())
    monkeypatch.setattr(Range, "check", None)
    assert len(one.turn(case("x"), [0]).samples) == 1
