"""Cells of a source in the percent format, and the notebook they make."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[1] / "examples" / "from_seconds_to_microseconds.py"
TARGET = SOURCE.with_suffix(".ipynb")


def cells(text: str) -> list[dict[str, Any]]:
    """``# %%`` begins a cell of code, ``# %% [markdown]`` one of text, whose lines are comments."""
    made: list[dict[str, Any]] = []
    for number, part in enumerate(("\n" + text).split("\n# %%")[1:]):
        head, _, body = part.partition("\n")
        body = body.strip("\n")
        cell_id = hashlib.sha256(f"{number}\n{body}".encode()).hexdigest()[:8]
        if head.strip() == "[markdown]":
            lines = [line[2:] if line.startswith("# ") else line[1:] for line in body.split("\n")]
            made.append({"cell_type": "markdown", "id": cell_id, "metadata": {}, "source": _kept("\n".join(lines))})
        else:
            code = {"cell_type": "code", "id": cell_id, "metadata": {}, "source": _kept(body)}
            made.append({**code, "execution_count": None, "outputs": []})
    return made


def notebook(source: Path = SOURCE) -> dict[str, Any]:
    """Of nbformat 4.5, without outputs."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {
        "cells": cells(source.read_text("utf-8")),
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def sources(made: dict[str, Any]) -> list[tuple[str, str]]:
    """What the cells say, without what came of them."""
    return [(cell["cell_type"], "".join(cell["source"])) for cell in made["cells"]]


def _kept(text: str) -> list[str]:
    return text.splitlines(keepends=True)
