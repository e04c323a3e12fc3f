"""Tiles of rows are shared out so that no block ends much later than others (certified/cuda/items.py)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from knnscope.certified.cuda.items import DEEP, LOADING, tiles_of


def slowest(each: int, tiles: int, query_tiles: int, slots: int) -> int:
    """Tiles that the slowest block multiplies, and loads queries for."""
    return -(-(-(-tiles // each) * query_tiles) // slots) * (each + LOADING)


@given(
    st.integers(1, 20_000), st.integers(1, 100), st.sampled_from([1, 60, 66, 114, 132, 264]), st.sampled_from([1, 2])
)
def test_no_other_number_of_tiles_ends_earlier(tiles: int, query_tiles: int, slots: int, step: int) -> None:
    each = tiles_of(tiles, query_tiles, slots, step)
    assert each % step == 0
    assert step <= each <= max(DEEP, step)
    others = range(step, DEEP + 1, step)
    assert slowest(each, tiles, query_tiles, slots) == min(
        slowest(other, tiles, query_tiles, slots) for other in others
    )


def test_batches_of_a_gpu_leave_few_blocks_idle() -> None:
    """Passes over 75,000 and 1,000,000 rows on 132 multiprocessors: within 6% of tiles shared out alike."""
    for query_tiles in (4, 40):
        for tiles in (256, 512, 1536, 5764):
            each = tiles_of(tiles, query_tiles, 132)
            assert (
                slowest(each, tiles, query_tiles, 132) - LOADING * -(-(-(-tiles // each) * query_tiles) // 132)
                <= 1.06 * tiles * query_tiles / 132
            )
