"""The record of ceilings: interpolation, floors, and what is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope.ceilings.record import Cache, Ceilings, ReadRate
from tests.ceilings.conftest import CPU, GPU

rates = st.floats(1e6, 1e14)
CACHES: tuple[Cache, ...] = ("hot", "cold")


@st.composite
def ceilings(draw: st.DrawFn) -> Ceilings:
    sizes = sorted(draw(st.sets(st.integers(1, 1 << 40), min_size=1, max_size=8)))
    return Ceilings("cpu", "x", 1, tuple(ReadRate(n, draw(rates), draw(rates)) for n in sizes), 1e9, {})


@pytest.mark.parametrize("record", [CPU, GPU])
def test_round_trip_through_json(record: Ceilings) -> None:
    assert Ceilings.from_json(json.loads(json.dumps(record.to_json(), allow_nan=False))) == record


@given(ceilings(), st.integers(0, 1 << 42), st.integers(0, 1 << 42))
def test_rates_lie_between_their_neighbours_and_clamp(record: Ceilings, one: int, other: int) -> None:
    one, other = sorted((one, other))
    for cache in CACHES:
        measured = {rate.bytes: getattr(rate, cache) for rate in record.read}
        assert all(math.isclose(record.read_rate(n, cache), rate) for n, rate in measured.items())
        near = [measured[n] for n in _around(one, list(measured))]
        found = record.read_rate(one, cache)
        assert min(near) * (1 - 1e-9) <= found <= max(near) * (1 + 1e-9)
        if _around(one, list(measured)) == _around(other, list(measured)):  # one way only between two measured sizes
            assert (record.read_rate(other, cache) - found) * (near[-1] - near[0]) >= -1e-6 * found * found


def _around(nbytes: int, sizes: list[int]) -> tuple[int, int]:
    below = max((n for n in sizes if n <= nbytes), default=sizes[0])
    return below, min((n for n in sizes if n > nbytes), default=sizes[-1]) if nbytes >= sizes[0] else below


def test_the_middle_of_two_sizes_is_their_geometric_mean() -> None:
    assert CPU.read_rate(1 << 18, "hot") == pytest.approx(75e9)


def test_floor_of_a_row() -> None:
    assert CPU.floor_ns(16 * 10**9, "cold") == 10**9
    assert CPU.floor_ns(1 << 16, "hot") == 655
    assert CPU.floor_ns(0, "hot") == 0


@pytest.mark.parametrize("value", [None, [], "x", 3, {}, {"read": 1}, {"read": [1]}, {"read": [{"bytes": 1}]}])
def test_no_record_at_all_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="no record of ceilings"):
        Ceilings.from_json(value)


@pytest.mark.parametrize(
    "change",
    [
        {"device": "tpu"},
        {"device_name": None},
        {"threads": None},
        {"threads": True},
        {"threads": 0},
        {"copy": math.nan},
        {"copy": math.inf},
        {"copy": -1.0},
        {"copy": 10**400},
        {"copy": "fast"},
        {"products": {"float32": 0}},
        {"products": []},
        {"key": None},
        {"read": []},
        {"read": [{"bytes": 2, "hot": 1, "cold": 1}, {"bytes": 1, "hot": 1, "cold": 1}]},
        {"read": [{"bytes": 1.5, "hot": 1, "cold": 1}]},
        {"read": [{"bytes": 1, "hot": 1, "cold": None}]},
        {"host_to_device": {"pageable": 1, "pinned": math.nan}},
        {"host_to_device": 4},
        {"more": 1},
    ],
    ids=str,
)
def test_what_cannot_have_been_measured_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"cannot have been measured|no record"):
        Ceilings.from_json({**CPU.to_json(), **change})
