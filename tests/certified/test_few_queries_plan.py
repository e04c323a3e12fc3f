"""Passes of few queries over codes on a GPU (certified/cuda/few.py): enough groups for a threshold, and lists that do not fill."""

from __future__ import annotations

import itertools

import pytest

from knnscope.certified.cuda import few
from knnscope.kernels import sources


@pytest.mark.parametrize("k", [1, 10, 100, 512])
@pytest.mark.parametrize("rows", [4096, 33_000, 1_000_000, 4_000_000, 40_000_000])
def test_a_sample_has_groups_for_k_and_passes_go_on_to_the_last_row(rows: int, k: int) -> None:
    assert few.usable(rows, k) == (64 * k <= rows < 1 << 22)
    if few.usable(rows, k):
        for width, processors in itertools.product((128, 256, 384, 512, 1024, 1536), (8, 40, 108, 132)):
            check(rows, k, width, processors)


def check(rows: int, k: int, width: int, processors: int) -> None:
    macros = sources.few_macros(width, 16)
    assert macros
    room = 4 * max(2048, 16 * k)
    made = few.plan(rows, k, room, processors, macros)
    step = 8 * dict(macros)["EIGHTS"]
    groups = min(few.WARPS * made.blocks, min(rows, made.sampled * few.TILE) // step)
    assert groups >= 2 * k
    assert made.blocks >= 2 * processors
    tiles = -(-rows // few.TILE)
    assert 0 < made.sampled <= tiles
    passes = (made.sampled, *made.stops, tiles)
    assert list(passes) == sorted(passes)
    assert all(stop < tiles for stop in made.stops)
    last = passes[-2] * few.TILE
    assert few.EXCESS * k * rows / last <= room / 2 + 1 or 4 * last >= rows


def test_a_million_rows_are_read_in_one_pass() -> None:
    macros = sources.few_macros(384, 16)
    assert macros
    made = few.plan(1_000_000, 10, 8192, 132, macros)
    assert made.stops == ()
    assert made.sampled * few.TILE == 2 * 132 * 8 * 16  # each warp has its rows once


@pytest.mark.parametrize("count", [1, 16, 17, 32, 33])
def test_macros_are_those_of_a_kernel_that_compiles(count: int) -> None:
    """Static assertions of exact_few.cu, and 48 KB of shared memory."""
    some = 0
    for slices in range(1, 33):
        macros = sources.few_macros(128 * slices, count)
        if macros is None:
            assert count > 32 or slices > 12, "as wide as that is common"
            continue
        some += 1
        made = dict(macros)
        assert made["QUERIES"] >= count
        assert made["QUERIES"] * 128 * slices <= 48 << 10
        assert 2 * slices * made["EIGHTS"] % made["AHEAD"] == 0
        assert 6 <= made["AHEAD"] <= 14
        assert 16 % made["EIGHTS"] == 0
    assert bool(some) == (count <= 32)
