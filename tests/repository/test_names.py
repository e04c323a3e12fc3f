"""What is imported by name from this repository is there: also in files that run only where there is a GPU."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("knnscope", "tests", "benchmarks", "notebooks", "pages")


def file_of(module: str) -> Path | None:
    """Its source; None where it is not of this repository, or not there."""
    path = ROOT.joinpath(*module.split("."))
    found = [one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file()]
    return found[0] if found else None


@cache
def bound(path: Path) -> frozenset[str]:
    """Names that a module binds anywhere outside of functions and classes, by whatever statement."""
    names: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text("utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            names.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        waiting.extend(ast.iter_child_nodes(node))
    return frozenset(names)


def statements(text: str) -> Iterator[ast.AST]:
    """Of a module, however deep: expressions, which are most of its nodes, import nothing."""
    waiting: list[ast.AST] = [ast.parse(text)]
    while waiting:
        node = waiting.pop()
        yield node
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting.extend(getattr(node, part, ()))


def missing(text: str) -> Iterator[str]:
    """Names that a module imports from this repository, and that are not there."""
    for node in statements(text):
        if not isinstance(node, ast.ImportFrom) or not node.module or node.module.partition(".")[0] not in FOLDERS:
            continue
        path = file_of(node.module)
        if path is None:
            if not ROOT.joinpath(*node.module.split(".")).is_dir():
                yield node.module
            continue
        lazy = "__getattr__" in bound(path)
        for alias in node.names:
            there = alias.name in bound(path) or file_of(f"{node.module}.{alias.name}") is not None
            if not there and not (lazy and f'"{alias.name}"' in path.read_text("utf-8")):
                yield f"{node.module}.{alias.name}"


def test_every_name_that_is_imported_is_there() -> None:
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    assert len(paths) > 500
    found = {str(path.relative_to(ROOT)): list(missing(path.read_text("utf-8"))) for path in paths}
    assert {path: names for path, names in found.items() if names} == {}


def test_imports_are_found_however_deep() -> None:
    """As many as a walk of all nodes finds."""
    everywhere = "def f():\n for x in y:\n  try:\n   import a\n  except E:\n   from b import c\n  else:\n   import d\n  finally:\n   import e\n"
    match = "match x:\n case 1:\n  from f import g\n case _:\n  with y: import h\nclass C:\n if x: import i\n else: import j\n"
    for text in (everywhere, match, Path(__file__).read_text("utf-8")):
        of, every = (
            [type(n) for n in some if isinstance(n, ast.Import | ast.ImportFrom)]
            for some in (statements(text), ast.walk(ast.parse(text)))
        )
        assert len(of) == len(every) > 0


def test_a_name_that_has_moved_is_missed() -> None:
    text = "from knnscope.certified.cuda.living import LISTS\nfrom knnscope.certified.cuda.merge import LISTS\n"
    assert list(missing(text)) == ["knnscope.certified.cuda.living.LISTS"]
    assert list(missing("from knnscope.nowhere import x\nfrom numpy import nothing\n")) == ["knnscope.nowhere"]
    assert list(missing("from knnscope import ExactIndex\nfrom knnscope.kernels import sources\n")) == []
