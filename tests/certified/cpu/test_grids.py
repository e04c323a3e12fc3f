"""How threads share a pass: by rows where a threshold costs little beside them, else by queries."""

from __future__ import annotations

import pytest

from knnscope.certified.cpu.grids import by_queries, shortest


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


@pytest.mark.parametrize(
    ("threads", "tiles", "expected"),
    [(16, 1, False), (16, 4, False), (8, 2, False), (4, 2, False), (2, 3, False), (8, 10, True), (16, 10, True), (16, 30, True)],
)  # fmt: skip
def test_many_queries_of_a_plane_are_shared_out_and_few_share_its_rows(
    threads: int, tiles: int, expected: bool
) -> None:
    """As was measured with 75,000 rows in tiles of ten queries (decision 076)."""
    assert by_queries(threads, tiles, 4 * 10 * tiles * 75_000) == expected
