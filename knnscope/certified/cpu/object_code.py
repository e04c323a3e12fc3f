"""Units of machine code: as they lie on disk, and loaded, after those that they call."""

from __future__ import annotations

import json
from typing import NamedTuple

from knnscope.certified.cpu import code_cache, loader


class ObjectCode(NamedTuple):
    """A unit: its file, the name of its function, what that gives (a key of ``jit.GIVEN``), whether it may find no memory, files of those it calls."""

    file: str
    symbol: str
    gives: str
    fails: bool
    needs: tuple[str, ...]
    code: bytes

    def body(self) -> bytes:
        """As it is kept."""
        return json.dumps(self[1:5]).encode() + b"\0" + self.code


loaded: dict[str, ObjectCode] = {}
"""By file, without code."""


def kept(file: str, head: bytes | None = None) -> ObjectCode | None:
    """A unit from disk, loaded, and all that it calls; None where something is not there.

    Args:
        file: its name.
        head: of what it has to be; that of whatever the file's name says, where another unit calls it.
    """
    if file in loaded:
        return loaded[file]
    body = code_cache.read_kept(file, head)
    if body is None:
        return None
    facts, found, code = body.partition(b"\0")
    try:
        symbol, gives, fails, needs = json.loads(facts)
        one = ObjectCode(file, symbol, gives, fails, tuple(needs), code)
    except ValueError:
        return None
    if not found or any(kept(name) is None for name in one.needs):
        return None
    load(one)
    return one


def load(one: ObjectCode) -> None:
    """Make a unit's functions known in this process; what it calls is."""
    if not loader.load(one.code):
        from knnscope.certified.cpu.compiler import machine

        machine.load(one.code, loader.addresses, one.symbol)
    loaded[one.file] = one._replace(code=b"")
