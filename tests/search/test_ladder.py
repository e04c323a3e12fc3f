"""Every rung that needs no GPU, with NumPy: the code that a GPU runs with CuPy."""

from __future__ import annotations

import ast
import inspect
import sys
import types
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope import annotate
from knnscope.errors import KnnscopeError
from knnscope.search import ladder
from knnscope.search.ladder.verbose import explain
from tests import oracle

PLAIN = [name for name in ladder.RUNGS if not ladder.rung_class(name).gpu]


def run(name: str, rows: np.ndarray, query: np.ndarray, k: int) -> list[int]:
    rung = ladder.make(name, np)
    rung.load(rows)
    rung.build(k)
    return rung.copy_back(rung.search(rung.ready(query), k))


def test_what_runs_without_a_gpu() -> None:
    assert PLAIN == [
        "numpy-loop",
        "cupy-loop-numpy-input",
        "cupy-loop",
        "vectorized",
        "argsort",
        "topk",
        "gemm",
    ]


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (50, 1), (300, 17), (64, 384)])
def test_ids_are_those_of_float64(name: str, shape: tuple[int, int]) -> None:
    random = np.random.default_rng(sum(shape))
    rows = random.standard_normal(shape).astype(np.float32)
    query = random.standard_normal(shape[1]).astype(np.float32)
    for k in {1, min(7, shape[0]), shape[0]}:
        expected, _ = oracle.nearest(rows, query, k, "l2")
        found = run(name, rows, query, k)
        assert all(type(i) is int for i in found)
        if shape[0] < 300 or k < 10:
            assert found == expected
        else:  # float32 may exchange neighbors that are this close
            assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("name", PLAIN)
@given(rows=st.integers(1, 40), dim=st.integers(1, 5), k=st.integers(1, 40), seed=st.integers(0, 9))
def test_ties_go_to_the_first_row(name: str, rows: int, dim: int, k: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.integers(0, 3, (rows, dim)).astype(np.float32)
    query = random.integers(0, 3, dim).astype(np.float32)
    k = min(k, rows)
    assert run(name, values, query, k) == oracle.nearest(values, query, k, "l2")[0]


def test_the_expanded_form_loses_what_large_norms_hide() -> None:
    random = np.random.default_rng(0)
    rows = (1000 + random.standard_normal((2000, 64))).astype(np.float32)
    query = (1000 + random.standard_normal(64)).astype(np.float32)
    expected, _ = oracle.nearest(rows, query, 10, "l2")
    assert run("gemm", rows, query, 10) != expected
    for name in PLAIN:
        if name != "gemm":
            assert run(name, rows, query, 10) == expected


@pytest.mark.parametrize("name", ladder.RUNGS)
def test_a_rung_is_a_lesson(name: str) -> None:
    cls = ladder.rung_class(name)
    assert "\n" in (cls.__doc__ or ""), "what it does, and why that is slow or fast"
    assert cls.changed
    assert "\n" not in cls.changed
    source = inspect.getsource(cls.search)
    assert len(source.splitlines()) <= 40
    for base in cls.__mro__:  # the whole path of a search, helpers included, can be read at a glance
        for part in vars(base).values():
            if callable(part) and hasattr(part, "__code__"):
                assert len(inspect.getsource(part).splitlines()) <= 40


def test_nothing_of_the_ladder_imports_a_gpu_library_before_it_is_asked_to() -> None:
    for path in Path(ladder.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & {"cupy", "torch", "cupti", "nvtx"}


@pytest.mark.parametrize("name", PLAIN)
def test_bytes_and_launches_by_arithmetic(name: str) -> None:
    rung = ladder.make(name, np)
    rung.load(np.zeros((10, 4), np.float32))
    rung.build(1)
    rows_once = 10 * 4 * 4
    assert rung.moved(1) >= rows_once
    assert rung.launches(1) == (0, 0)
    fake = types.SimpleNamespace(
        __name__="cupy", asarray=np.asarray
    )  # where the arrays' module is another, kernels count
    on_gpu = ladder.rung_class(name)(fake)
    on_gpu.rows, on_gpu.selection = rung.rows, None
    expected = {
        "numpy-loop": (0, 0),
        "cupy-loop-numpy-input": (10, 10),
        "cupy-loop": (40, 10),
        "vectorized": (4, 10),
    }
    assert on_gpu.launches(1) == expected.get(name)


def test_unknown_rung() -> None:
    with pytest.raises(KnnscopeError, match="no rung named 'fusedtopk': did you mean fused-topk"):
        ladder.rung_class("fusedtopk")


def test_verbose_shows_every_step() -> None:
    text = explain([[0, 0], [3, 4], [1, 1]], [0, 0], 2)
    for part in ("(3, 4)", "(9, 16)", "25", "distance     5", "1. row 0", "2. row 2", "rows 0, 2"):
        assert part in text
    assert explain().endswith("The answer: rows 1, 2, 0")


@contextmanager
def fake_nvtx(monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []
    module = types.ModuleType("cupy.cuda.nvtx")
    module.RangePush, module.RangePop = said.append, lambda: said.append("end")  # type: ignore[attr-defined]
    for name, value in (("cupy", types.ModuleType("cupy")), ("cupy.cuda", types.ModuleType("cupy.cuda"))):
        monkeypatch.setitem(sys.modules, name, value)
    monkeypatch.setitem(sys.modules, "cupy.cuda.nvtx", module)
    annotate._functions.cache_clear()
    yield said
    annotate._functions.cache_clear()


def test_ranges_carry_the_shape_and_end_when_the_work_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_nvtx(monkeypatch) as said:
        with annotate.phase("search", "fused", rows=5, dim=3, k=2, batch=1):
            said.append("work")
        with pytest.raises(ZeroDivisionError), annotate.phase("build", "fused", rows=5):
            raise ZeroDivisionError
        assert annotate.problem() is None
    assert said == [
        "knnscope: search fused rows=5 dim=3 k=2 batch=1",
        "work",
        "end",
        "knnscope: build fused rows=5",
        "end",
    ]


def test_without_nvtx_work_goes_on_and_the_problem_has_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(annotate.importlib.util, "find_spec", lambda name: None)
    annotate._functions.cache_clear()
    with annotate.phase("search", "x", rows=1):
        pass
    assert "pip install nvtx" in str(annotate.problem())
    annotate._functions.cache_clear()
