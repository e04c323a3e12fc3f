"""Recorded traces of every rung, by both recorders (75,000 x 384 on an H100; loops and vectorized visit 300 rows)."""

from __future__ import annotations

import lzma
from functools import cache
from pathlib import Path

from knnscope.trace import reader
from knnscope.trace.model import Trace

FOLDER = Path(__file__).resolve().parents[1] / "fixtures" / "traces"
RECORDERS = ("nsys", "cupti")


def unpacked(name: str, folder: Path) -> Path:
    """A fixture as a file."""
    target = folder / f"{name}.sqlite"
    if not target.exists():
        target.write_bytes(lzma.decompress((FOLDER / f"{name}.sqlite.xz").read_bytes()))
    return target


@cache
def trace(name: str, folder: Path) -> Trace:
    """A fixture, read."""
    return reader.read(unpacked(name, folder))
