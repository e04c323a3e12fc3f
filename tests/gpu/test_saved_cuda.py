"""An index of a GPU in a folder: codes are the processor's, so a folder goes from one to the other by its rows."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

import knnscope

pytest.importorskip("cupy")


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("there", ["cuda", "cpu"])
@pytest.mark.parametrize("here", ["cuda", "cpu"])
def test_a_folder_goes_from_one_to_the_other(tmp_path: Path, there: str, here: str, dtype: str) -> None:
    rows = np.random.default_rng(0).integers(-5, 6, (9000, 32)).astype(dtype)
    index = knnscope.ExactIndex(rows[:8000], device=there)
    index.add(rows[8000:8500])
    index.add(rows[8500:8509])
    index.remove(range(0, 8509, 37))
    index.save(tmp_path)
    expected = index.search(rows[:20], 10)
    with knnscope.ExactIndex.load(tmp_path, device=here, writable=True) as loaded:
        for found in (loaded, pickle.loads(pickle.dumps(index))):
            answer = found.search(rows[:20], 10)
            np.testing.assert_array_equal(answer.ids, expected.ids)
            np.testing.assert_array_equal(answer.distances, expected.distances)
        np.testing.assert_array_equal(loaded.get(loaded.ids.tolist()), index.get(index.ids.tolist()))
        loaded.add(rows[8600:8900])
        loaded.save()
    assert len(knnscope.ExactIndex.load(tmp_path, device=there)) == len(index) + 300
