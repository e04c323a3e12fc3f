"""The text of a function, as Python read it."""

from __future__ import annotations

import ast
import builtins
import linecache
from collections.abc import Callable
from functools import cache
from typing import Any

from knnscope.certified.cpu import code_cache
from knnscope.errors import KnnscopeError


@cache
def _tree(text: str) -> dict[int, ast.FunctionDef]:
    """Functions of a file by their first lines."""
    tree = ast.parse(text)
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return {min([node.lineno, *(one.lineno for one in node.decorator_list)]): node for node in found}


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
    return {name: own.get(name, getattr(builtins, name, None)) for name in _used(definition(function))}


@cache
def assigned(node: ast.FunctionDef) -> frozenset[str]:
    """Names that a function gives a value to, beside its arguments'."""
    return frozenset(one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store))


@cache
def _used(node: ast.FunctionDef) -> frozenset[str]:
    found = [one for one in ast.walk(node) if isinstance(one, ast.Name)]
    own = assigned(node) | {one.arg for one in node.args.args}
    return frozenset(one.id for one in found) - own
