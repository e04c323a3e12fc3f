"""Where one engine overtakes another: only between batch sizes at which both are told apart, at the place where power laws cross."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knnscope.analysis.batch_crossings import batch_crossings
from knnscope.analysis.measurement import Measurement
from tests.analysis.test_verdict import rows


def quiet(engine: str, us: float, batch: int, grade: str = "exact") -> list[Measurement]:
    return rows(engine, us, grade, batch, noise=0.0)


@settings(max_examples=20)
@given(st.floats(2, 900), st.floats(0.2, 0.9))
def test_power_laws_cross_where_they_do(at: float, slope: float) -> None:
    """a takes 100 µs whatever the batch; b rises, and is as fast as a at ``at``."""
    made = [
        row for batch in (1, 1000) for row in quiet("a", 100, batch) + quiet("b", 100 * (batch / at) ** slope, batch)
    ]
    told = [100 * abs(1 - (batch / at) ** slope) for batch in (1, 1000)]
    found = batch_crossings(made)
    if min(told) < 10:
        return  # too near to be told at one of the ends
    (one,) = found
    assert (one.before, one.after, one.small, one.large, one.leads) == ("b", "a", 1, 1000, True)
    assert one.at == pytest.approx(at, rel=0.02)
    assert one.first < 1 < one.last


def test_what_cannot_be_told_or_is_wrong_overtakes_nobody() -> None:
    assert not batch_crossings(quiet("a", 100, 1) + quiet("b", 101, 1) + quiet("a", 100, 10) + quiet("b", 50, 10))
    assert not batch_crossings(
        quiet("a", 100, 1) + quiet("b", 300, 1) + quiet("a", 100, 10) + quiet("b", 50, 10, "wrong")
    )
    assert not batch_crossings(quiet("a", 100, 1) + quiet("b", 300, 1) + quiet("a", 100, 10) + quiet("b", 200, 10))
    loud = [
        row
        for batch, us in ((1, 300), (10, 50))
        for row in rows("b", us, batch=batch, noise=0.9) + quiet("a", 100, batch)
    ]
    assert all(o.first < 1 < o.last for o in batch_crossings(loud))


def test_slower_engines_come_after_those_that_lead() -> None:
    made = [
        *(quiet("a", 10, 1) + quiet("b", 20, 1) + quiet("c", 200, 1) + quiet("d", 100, 1)),
        *(quiet("a", 40, 10) + quiet("b", 20, 10) + quiet("c", 200, 10) + quiet("d", 400, 10)),
    ]
    assert [(o.before, o.after, o.leads) for o in batch_crossings(made)] == [("a", "b", True), ("d", "c", False)]
