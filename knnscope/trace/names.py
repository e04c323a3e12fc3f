"""The names in a trace, each with a number. How many there are, and how long, is bounded: a trace is not trusted."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from knnscope.trace.database import Tables
from knnscope.trace.windows import fold

NAME = 512
"""Characters of a name that are kept; templates of C++ run to thousands."""
NAMES = 1 << 18
"""Names at most; a trace has hundreds."""
TEXT = 1 << 25
"""Characters of all names together."""


class Names:
    """Numbers of names, given as the names are met; ``strings`` are the trace's own texts by id.

    spellings: for the number of a name that was cut, the names as the trace has them.
    """

    def __init__(self, tables: Tables, notes: list[str]) -> None:
        """Read the strings; where there are too many, ``notes`` gets a line that says so."""
        self.numbers: dict[str, int] = {}
        self.spellings: dict[int, set[str]] = {}
        self.strings = _strings(tables, notes)
        self._room = TEXT

    def number(self, name: str) -> int:
        """Of this name; where there are too many already, of what it has in common with others."""
        if name not in self.numbers:
            self._room -= len(name)
            if self._room < 0 or len(self.numbers) >= NAMES:
                name = fold(name)  # iterations, mostly
                if name not in self.numbers and (self._room < -TEXT or len(self.numbers) >= 2 * NAMES):
                    name = "one of too many names"
        return self.numbers.setdefault(name, len(self.numbers))

    def of_strings(self, ids: Any, unknown: str, cut: re.Pattern[str] | None = None) -> Any:
        """Numbers of names, int32, for ids of strings; ``cut`` is taken off the names."""
        different, places = np.unique(ids, return_inverse=True)
        names = [self.strings.get(int(i)) or unknown for i in different]
        numbers = [self.number(cut.sub("", name) if cut else name) for name in names]
        if cut:
            for number, name in zip(numbers, names, strict=True):
                self.spellings.setdefault(number, set()).add(name)
        return np.asarray(numbers, dtype=np.int32)[places]

    def repeated(self, name: str, count: int) -> Any:
        """The number of one name, so many times, int32."""
        return np.full(count, self.number(name) if count else 0, dtype=np.int32)

    def text(self, label: str | None, label_id: Any) -> str | None:
        """A label that stands in the row itself, else the string of its id; None where there is neither."""
        if label is not None:
            return label
        return self.strings.get(label_id) if type(label_id) is int else None


def _strings(tables: Tables, notes: list[str]) -> dict[int, str]:
    """By id, as many as fit."""
    strings: dict[int, str] = {}
    if not {"id", "value"} <= tables.columns.get("StringIds", frozenset()):
        return strings
    room = TEXT
    for chunk in tables.rows("StringIds", f"id, CASE typeof(value) WHEN 'text' THEN substr(value, 1, {NAME}) END"):
        for number, text in chunk:
            if isinstance(number, int) and isinstance(text, str):
                room -= len(text)
                if room < 0 or len(strings) >= NAMES:
                    notes.append(f"StringIds: only the first {len(strings):,} names are read")
                    return strings
                strings[number] = text
    return strings
