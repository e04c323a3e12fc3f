"""Every engine of the catalogue that computes on the CPU and is here keeps the same contract."""

from __future__ import annotations

from knnscope.search import catalog
from tests.contracts.suite import EngineContract

NEEDED = ("numpy64", "certified", "numpy", "faiss", "faiss-tuned", "faiss-panorama", "sklearn", "usearch")


def test_the_engines_of_the_cpu_extra_are_here() -> None:
    assert set(NEEDED) <= set(catalog.available())


class TestEngines(EngineContract):
    ENGINES = tuple(name for name in catalog.available() if catalog.ENGINES[name].device == "cpu")
