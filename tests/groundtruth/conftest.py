"""Files of rows and queries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.groundtruth.blocks import BASE, QUERIES


@pytest.fixture
def files(tmp_path: Path) -> Path:
    np.save(tmp_path / "b.npy", BASE)
    np.save(tmp_path / "q.npy", QUERIES)
    return tmp_path
