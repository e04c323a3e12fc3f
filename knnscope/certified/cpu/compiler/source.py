"""The text of a function, as Python read it."""

from __future__ import annotations

import ast
import builtins
import linecache
import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from knnscope.certified.cpu import code_cache
from knnscope.errors import KnnscopeError


@cache
def _tree(text: str) -> dict[int, ast.FunctionDef]:
    """Functions of a file by their first lines."""
    found = _functions(ast.parse(text).body)
    return {min([node.lineno, *(one.lineno for one in node.decorator_list)]): node for node in found}


def _functions(statements: list[ast.stmt]) -> Iterator[ast.FunctionDef]:
    for statement in statements:
        if isinstance(statement, ast.FunctionDef):
            yield statement
        yield from _functions(getattr(statement, "body", []))
        yield from _functions(getattr(statement, "orelse", []))


def definition(function: Callable[..., Any]) -> ast.FunctionDef:
    """Its syntax.

    Raises:
        KnnscopeError: there is no text, as where only Python's own compiled files were installed.
    """
    code = function.__code__
    kept = code_cache.SOURCES.get(code.co_filename)  # as they were when all was imported: an update may have come since
    text = kept.decode() if kept else "".join(linecache.getlines(code.co_filename, function.__globals__))
    node = _tree(text).get(code.co_firstlineno)
    if node is None or node.name != code.co_name:
        raise KnnscopeError(f"{code.co_filename} cannot be read: certified search is compiled from its text")
    return node


def names(function: Callable[..., Any]) -> dict[str, Any]:
    """What its free names stand for."""
    code, cells = function.__code__, function.__closure__ or ()
    outer = dict(zip(code.co_freevars, (cell.cell_contents for cell in cells), strict=True))
    own = {**function.__globals__, **outer}
    reads = _reads(definition(function))
    return {name: own.get(name, getattr(builtins, name, None)) for name in reads.places.keys() - reads.times.keys()}


@cache
def fixed(node: ast.FunctionDef) -> frozenset[str]:
    """Names that get a value at one place, which whoever reads them has come from: registers hold them, no memory."""
    found = _reads(node)
    return frozenset(
        name
        for name, times in found.times.items()
        if times == 1 and all(found.reach[name][0] <= at < found.reach[name][1] for at in found.places.get(name, ()))
    )


@cache
def _reads(node: ast.FunctionDef) -> _Reads:
    found = _Reads()
    for argument in node.args.args:
        found.visit(argument)
    found.block(node.body)
    return found


class _Reads(ast.NodeVisitor):
    """Where names of a function are read, counted in the order of its text, and where what is given to them reaches."""

    def __init__(self) -> None:
        self.times: dict[str, int] = {}
        """How often each is given a value."""
        self.reach: dict[str, tuple[int, int]] = {}
        self.places: dict[str, list[int]] = {}
        self._count = 0

    def visit_arg(self, node: ast.arg) -> None:
        """An argument: it reaches everything."""
        self.times[node.arg], self.reach[node.arg] = 1, (0, sys.maxsize)

    def visit_Name(self, node: ast.Name) -> None:
        """Read, or given a value, for nobody as long as nothing else is said."""
        if isinstance(node.ctx, ast.Load):
            self.places.setdefault(node.id, []).append(self._count)
            self._count += 1
        else:
            self.times[node.id] = self.times.get(node.id, 0) + 1
            self.reach.setdefault(node.id, (0, 0))

    def visit_For(self, node: ast.For) -> None:
        """What the loop runs over reaches its body."""
        self.visit(node.iter)
        self.visit(node.target)
        begin = self._count
        self.block(node.body)
        self._reaches(node.target, begin)

    def generic_visit(self, node: ast.AST) -> None:
        """All parts, statements as ``block``."""
        for _, part in ast.iter_fields(node):
            if isinstance(part, list) and part and isinstance(part[0], ast.stmt):
                self.block(part)
            else:
                for one in part if isinstance(part, list) else [part]:
                    if isinstance(one, ast.AST):
                        self.visit(one)

    def block(self, statements: list[ast.stmt]) -> None:
        """What a statement gives reaches those that follow it here."""
        begun = []
        for statement in statements:
            self.visit(statement)
            if isinstance(statement, ast.Assign):
                begun += [(target, self._count) for target in statement.targets]
        for target, begin in begun:
            self._reaches(target, begin)

    def _reaches(self, target: ast.expr, begin: int) -> None:
        if isinstance(target, ast.Name):
            self.reach[target.id] = begin, self._count
        elif isinstance(target, ast.Tuple):
            for one in target.elts:
                self._reaches(one, begin)
