"""The formulas of ../bound.py, compiled: made of the same functions, so that both give the same bits."""

from __future__ import annotations

import types
from typing import Any

from knnscope.certified import bound
from knnscope.certified.bound import SLACK, TINY, WIDEN, U
from knnscope.certified.cpu.jit import compiled

__all__ = [
    "SLACK", "TINY", "WIDEN", "U", "coefficient", "down", "error", "limit", "lower", "most", "reach", "row_term",
    "squares", "up", "upper",
]  # fmt: skip

_made: dict[str, Any] = {}


def _form(name: str) -> Any:
    """The compiled form of a formula, which calls the compiled forms made before it."""
    formula = getattr(bound, name)
    own = types.FunctionType(formula.__code__, {**formula.__globals__, **_made}, name)
    _made[name] = compiled(inline="always")(own)
    return _made[name]


up, down = _form("up"), _form("down")
error, row_term = _form("error"), _form("row_term")
reach, coefficient, limit = _form("reach"), _form("coefficient"), _form("limit")
squares, most = _form("squares"), _form("most")
lower, upper = _form("lower"), _form("upper")
