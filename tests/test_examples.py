"""The examples of docs/python.md run, use every public name, and say what they give."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

import knnscope
from knnscope.ceilings import cache
from tests.trace import fixtures

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "python.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


def used_in(code: str) -> set[str]:
    return set(re.findall(r"knnscope\.(\w+)", code))


def no_ceilings(*_: object, **__: object) -> NoReturn:
    """Measuring them takes 10 seconds."""
    raise knnscope.KnnscopeError("not measured in this test")


@pytest.mark.parametrize("name", sorted(knnscope.PUBLIC))
def test_every_public_name_is_there_with_a_docstring_and_stands_on_the_page(name: str) -> None:
    found = getattr(knnscope, name)
    assert (found.__doc__ or "").strip()
    assert found is getattr(knnscope, name)
    assert name in PAGE


def test_public_names_are_all_that_is_listed() -> None:
    assert dir(knnscope) == sorted([*knnscope.PUBLIC, "__version__"]) == sorted(knnscope.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = knnscope.nothing


def test_importing_costs_next_to_nothing(child_environment: dict[str, str]) -> None:
    """What takes time is loaded by the name that needs it."""
    code = (
        "import sys, knnscope\n"
        "dir(knnscope)\n"
        "print([m for m in ('numpy', 'numba', 'onnxruntime', 'faiss', 'sqlite3') if m in sys.modules])\n"
        "print([m for m in sys.modules if m.startswith('knnscope.')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=child_environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["[]", "[]"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the examples run, with the traces that they name."""
    folder = tmp_path_factory.mktemp("examples")
    for name, trace in (("run", "300-cupy-loop"), ("later", "nsys-fused")):
        fixtures.unpacked(trace, folder).rename(folder / f"{name}.sqlite")
    return folder


@pytest.mark.usefixtures("encoded")
def test_the_examples_run(files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(files)
    monkeypatch.setattr(cache, "obtain", no_ceilings)
    names: dict[str, Any] = {}
    for number, block in enumerate(BLOCKS, 1):
        exec(compile(block, f"docs/python.md, example {number}", "exec"), names)
    assert names["found"].ids.shape == (5, 3)
    assert names["again"].rows()[0]["text"] == "a tax on sugar"
    assert names["again"].dataset.documents.texts[names["best"].ids[0, 0]] == "free trams for everyone"
    assert names["answer"][0] == (1200,)
    assert {
        "vectors.npy",
        "found.npz",
        "machine.json",
        "said",
        "compared",
        "climbed",
        "why.json",
        "run.html",
        "compared.html",
    } <= set(os.listdir())
    printed = capsys.readouterr().out
    assert "<TextDataset sample: 240 documents, 60 queries" in printed
    assert "bound by" in printed
    assert "a trace is only read" in printed


def test_every_public_name_is_used_in_an_example() -> None:
    results = {"Explanation", "Machine", "Neighbors", "Certificate"}  # what the functions return
    assert set(knnscope.PUBLIC) - results <= used_in("\n".join(BLOCKS))
