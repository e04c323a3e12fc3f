"""What is imported by name from this repository is there: also in files that run only where there is a GPU."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("knnscope", "tests", "benchmarks", "notebooks", "pages")


def file_of(module: str) -> Path | None:
    """Its source; None where it is not of this repository, or not there."""
    path = ROOT.joinpath(*module.split("."))
    found = [one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file()]
    return found[0] if found else None


def bound(tree: ast.Module) -> frozenset[str]:
    """Names that a module binds anywhere outside of functions and classes, by whatever statement."""
    names: set[str] = set()
    waiting: list[ast.AST] = [tree]
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


def statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Of a module, however deep: expressions, which are most of its nodes, import nothing."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting.extend(getattr(node, part, ()))


class Module(NamedTuple):
    """What it binds, and what it imports by name from this repository: a module and its names."""

    bound: frozenset[str]
    imports: tuple[tuple[str, tuple[str, ...]], ...]


def understood(text: str) -> Module:
    """Parsed once for both."""
    tree = ast.parse(text)
    found = (node for node in statements(tree) if isinstance(node, ast.ImportFrom))
    own = (node for node in found if node.module and node.module.partition(".")[0] in FOLDERS)
    return Module(bound(tree), tuple((str(node.module), tuple(one.name for one in node.names)) for node in own))


@cache
def of_file(path: Path) -> Module:
    """A file of this repository."""
    return understood(path.read_text("utf-8"))


def missing(module: Module) -> Iterator[str]:
    """Names that a module imports from this repository, and that are not there."""
    for name, parts in module.imports:
        path = file_of(name)
        if path is None:
            if not ROOT.joinpath(*name.split(".")).is_dir():
                yield name
            continue
        there = of_file(path).bound
        for part in parts:
            lazy = "__getattr__" in there and f'"{part}"' in path.read_text("utf-8")
            if not (part in there or file_of(f"{name}.{part}") is not None or lazy):
                yield f"{name}.{part}"


def test_every_name_that_is_imported_is_there() -> None:
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    assert len(paths) > 500
    found = {str(path.relative_to(ROOT)): list(missing(of_file(path))) for path in paths}
    assert {path: names for path, names in found.items() if names} == {}


def test_imports_are_found_however_deep() -> None:
    """As many as a walk of all nodes finds."""
    everywhere = "def f():\n for x in y:\n  try:\n   import a\n  except E:\n   from b import c\n  else:\n   import d\n  finally:\n   import e\n"
    match = "match x:\n case 1:\n  from f import g\n case _:\n  with y: import h\nclass C:\n if x: import i\n else: import j\n"
    for text in (everywhere, match, Path(__file__).read_text("utf-8")):
        of, every = (
            [type(n) for n in some if isinstance(n, ast.Import | ast.ImportFrom)]
            for some in (statements(ast.parse(text)), ast.walk(ast.parse(text)))
        )
        assert len(of) == len(every) > 0


def test_a_name_that_has_moved_is_missed() -> None:
    text = "from knnscope.certified.cuda.living import LISTS\nfrom knnscope.certified.cuda.merge import LISTS\n"
    assert list(missing(understood(text))) == ["knnscope.certified.cuda.living.LISTS"]
    assert list(missing(understood("from knnscope.nowhere import x\nfrom numpy import nothing\n"))) == [
        "knnscope.nowhere"
    ]
    assert list(missing(understood("from knnscope import ExactIndex\nfrom knnscope.kernels import sources\n"))) == []
