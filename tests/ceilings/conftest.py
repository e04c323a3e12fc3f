"""A small record, and a child that measures nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from knnscope.ceilings import cache
from knnscope.ceilings.record import Ceilings, ReadRate, Transfer
from tests.cli.conftest import knnscope as knnscope

CPU = Ceilings(
    "cpu",
    "some processor",
    2,
    (ReadRate(1 << 16, 100e9, 20e9), ReadRate(1 << 20, 50e9, 18e9), ReadRate(1 << 30, 16e9, 16e9)),
    25e9,
    {"float64": 80e9, "float32": 160e9},
)
GPU = Ceilings(
    "cuda",
    "some GPU",
    None,
    (ReadRate(1 << 20, 400e9, 300e9), ReadRate(1 << 32, 4400e9, 4300e9)),
    4100e9,
    {"float16": 700e12, "int8": 1300e12},
    Transfer(9e9, 55e9),
    Transfer(8e9, 52e9),
)

Measured = Callable[[], list[str]]


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measured:
    """A child that hands out the records above; called, the fixture tells how it was started each time."""
    log = tmp_path / "starts"
    log.touch()
    code = (
        "import os, sys\n"
        f"open({str(log)!r}, 'a').write(' '.join([*sys.argv[1:], os.environ.get('OMP_NUM_THREADS', '-')]) + '\\n')\n"
        f"print('a library says hello')\nprint({json.dumps(CPU.to_json())!r} if sys.argv[1] == 'cpu' else {json.dumps(GPU.to_json())!r})\n"
    )
    monkeypatch.setattr(cache, "CHILD", [sys.executable, "-c", code])
    return lambda: log.read_text().splitlines()
