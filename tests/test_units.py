"""Durations, sizes and shares in words."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope.units import about, decimal_size, difference, duration, megabytes, percent, size


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (7, "7 ns"),
        (999, "999 ns"),
        (999.6, "1.00 µs"),
        (1_000, "1.00 µs"),
        (12_345, "12.3 µs"),
        (123_456, "123 µs"),
        (999_400, "999 µs"),
        (999_600, "1.00 ms"),
        (99_960_000, "100 ms"),
        (1_234_567, "1.23 ms"),
        (999_600_000, "1.00 s"),
        (61_000_000_000, "61.0 s"),
        (999_400_000_000, "999 s"),
        (12_345_678_900_000, "12,346 s"),
    ],
)
def test_durations_have_three_digits(ns: float, text: str) -> None:
    assert duration(ns) == text


def test_sizes_and_shares() -> None:
    assert [size(n) for n in (None, 0, 1023, 1024, 10 * 1024, 3 << 20, 5 << 40)] == [
        "unknown",
        "0 B",
        "1023 B",
        "1.0 KiB",
        "10 KiB",
        "3.0 MiB",
        "5.0 TiB",
    ]
    assert megabytes(115_200_000) == "115 MB"
    assert [percent(x) for x in (0.991, 0.1, 0.0512, 0.0004)] == ["99%", "10%", "5.1%", "0.04%"]


@pytest.mark.parametrize(
    ("count", "text"), [(4, "4 B"), (1536, "1.54 kB"), (115_200_000, "115 MB"), (5 * 10**12, "5,000 GB")]
)
def test_bytes(count: int, text: str) -> None:
    assert decimal_size(count) == text


@given(st.floats(0, 1))
def test_a_share_has_no_exponent_and_is_nothing_only_where_it_is_none(share: float) -> None:
    for said in (percent(share), about(share)):
        assert re.fullmatch(r"<?[0-9]+(\.[0-9]+)?%", said)
        assert (said == "0%") == (share == 0)


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0%"), (-0.004, "0%"), (0.004, "0%"), (0.11, "+11%"), (-0.24, "-24%"), (1.5, "+150%")]
)
def test_a_difference_has_a_sign_unless_it_is_none(share: float, text: str) -> None:
    assert difference(share) == text
