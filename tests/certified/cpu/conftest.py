"""An empty folder for compiled code."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from knnscope.certified.cpu import code_cache
from tests.certified.cpu.planes import planes_for_all


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and nothing told yet."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", os.fspath(tmp_path / "numba"))
    code_cache.stamp.cache_clear()
    code_cache._notice.cache_clear()
    yield code_cache.path()
    code_cache.stamp.cache_clear()
    code_cache._notice.cache_clear()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A plane for few rows and whatever it costs."""
    planes_for_all(monkeypatch)
    return monkeypatch
