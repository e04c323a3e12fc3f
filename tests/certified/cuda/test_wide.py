"""How products by warpgroups are laid out: what a block is given fits, and padded queries are whole ones (certified/cuda/wide.py)."""

from __future__ import annotations

import pytest

from knnscope.certified.cuda.wide import MOST_AHEAD, SLICE, TILE, layout

H200_SHARED = 232_448


@pytest.mark.parametrize("count", [65, 128, 129, 10_000])
@pytest.mark.parametrize("room", [H200_SHARED, 180_000])
def test_what_a_block_is_given_fits(room: int, count: int) -> None:
    narrower = True
    for width in range(SLICE, 4097, SLICE):
        found = layout(width, count, room)
        assert narrower or found is None, "what has no room has none with more components"
        narrower = found is not None
        if found is None:
            continue
        macros = dict(found.macros)
        own = 64 * macros["TALL"] * (2 if found.name == "wide" else 1)
        assert own * width + macros["AHEAD"] * TILE * SLICE < found.shared <= room
        assert macros["AHEAD"] <= MOST_AHEAD
        assert found.queries == own * found.blocks
        assert 256 % found.queries == 0, "queries are padded to whole 256"
        assert found.queries >= min(count, 256) or found.queries == 128
        assert found.tiles == macros.get("TILES", 1)
    assert not narrower


def test_real_widths_have_products_by_warpgroups() -> None:
    assert {width: layout(width, 1000, H200_SHARED).name for width in (128, 384, 768, 1024, 1536, 2048)} == {  # type: ignore[union-attr]
        128: "wide", 384: "wide", 768: "slices", 1024: "slices", 1536: "slices", 2048: "slices",
    }  # fmt: skip
