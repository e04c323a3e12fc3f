"""Runs a notebook in this process and keeps what its cells show, where there is no Jupyter."""

from __future__ import annotations

import ast
import base64
import io
import time
import traceback
from contextlib import redirect_stdout
from typing import Any


def run(made: dict[str, Any]) -> str | None:
    """Fill in the outputs, cell after cell.

    Returns:
        What went wrong, and where, or None; the cells after it have not run.
    """
    space: dict[str, Any] = {"__name__": "__main__"}
    codes = [cell for cell in made["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(codes, 1):
        started, printed = time.perf_counter(), io.StringIO()
        failed, value = None, None
        try:
            with redirect_stdout(printed):
                value = _value("".join(cell["source"]), f"<cell {number}>", space)
        except Exception as error:
            failed = _error(error)
        cell["execution_count"] = number
        cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": _lines(printed.getvalue())}]
        cell["outputs"] = cell["outputs"] if printed.getvalue() else []
        cell["metadata"]["seconds"] = round(time.perf_counter() - started, 2)
        if failed is not None:
            cell["outputs"].append(failed)
            return f"cell {number}: {failed['ename']}: {failed['evalue']}"
        if value is not None:
            shown = {"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": _data(value)}
            cell["outputs"].append(shown)
    return None


def _value(code: str, name: str, space: dict[str, Any]) -> Any:
    """Run it; the value of the last line where that is an expression."""
    tree = ast.parse(code, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), space)  # noqa: S102 - the notebook is ours
    if not isinstance(last, ast.Expr):
        return None
    return eval(compile(ast.Expression(last.value), name, "eval"), space)  # noqa: S307


def _data(value: Any) -> dict[str, Any]:
    """By type, as Jupyter does it."""
    data: dict[str, Any] = {"text/plain": _lines(repr(value))}
    if hasattr(value, "_repr_html_"):
        data["text/html"] = _lines(value._repr_html_())
    if hasattr(value, "_repr_png_"):
        data["image/png"] = base64.b64encode(value._repr_png_()).decode("ascii")
    return data


def _error(error: Exception) -> dict[str, Any]:
    told = traceback.format_exception(error)
    return {"output_type": "error", "ename": type(error).__name__, "evalue": str(error), "traceback": told}


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)
