"""Every kernel: its source, and what it is compiled with. Nothing here needs a GPU; CI compiles all of it for all architectures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STANDARD = "-std=c++17"
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
"""Compute capabilities that CI compiles for, times ten."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file of kernels and the values of its macros."""

    file: str
    macros: tuple[tuple[str, int], ...]

    @property
    def code(self) -> str:
        """CUDA C++ without any include."""
        return Path(__file__).with_name(self.file).read_text("utf-8")

    @property
    def options(self) -> tuple[str, ...]:
        """For the compiler."""
        return (STANDARD, *(f"-D{name}={value}" for name, value in self.macros))


def fused_topk(dim: int, half: bool) -> Source:
    """Kernels over rows of ``dim`` components, float16 or float32."""
    return Source("fused_topk.cu", (("DIM", dim), ("HALF", int(half))))


def all_sources() -> Iterator[Source]:
    """One of every way that the code goes: pieces of 16, 8, 4 and 2 bytes, one step or many, queries kept or read again."""
    for dim in (1, 32, 384, 385, 386, 768, 1537):
        yield fused_topk(dim, half=False)
    for dim in (33, 384, 386, 768, 1028):
        yield fused_topk(dim, half=True)
