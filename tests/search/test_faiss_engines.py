"""What the three Faiss engines on the CPU are set to, and what they say of it."""

from __future__ import annotations

import json
import subprocess
import sys

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope import store
from knnscope.errors import KnnscopeError, UnsupportedError
from knnscope.search import catalog
from knnscope.search import engine as engines
from knnscope.search.engines import openblas
from knnscope.search.engines.faiss_panorama import LEVELS, FaissPanoramaIndex
from knnscope.search.engines.faiss_tuned import FaissTunedIndex

RANDOM = np.random.default_rng
ROWS = RANDOM(0).standard_normal((600, 32), dtype=np.float32)
FRESH = """
import json, os, sys
from knnscope import store
from knnscope.search import catalog
from knnscope.search import engine
from knnscope.search.engines import openblas
import numpy as np
assert "faiss" not in sys.modules
openblas.fastest = lambda dim: "Haswell"
rows = np.random.default_rng(0).standard_normal((500, 16), dtype=np.float32)
index = engine.build(catalog.load("faiss-tuned"), rows, "l2", "faiss-tuned")
print(json.dumps([index.raw.how, openblas.kernel_in_use(), os.environ.get(openblas.VARIABLE)]))
"""


@pytest.mark.skipif(not openblas.NEEDS, reason="no kernels are known")
def test_the_chosen_kernels_are_those_that_faiss_loads() -> None:
    """In a process of its own, as compare has it: OpenBLAS reads their name once."""
    done = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, timeout=300, check=True)
    said, kernel, left = json.loads(done.stdout)
    assert kernel.lower() == "haswell"
    assert said.startswith(f"OpenBLAS kernels {kernel}, ")
    assert left is None, "other libraries choose for themselves"


def test_a_kernel_that_cannot_run_is_no_candidate_and_the_choice_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    took = {None: 2.0, "SkylakeX": 1.0, "Haswell": None, "Zen": 3.0}
    tried = []
    monkeypatch.setattr(openblas, "_tried", lambda name, _dim: tried.append(name) or took[name])
    monkeypatch.setattr(openblas, "cpu", lambda: {"model": "a", "vector_instructions": ["avx2", "avx512f"]})
    assert openblas.fastest(8) == "SkylakeX"
    assert openblas.fastest(8) == "SkylakeX"
    assert tried == [None, "SkylakeX", "Haswell", "Zen"], "once"
    monkeypatch.setattr(openblas, "cpu", lambda: {"model": "a", "vector_instructions": ["avx2"]})
    assert openblas.fastest(8) is None, "the library's own choice is the fastest of those that this processor has"


def test_what_is_remembered_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openblas, "_tried", lambda name, _dim: 1.0 if name == "Zen" else 2.0)
    monkeypatch.setattr(openblas, "cpu", lambda: {"model": "b", "vector_instructions": ["avx2"]})
    assert openblas.fastest(8) == "Zen"
    (kept,) = (store.home() / "openblas").glob("*.json")
    for text in ("", "[]", '{"kernels": "SkylakeX"}', '{"kernels": ["Zen"]}', "\xff"):
        kept.write_text(text, "latin-1")
        assert openblas.fastest(8) == "Zen", "found anew: of this processor's kernels"


def test_the_setting_of_the_whole_library_is_left_as_it_was() -> None:
    before = faiss.cvar.distance_compute_blas_threshold
    index = FaissTunedIndex(faiss, ROWS, "l2")
    index.search(ROWS[:40], 5)
    assert faiss.cvar.distance_compute_blas_threshold == before
    with pytest.raises(AssertionError):
        index.search(ROWS[:2], -1)
    assert faiss.cvar.distance_compute_blas_threshold == before


def test_products_begin_at_the_batch_from_which_on_they_are_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products take 20 whatever the batch, single distances one for each query."""
    cost = {1: lambda _size: 20.0, 1 << 30: float}
    monkeypatch.setattr(
        FaissTunedIndex, "_seconds", lambda _self, threshold, _index, queries: cost[threshold](len(queries))
    )
    assert "matrix products from 32 queries on" in FaissTunedIndex(faiss, ROWS, "l2").how
    monkeypatch.setattr(FaissTunedIndex, "_seconds", lambda _self, threshold, _index, _queries: float(threshold == 1))
    assert "no matrix products" in FaissTunedIndex(faiss, ROWS, "l2").how


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_panorama_turns_rows_and_loses_none(metric: str) -> None:
    rows = ROWS * np.linspace(4, 0.1, 32, dtype=np.float32) + np.float32(1)
    found = engines.build(catalog.load("faiss-panorama"), rows, metric, "faiss-panorama").search(rows[:50], 10)
    exact = engines.build(catalog.load("numpy64"), rows, metric, "numpy64").search(rows[:50], 10)
    assert (found.ids == exact.ids).mean() > 0.99, "but for what float32 cannot tell apart"
    index = FaissPanoramaIndex(rows, metric)
    assert int(index.how.split()[0]) in LEVELS
    assert index.how.endswith("% of the squared length")


def test_panorama_says_what_it_cannot_serve() -> None:
    engine = catalog.load("faiss-panorama")
    with pytest.raises(UnsupportedError, match="up to 4,096 components, the rows have 4,097"):
        engines.build(engine, np.ones((2, 4097), np.float32), "l2")
    with pytest.raises(UnsupportedError, match="above this engine's limit of 1024"):
        engines.build(engine, np.ones((1100, 2), np.float32), "l2").search(np.ones((1, 2), np.float32), 1025)
    found = engines.build(engine, RANDOM(1).standard_normal((3000, 8), dtype=np.float32), "l2").search(
        ROWS[:3, :8], 1024
    )
    assert all(len(set(line)) == 1024 for line in found.ids.tolist())
    short = ROWS.copy()
    short[7] *= np.float32(1e-13)
    with pytest.raises(KnnscopeError, match="rows shorter than 1e-11: scale the vectors up"):
        engines.build(engine, short, "l2")
    with pytest.raises(KnnscopeError, match="queries shorter than 1e-11"):
        engines.build(engine, ROWS, "ip").search(short, 1)
    assert engines.build(engine, short, "cosine").search(short, 1).ids[7, 0] == 7


def test_faiss_as_installed_says_when_its_kernels_are_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openblas, "kernel_in_use", lambda: "Prescott")
    said = catalog.load("faiss").build(ROWS, "l2").how
    assert "OpenBLAS kernels Prescott, which leave most of this processor unused" in said
    monkeypatch.setattr(openblas, "kernel_in_use", lambda: None)
    assert "unknown" in catalog.load("faiss").build(ROWS, "l2").how


@pytest.mark.parametrize("name", ["faiss", "faiss-tuned", "faiss-panorama"])
@given(power=st.integers(50, 124), query_power=st.integers(-20, 124), metric=st.sampled_from(["l2", "ip"]))
def test_near_the_end_of_float32_an_answer_is_whole_or_refused(
    name: str, power: int, query_power: int, metric: str
) -> None:
    rows, queries = ROWS[:20, :4] * np.float32(2.0**power), ROWS[20:22, :4] * np.float32(2.0**query_power)
    if not (np.isfinite(rows).all() and np.isfinite(queries).all()):
        return
    try:
        found = engines.build(catalog.load(name), rows, metric, name).search(queries, 20)
    except KnnscopeError as error:
        assert "overflow" in str(error)
        return
    assert np.isfinite(found.distances).all()
    assert (np.sort(found.ids, axis=1) == np.arange(20)).all(), "no row is left out"
