"""Where a test writes its trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trace import mutate
from tests.trace.hostile import Write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trace.sqlite"


@pytest.fixture(scope="session")
def seed() -> bytes:
    return mutate.small()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def at(data: bytes) -> Path:
        path = tmp_path / "trace.sqlite"
        path.write_bytes(data)
        return path

    return at
