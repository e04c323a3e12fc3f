"""How blocks that rank are launched: what they are given fits, and nobody is left without a turn (certified/cuda/ranking.py)."""

from __future__ import annotations

import pytest

from knnscope.certified.cuda.ranking import MOST, SHORT_K, threads_of, turns

PROCESSORS = 132
SHARED = 233_472 - 1024
"""Bytes of a multiprocessor of an H200, but for what a block's own take."""


@pytest.mark.parametrize("is_whole", [True, False])
@pytest.mark.parametrize(
    ("room", "count"), [(8192, 5), (4096, 100), (4096, 600), (4096, 1000), (2048, 10_000), (8192, 1000)]
)
@pytest.mark.parametrize("k", [1, 10, 100, SHORT_K, SHORT_K + 1, 512])
def test_every_query_has_a_block_with_room_for_its_list(k: int, room: int, count: int, is_whole: bool) -> None:
    found = turns(count, k, room, is_whole, PROCESSORS)
    assert found[0].blocks == count
    assert (found[-1].held, found[-1].most) == (room, MOST)
    assert [turn.number for turn in found] in ([0], [1, 2])
    for turn in found:
        assert 20 * turn.most + 2 * turn.held < turn.shared <= SHARED
        assert turn.threads * (65_536 // 64 // turn.threads) == 1024, "registers are shared out whole"
    assert threads_of(count, PROCESSORS) in (128, 256, 512, 1024)


def test_many_queries_have_small_blocks_first() -> None:
    """As many of a multiprocessor as registers allow, and as few in the second turn as may be."""
    for count, room, is_whole in ((1000, 4096, True), (10_000, 2048, True), (10_000, 2048, False)):
        first, second = turns(count, 10, room, is_whole, PROCESSORS)
        assert (SHARED + 1024) // (first.shared + 1024 + 256) >= 8
        assert second.blocks == min(4 * PROCESSORS, count)
