"""How threads share a pass: by rows where a threshold costs little beside them, else by queries."""

from __future__ import annotations

import pytest

from knnscope.certified.cpu.grids import shortest


@pytest.mark.parametrize("threads", [2, 16])
def test_few_rows_are_not_shared_where_queries_can_be(threads: int) -> None:
    """3,000 rows for 20 tiles of queries by two threads: a tenth more CPU time in two parts than in two groups."""
    for tiles in (10, 20, 250):
        parts, groups = shortest(threads, tiles, threads, (3000).bit_length())
        assert parts <= max(1, threads // 4)
        assert groups > 1
    assert shortest(threads, 1, threads, (3000).bit_length()) == (threads, 1), "one tile can only be shared by its rows"


@pytest.mark.parametrize("threads", [2, 16])
def test_many_rows_are_shared_by_few_queries(threads: int) -> None:
    for tiles in (1, 3, 7):
        assert shortest(threads, tiles, threads, (75_000).bit_length()) == (threads, 1)


def test_no_more_parts_than_memory_is_for() -> None:
    assert shortest(16, 3, 2)[0] <= 2
