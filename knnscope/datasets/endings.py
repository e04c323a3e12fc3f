"""Which of the known formats a file's name says, and the function that reads it. A format's line names it as "module:function"."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

CROP = re.compile(r"\.crop_nb_(\d{1,18})$")
"""What big-ann-benchmarks appends to the first rows of a larger file; whether its header was corrected depends on who cut it."""


def of(path: Path, known: Iterable[str]) -> str:
    """The longest of the known endings that the name has, in lower case; empty where it has none."""
    name = path.name.lower()
    return max((ending for ending in known if name.endswith(ending) and name != ending), key=len, default="")


def uncropped(path: Path) -> Path:
    """The name without ``.crop_nb_N`` behind it."""
    return Path(CROP.sub("", path.name.lower()))


def reader(place: str) -> Callable[..., Any]:
    """The function at "module:function" of this package; the module is loaded only now."""
    module, _, name = place.partition(":")
    found: Callable[..., Any] = getattr(import_module(f"{__package__}.{module}"), name)
    return found
