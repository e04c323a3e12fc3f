"""What may be kept beside the rows: as much as is quick, little, or so many bytes."""

from __future__ import annotations

import re
from typing import Any

from knnscope.errors import KnnscopeError

NAMES = ("fast", "small")
UNITS = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
SIZE = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?) ?([A-Za-z]{0,3})", re.ASCII)
MOST = 1 << 62


def as_memory(given: Any) -> str:
    """fast, small, or a number of bytes, in digits.

    Args:
        given: one of these, a whole number, or a size such as "8GiB" or "500 MB".

    Raises:
        KnnscopeError: it is none.
    """
    if isinstance(given, str) and given in NAMES:
        return given
    found = None
    if isinstance(given, str) and (parts := SIZE.fullmatch(given.strip())) and parts[2].upper() in ("", *UNITS):
        found = (
            int(float(parts[1]) * UNITS[parts[2].upper() or "B"])
            if "." in parts[1]
            else int(parts[1]) * UNITS[parts[2].upper() or "B"]
        )
    elif isinstance(given, int) and not isinstance(given, bool):
        found = given
    if found is None or not 0 < found < MOST:
        raise KnnscopeError(
            f"memory = {given!r}: {', '.join(NAMES)}, a number of bytes, or a size such as '8GiB', was expected"
        )
    return str(found)


def is_memory(told: Any) -> bool:
    """Whether it is as ``as_memory`` gives it."""
    try:
        return isinstance(told, str) and as_memory(told) == told
    except KnnscopeError:
        return False


def most_of(memory: str) -> int | None:
    """The bytes that may be kept; None where it is one of ``NAMES``, or anything else that is no number."""
    return int(memory) if memory.isdecimal() else None
