"""docs/reference/functions.md: every public name with its arguments and methods, from signatures and docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import knnscope
from pages.markdown import code, table, words

EXAMPLES = Path(__file__).resolve().parents[1] / "docs" / "python.md"
HEAD = """# Every public name

Written by `python -m pages` from the docstrings; a test fails when it is stale. [From Python](../python.md) has an example of each.

Arrays are NumPy arrays, or anything that gives one by `__array__` or DLPack. Whatever a caller can mend is raised as `KnnscopeError`, whose text is one line.
"""
PARTS = ("Args", "Attributes", "Returns", "Raises", "Yields")
TITLES = {"Args": "argument", "Attributes": "attribute"}


class Doc(NamedTuple):
    """A docstring taken apart: its paragraphs, and its parts by name."""

    prose: list[str]
    parts: dict[str, str]


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *("\n\n".join(described(name)) + "\n" for name in ordered())])


def ordered() -> list[str]:
    """Public names in the order in which the page of examples treats their modules; a function before what it returns."""
    headings = re.findall(r"`(\w+)`", "\n".join(re.findall(r"^## .*", EXAMPLES.read_text("utf-8"), re.M)))
    modules = [knnscope.PUBLIC[name].partition(":")[0] for name in headings if name in knnscope.PUBLIC]
    order = {module: number for number, module in reversed(list(enumerate(modules)))}

    def place(name: str) -> tuple[int, bool, str]:
        return order.get(knnscope.PUBLIC[name].partition(":")[0], len(modules)), name[0].isupper(), name

    return sorted(knnscope.PUBLIC, key=place)


def described(name: str) -> Iterator[str]:
    """One public name: signature, what it is, arguments, then its methods and properties."""
    found = getattr(knnscope, name)
    yield f"## {name}"
    if not hasattr(found, "load"):  # a result is made by a function
        yield signature(f"knnscope.{name}", found)
    yield from told(name, found)
    if isinstance(found, type):
        made = vars(found).get("__init__")
        if made is not None and made.__doc__:
            yield from told(f"{name}.__init__", made)
        yield from members(name, found)


def members(name: str, cls: type) -> Iterator[str]:
    """What a class offers, its own and what it inherits from this package."""
    owners = [owner for owner in reversed(cls.__mro__) if owner.__module__.startswith("knnscope")]
    every = {key: value for owner in owners for key, value in vars(owner).items() if not key.startswith("_")}
    properties = [
        [code(key), words(" ".join(taken_apart(f"{name}.{key}", value).prose))]
        for key, value in every.items()
        if isinstance(value, (property, cached_property))
    ]
    if properties:
        yield table(["property", "what it is"], properties)
    for key, value in every.items():
        if inspect.isfunction(value) or isinstance(value, (classmethod, staticmethod)):
            yield f"### {name}.{key}"
            yield signature(f"{name}.{key}", getattr(cls, key), bound=inspect.isfunction(value))
            yield from told(f"{name}.{key}", value)


def signature(name: str, found: Any, bound: bool = False) -> str:
    """How it is called, without types, which the table of arguments has."""
    try:
        parameters = list(inspect.signature(found).parameters.values())[bound:]
    except ValueError:  # an exception has none
        return code(name)
    shown = [str(p.replace(annotation=p.empty)) for p in parameters]
    return code(f"{name}({', '.join(shown)})")


def told(name: str, found: Any) -> Iterator[str]:
    """Its docstring: paragraphs, then a table for each part that lists names."""
    prose, parts = taken_apart(name, found)
    yield from map(words, prose)
    types = annotations(found)
    for part, text in parts.items():
        if part == "Returns":
            yield f"Returns: {words(text)}"
            continue
        entries = [(entry, words(said)) for entry, said in listed(text)]
        if part in ("Args", "Attributes"):
            rows = [[code(entry), typed(types.get(entry.lstrip("*"))), said] for entry, said in entries]
            yield table([TITLES[part], "type", "what it is"], rows)
        else:
            yield from (f"{part} `{entry}`: {said}" for entry, said in entries)


def typed(annotation: str | None) -> str:
    """A type, where there is one that says something."""
    return code(annotation) if annotation and annotation != "Any" else ""


def taken_apart(name: str, found: Any) -> Doc:
    """The docstring in its parts.

    Raises:
        ValueError: there is none.
    """
    text = inspect.getdoc(found) or ""
    if not text.strip():
        raise ValueError(f"{name} has no docstring")
    pieces = re.split(rf"^({'|'.join(PARTS)}):\n", text, flags=re.M)
    prose = [part for part in re.split(r"\n\s*\n", pieces[0].strip()) if part]
    return Doc(prose, dict(zip(pieces[1::2], pieces[2::2], strict=True)))


def listed(text: str) -> Iterator[tuple[str, str]]:
    """Entries of a part: a name, and what is said of it over one line or several."""
    for entry in re.split(r"^ {4}(?=\S)", text, flags=re.M)[1:]:
        name, _, said = entry.partition(":")
        yield name.strip(), said


def annotations(found: Any) -> dict[str, str]:
    """Types by argument, as the source has them."""
    try:
        parameters = inspect.signature(getattr(found, "__func__", found)).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {p.name: str(p.annotation).strip("'\"") for p in parameters if p.annotation is not p.empty}
