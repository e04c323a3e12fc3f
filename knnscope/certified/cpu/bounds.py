"""The formulas of ../bound.py, compiled: made of the same functions, so that both give the same bits."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from knnscope.certified import bound
from knnscope.certified.bound import SLACK, TINY, WIDEN, U
from knnscope.certified.cpu.jit import compiled

__all__ = [
    "SLACK", "TINY", "WIDEN", "U", "coefficient", "down", "error", "form", "limit", "longest2", "lower", "most", "reach", "row_term",
    "squares", "up", "upper",
]  # fmt: skip

_made: dict[str, Any] = {}


def form(formula: Callable[..., Any]) -> Any:
    """The compiled form of a formula, which calls the compiled forms made before it."""
    name = formula.__name__
    own = types.FunctionType(formula.__code__, {**formula.__globals__, **_made}, name)
    _made[name] = compiled(inline=True)(own)
    return _made[name]


up, down = form(bound.up), form(bound.down)
error, row_term = form(bound.error), form(bound.row_term)
reach, coefficient, limit = form(bound.reach), form(bound.coefficient), form(bound.limit)
longest2 = form(bound.longest2)
squares, most = form(bound.squares), form(bound.most)
lower, upper = form(bound.lower), form(bound.upper)
