"""How blocks read all rows, for GPUs that are not here: what they are given fits, and tiles come ahead of those that are read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.certified.cuda.gpu_in_words import forgotten, installed

SHARED = {"7.5": 65_536, "8.0": 166_912, "8.6": 101_376, "9.0": 232_448, "12.0": 101_376}
"""Bytes of shared memory that a block may have, by compute capability (CUDA's programming guide, technical specifications)."""


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with forgotten():
        yield


@pytest.mark.parametrize("capability", SHARED)
def test_a_block_has_room_for_what_it_is_given(capability: str, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, 1 << 30)
    from knnscope.certified.cuda import fallback, reading

    most = SHARED[capability]
    monkeypatch.setattr(reading, "most_shared", lambda: most)
    for together in {1, reading.together()}:
        for k in (1, 10, 100, 255, 256, 257, reading.MOST_K):
            for dim in (1, 63, 64, 128, 384, 500, 768, 1536, 4096, 10_000):
                for wide, stages in (
                    (64, 2),
                    (fallback.WIDE, fallback.STAGES),
                    (fallback.WIDER, fallback.STAGES),
                    (256, 8),
                ):
                    chosen = reading.shape(dim, k, together, wide, stages)
                    assert 2 <= chosen.stages <= stages
                    assert chosen.shared + reading.OWN_SHARED <= most
                    assert chosen.wide in (64, 128, 256)
                    assert chosen.held % chosen.wide == 0
                    assert chosen.room >= k + 1
