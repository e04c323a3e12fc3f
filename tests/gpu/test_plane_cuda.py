"""One to four queries by the plane (kernels/exact_plane.cu): hits that blocks have words for and such that they do not, sums by teams and by warps."""

from __future__ import annotations

import numpy as np
import pytest

from knnscope.certified.index import ExactIndex
from knnscope.search import definition
from tests.gpu.answers import same


def like_text(count: int, dim: int, seed: int) -> np.ndarray:
    """Vectors around fifty centres, with a spectrum that falls: a plane pays for them."""
    random = np.random.default_rng(seed)
    middle = np.random.default_rng(7).standard_normal((50, dim))
    made = middle[random.integers(0, 50, count)] + 0.6 * random.standard_normal((count, dim))
    return (made * np.arange(1, dim + 1) ** -0.4 + 0.3).astype(np.float32)


@pytest.mark.parametrize("metric", definition.METRICS)
@pytest.mark.parametrize("noise", [0.0, 1e-6, 1e-3])
@pytest.mark.parametrize("total", [9000, 30_001])
def test_many_near_rows_of_few_blocks(metric: str, noise: float, total: int) -> None:
    """Rows side by side are of a few blocks, so each has more hits than words; without noise they are ties, in the order of their numbers.
    One query of many rows has a kernel of its own."""
    rows = like_text(total, 384, 1)
    near = rows[5] + noise * np.random.default_rng(2).standard_normal((400, 384))
    rows[4000:4400] = near.astype(np.float32)
    queries = rows[[5, 4100, 17, total - 1]] + np.float32(1e-4)
    index = ExactIndex(rows, metric, device="cuda")
    for count in (1, 2, 3, 4):
        for k in (1, 16, 17, 100, 256):
            found = index.search(queries[:count], k, np.ones(total, dtype=bool))  # with a mask only the plane answers
            assert "plane" in found.certificate.path
            expected = definition.search(rows, queries[:count], k, metric)
            same(found, expected)


@pytest.mark.parametrize("dim", [100, 384, 513, 1536])
@pytest.mark.parametrize("total", [6000, 20_000])
def test_sums_whose_parts_take_each_other_away(dim: int, total: int) -> None:
    """Of inner products: where a part begins is not what other orders of addition come to, so it is added once more."""
    random = np.random.default_rng(dim)
    rows = like_text(total, dim, 3)
    rows[:, 1::2] = -rows[:, 0 : dim - 1 : 2] + (1e-6 * random.standard_normal((total, dim // 2))).astype(np.float32)
    queries = (1e4 + random.standard_normal((4, dim))).astype(np.float32)
    index = ExactIndex(rows, "ip", device="cuda")
    for count in (1, 4):
        found = index.search(queries[:count], 10)
        expected = definition.search(rows, queries[:count], 10, "ip")
        same(found, expected)
