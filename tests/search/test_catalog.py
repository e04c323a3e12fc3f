"""An engine that is broken says so itself: it is not told as a library that somebody should install."""

from __future__ import annotations

import ast
import importlib
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import knnscope
from knnscope.api import machine
from knnscope.errors import MissingLibraryError, require
from knnscope.search import catalog, engines
from knnscope.search.catalog import Entry

ENGINE = """
from knnscope.records import Capabilities

class Engine:
    capabilities = Capabilities(frozenset({"l2"}), frozenset({"float32"}))
    def formula(self, metric, dtype, queries, dim): ...
    def build(self, vectors, metric): ...
"""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Writes a new engine's file, as if it lay in this package, and gives its entry."""
    folder = tmp_path / "knnscope"
    folder.mkdir()
    monkeypatch.setattr(engines, "__path__", [*engines.__path__, str(folder)])
    monkeypatch.setattr("knnscope.errors.PACKAGE", folder)
    # a file of the same length, written within the same second, would be taken for the one before
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    importlib.invalidate_caches()

    def write(text: str, cls: str = "Engine", *, late: bool = False) -> Entry:
        (folder / "brandnew.py").write_text(text)
        sys.modules.pop("knnscope.search.engines.brandnew", None)
        return Entry(f"knnscope.search.engines.brandnew:{cls}", "numpy", None, "new", late=late)

    yield write
    sys.modules.pop("knnscope.search.engines.brandnew", None)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("first", "error", "message"),
    [
        ("from knnscope.recordz import Capabilities", ModuleNotFoundError, "knnscope.recordz"),
        ("from knnscope.records import Capabilites", ImportError, "Capabilites"),
        ("from knnscope.search import definition; definition.METRIX", AttributeError, "METRIX"),
        ("class Engine(", SyntaxError, "was never closed"),
        ("misspelt", NameError, "misspelt"),
    ],
)
def test_a_mistake_in_an_engine_is_raised_as_itself(
    written, first: str, error: type[Exception], message: str, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = written(f"{first}\n{ENGINE}", late=late)
    with pytest.raises(error, match=message) as caught:
        catalog.load_entry(entry)
    assert not isinstance(caught.value, MissingLibraryError)
    monkeypatch.setitem(catalog.ENGINES, "new", entry)
    with pytest.raises(error, match=message):
        catalog.available()  # what the contracts are collected by
    with pytest.raises(error, match=message):
        machine.info()


def test_a_wrong_path_is_raised_as_itself() -> None:
    with pytest.raises(ModuleNotFoundError, match="numppy"):
        catalog.load_entry(Entry("knnscope.search.engines.numppy:NumpyEngine", "numpy", None, "new"))


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ("import no_such_library", "^no_such_library is not installed: "),
        ("import numpy; numpy.no_such_function", r"^numpy is installed but does not load \(.*no_such_function"),
        ("from numpy import no_such_function", r"^numpy is installed but does not load \(.*no_such_function"),
        ("raise RuntimeError('CUDA is too old')", r"^numpy is installed but does not load \(CUDA is too old\)"),
    ],
)
def test_what_a_library_lacks_is_still_told(written, first: str, message: str) -> None:
    with pytest.raises(MissingLibraryError, match=message):
        catalog.load_entry(written(f"{first}\n{ENGINE}"))


@pytest.mark.parametrize("name", [name for name, entry in catalog.ENGINES.items() if entry.slow])
def test_a_slow_library_is_looked_for_and_not_loaded(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library = catalog.ENGINES[name].library
    monkeypatch.setitem(sys.modules, library, None)
    assert str(catalog.problem(name, loading=False)).startswith(f"{library} is not installed: ")
    assert (
        catalog.problem(name, loading=False)
        == catalog.problem(name)
        == machine.info().facts["engines"][name]["problem"]
    )
    monkeypatch.delitem(sys.modules, library)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"{library}.py").write_text("raise RuntimeError('loaded')")
    assert catalog.problem(name, loading=False) is None
    assert machine.info().facts["engines"][name]["state"] == "installed"
    assert library not in sys.modules
    assert "loaded" in str(catalog.problem(name))


def test_a_librarys_own_mistakes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name, text, message in (
        ("odd_syntax", "class X(", "odd_syntax is installed but does not load"),
        ("odd_name", "undefined", "odd_name is installed but does not load .*'undefined'"),
    ):
        (tmp_path / f"{name}.py").write_text(text)
        with pytest.raises(MissingLibraryError, match=message):
            require(name)


def test_a_wrong_class_and_a_class_that_is_no_engine_are_said(written) -> None:
    assert catalog.load_entry(written(ENGINE))
    with pytest.raises(TypeError, match=r"^knnscope\.search\.engines\.brandnew:Enigne.* no class 'Enigne'$"):
        catalog.load_entry(written(ENGINE, "Enigne"))
    for part in ("capabilities", "formula", "build"):
        with pytest.raises(TypeError, match=rf"brandnew:Engine is no engine: it has no {part} \("):
            catalog.load_entry(written(ENGINE.replace(part, f"other_{part}", 1)))


@pytest.mark.parametrize("name", catalog.ENGINES)
def test_the_class_of_every_engine_is_there(name: str) -> None:
    """Also of those whose library or GPU is not here, which nothing can load."""
    module, _, cls = catalog.ENGINES[name].path.partition(":")
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).is_relative_to(Path(knnscope.__file__).parent)
    tree = ast.parse(Path(spec.origin).read_text("utf-8"))
    assert cls in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
