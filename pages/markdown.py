"""Texts of the code as Markdown: nothing in them is taken for markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def words(text: str) -> str:
    """Prose on one line; ``code`` as docstrings have it becomes code, and so does the name of an option."""
    parts = re.split(r"``(.+?)``|(?<![\w`-])(--[a-z][a-z-]*)", " ".join(text.split()))
    parts = [part for part in parts if part is not None]
    return "".join(code(part) if i % 2 else re.sub(r"([\\*_<\[\]`])", r"\\\1", part) for i, part in enumerate(parts))


def code(text: str) -> str:
    """A piece of code within a line."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a bar in a cell stays a bar."""
    lines = [head, ["---"] * len(head), *rows]
    whole = [[re.sub(r"(?<!\\)\|", r"\|", cell) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in whole)
