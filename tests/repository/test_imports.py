"""Optional libraries are imported where their absence can be said: only in modules that ``errors.require`` loads.

Which these are follows from the code: the engines' modules, as the catalogue names them, every module of this package that is
given to ``require`` by name, and what only such modules import. So a new engine needs no line in a list of exceptions.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from knnscope.search import catalog

ROOT = Path(__file__).resolve().parents[2]
ALWAYS = {"knnscope", "msgspec", "llvmlite", "numpy", "tqdm", *sys.stdlib_module_names}
"""What is there wherever this package is."""
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path.read_text("utf-8")
    for path in (ROOT / "knnscope").rglob("*.py")
}


def imported(tree: ast.AST) -> Iterator[str]:
    """Everything that is imported anywhere in it, as "module" and, of ``from module import name``, "module.name" as well."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name their module whole"
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def required(tree: ast.AST) -> Iterator[str]:
    """Modules of this package that are given to ``require``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require" and node.args:
            name = getattr(node.args[0], "value", "")
            if isinstance(name, str) and name.startswith("knnscope."):
                yield name


@cache
def said(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """What a module imports, and what it requires."""
    tree = ast.parse(text)
    return frozenset(imported(tree)), frozenset(required(tree))


def mistakes(sources: dict[str, str]) -> list[str]:
    """Imports that fail where an optional library is missing, and are not behind ``require``."""
    every = {name: said(text)[0] for name, text in sources.items()}
    behind = {entry.path.partition(":")[0] for entry in catalog.ENGINES.values() if not entry.late}
    behind = behind.union(*(said(text)[1] for text in sources.values()))
    users = {name: {user for user, used in every.items() if name in used} for name in sources}
    while more := {n for n, by in users.items() if by and by <= behind and n not in behind}:
        behind |= more  # only what is behind imports these
    found = []
    for name, used in every.items():
        optional = outside(used)
        if name not in behind:
            found += [f"{name} imports {library}, which may be missing: use errors.require" for library in optional]
            loaded = {module for module in used & behind if outside(every[module])}
            found += [f"{name} imports {module}, whose library may be missing: use errors.require" for module in loaded]
    return sorted(found)


def outside(used: frozenset[str]) -> set[str]:
    """Libraries that may be missing."""
    return {module.partition(".")[0] for module in used} - ALWAYS


def test_what_is_always_there_is_what_is_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {line.partition(">")[0] for line in declared} | {"knnscope"} == ALWAYS - sys.stdlib_module_names


def test_an_optional_library_is_imported_behind_require_only() -> None:
    assert mistakes(SOURCES) == []


@pytest.mark.parametrize(
    ("module", "line", "message"),
    [
        ("knnscope.search.grading", "import faiss", "knnscope.search.grading imports faiss"),
        ("knnscope.search.grading", "def f():\n    from sklearn.neighbors import X", "imports sklearn"),
        ("knnscope.search.engines.faiss_tuned", "import faiss", "imports faiss"),  # it is late: loaded when it builds
        ("knnscope.datasets.numpy_files", "import brandnew.part as b", "imports brandnew"),
        ("knnscope.api.machine", "from knnscope.search.engines import torch", "imports knnscope.search.engines.torch"),
        ("knnscope.report.html", "import knnscope.report.timeline", "imports knnscope.report.timeline"),
        ("knnscope.cli.info", "from knnscope.profile.cupti import Recorder", "imports knnscope.profile.cupti"),
    ],
)
def test_an_import_that_may_fail_is_found(module: str, line: str, message: str) -> None:
    (found,) = mistakes({**SOURCES, module: f"{SOURCES[module]}\n{line}\n"})
    assert message in found


def test_an_engines_own_module_may_import_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = {**SOURCES, "knnscope.search.engines.new": "import brandnew"}
    assert mistakes(sources) == [
        "knnscope.search.engines.new imports brandnew, which may be missing: use errors.require"
    ]
    entry = catalog.Entry("knnscope.search.engines.new:New", "brandnew", None, "new")
    monkeypatch.setitem(catalog.ENGINES, "new", entry)
    assert mistakes(sources) == []
