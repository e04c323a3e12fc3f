"""Every query is written as codes, and nothing beside (certified/cuda/query_kernels.py), on GPUs of all kinds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope.certified.cuda import ranking, tiled, wide
from knnscope.certified.cuda.query_kernels import launch, padded

GPUS = {
    "7.5": (65_536, 40),
    "8.0": (166_912, 108),
    "8.9": (101_376, 128),
    "9.0": (232_448, 132),
    "10.0": (232_448, 148),
}
"""Bytes of shared memory of a block, and multiprocessors."""


def tile_of(width: int, count: int, shared: int) -> int | None:
    """As batch.shape chooses it, with and without products by warpgroups."""
    found = tiled.layout(width, count, shared)
    return None if found is None else found.queries


@pytest.mark.parametrize("gpu", GPUS)
@given(st.integers(1, 32), st.integers(1, 32), st.integers(1, 12_000))
def test_each_query_is_written_once_and_none_beyond_memory(gpu: str, full: int, width: int, count: int) -> None:
    shared, processors = GPUS[gpu]
    full, width = 128 * max(full, width), 128 * min(full, width)
    tile = tile_of(width, count, shared)
    if tile is None:
        return
    room = padded(count, tile)
    found = launch(count, room, full, shared, processors)
    assert count <= found.queries <= room
    assert found.shared <= shared
    if found.name == "take_few":
        assert found.queries == room, "nothing else writes those that are nobody's"


@pytest.mark.parametrize(
    ("gpu", "full", "count"),
    [("9.0", 3072, 100), ("9.0", 3072, 33), ("8.0", 1792, 64), ("8.9", 768, 33), ("7.5", 128, 33)],
)
def test_tiles_of_32_are_not_always_of_few_queries(gpu: str, full: int, count: int) -> None:
    """Where there is no room for more; from the 33rd query on they were never written."""
    shared, processors = GPUS[gpu]
    tile = tile_of(full, count, shared)
    assert tile is not None
    assert launch(count, padded(count, tile), full, shared, processors).queries >= count


@pytest.mark.parametrize(
    ("count", "name"), [(16, "take_few"), (100, "rotate_few"), (1000, "rotate_some"), (10_000, "rotate")]
)
def test_kernels_of_an_h200(count: int, name: str) -> None:
    assert launch(count, padded(count, 128 if count > 32 else 32), 384, *GPUS["9.0"]).name == name


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("width", [128, 256, 384, 768, 1024])
def test_tiles_fit(gpu: str, width: int) -> None:
    """384 components have codes on every GPU."""
    shared, _ = GPUS[gpu]
    for count in (1, 33, 65, 129):
        found = tiled.layout(width, count, shared)
        assert found or (gpu == "7.5" and width > 384)
        if found:
            assert tiled.shared(width, found.queries, found.stages) <= shared


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("count", [20, 1000, 5000])
@pytest.mark.parametrize("rows", [100_000, 1 << 24])
def test_blocks_that_rank_have_room_for_what_they_have_of_their_own(gpu: str, count: int, rows: int) -> None:
    shared, processors = GPUS[gpu]
    for k in range(1, 513):
        room = ranking.room_of(k, count, rows, shared)
        if ranking.usable(k, shared):
            for is_whole in (True, False):
                for turn in ranking.turns(count, k, room, is_whole, processors):
                    assert turn.shared + 64 <= shared


def test_warpgroups_pad_to_whole_tiles() -> None:
    for width in range(128, 2177, 128):
        for count in (65, 129, 1000):
            found = wide.layout(width, count, GPUS["9.0"][0])
            if found:
                assert padded(count, found.queries) % found.queries == 0
