"""Fixtures of certified search."""

from __future__ import annotations

import pytest

from knnscope.certified import living, tail


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows make many segments."""
    for module in (living, tail):
        monkeypatch.setattr(module, "SEAL", 16)
