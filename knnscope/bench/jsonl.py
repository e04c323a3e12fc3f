"""Result rows as lines of JSON, each held to a schema that is shipped beside this."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import fastjsonschema

from knnscope.errors import KnnscopeError
from knnscope.records import Row
from knnscope.store import whole_file


@cache
def _checker(schema: str) -> Callable[[Any], Any]:
    text = resources.files("knnscope.bench").joinpath(schema).read_text("utf-8")
    check: Callable[[Any], Any] = fastjsonschema.compile(json.loads(text))
    return check


def check(row: Row, schema: str) -> Row:
    """The row itself, if it is as the schema says and every number is finite.

    Raises:
        KnnscopeError: names the field.
    """
    try:
        _checker(schema)(row)
        json.dumps(row, allow_nan=False)  # NaN is a number to a schema, and above no maximum
    except ValueError as error:
        raise KnnscopeError(f"a result row is not as {schema} says: {error}") from error
    return row


def write(path: Path, rows: Iterable[Row], schema: str) -> None:
    """All rows, a JSON object a line, each checked first; whole or not at all."""
    written = [json.dumps(check(row, schema), allow_nan=False) + "\n" for row in rows]
    with whole_file(path, "w") as file:
        file.writelines(written)


def read(path: Path, schema: str, command: str) -> list[Row]:
    """Rows of a run.

    Args:
        path: the file.
        schema: what they have to be like.
        command: what writes such files.

    Raises:
        KnnscopeError: a line that is no row; names it.
    """
    found = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                found.append(check(json.loads(line), schema))
            except (ValueError, KnnscopeError) as error:
                raise KnnscopeError(f"{path}:{number}: not a result row ({error}): run {command} again") from error
    return found
