"""Every engine of the catalogue that computes on the CPU and is here keeps the same contract."""

from __future__ import annotations

import pytest

from knnscope.search import catalog
from tests.contracts.suite import EngineContract

NEEDED = ("numpy64", "certified", "numpy", "faiss", "faiss-tuned", "faiss-panorama", "sklearn", "usearch", "dask")
HERE = [name for name in catalog.available() if catalog.ENGINES[name].device == "cpu"]


def test_the_engines_of_the_cpu_extra_are_here() -> None:
    assert set(NEEDED) <= set(HERE)


def test_an_engine_that_has_to_be_named_is_not_asked_by_default() -> None:
    assert set(catalog.available()) - set(catalog.usual()) == {"dask"}
    assert "dask" not in catalog.timed()


class TestEngines(EngineContract):
    ENGINES = tuple(name for name in HERE if not catalog.ENGINES[name].named)


@pytest.mark.slow
class TestEnginesThatHaveToBeNamed(EngineContract):
    """tests/distributed/test_engine.py has a little of it for every day."""

    ENGINES = tuple(name for name in HERE if catalog.ENGINES[name].named)
