"""What several commands read of their arguments: numbers, lists, threads. inputs.py has the arguments that name data."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from knnscope import threads
from knnscope.errors import ArgumentError, KnnscopeError


def positive(text: str) -> int:
    """A whole number from 1 up.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    return _whole(text, 1, "above 0")


def listed(text: str, between: str = ",") -> list[str]:
    """The parts of a list with commas (or ``between``), each once, in their order."""
    return list(dict.fromkeys(part.strip() for part in text.split(between) if part.strip()))


def natural(text: str) -> int:
    """A whole number from 0 up.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    return _whole(text, 0, "from 0 up")


def _whole(text: str, least: int, which: str) -> int:
    """A whole number of at least so much."""
    if not (text.isascii() and text.isdigit() and len(text) < 19 and int(text) >= least):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {which}")
    return int(text)


def threads_of(text: str) -> int | Literal["stock"]:
    """The budget that ``--threads`` gives.

    Raises:
        KnnscopeError: neither a number nor stock.
    """
    if text == "stock":
        return "stock"
    try:
        return positive(text)
    except argparse.ArgumentTypeError as error:
        raise KnnscopeError(f"--threads {text!r}: a number or stock was expected") from error


def add_threads(parser: argparse.ArgumentParser) -> None:
    """The thread budget."""
    parser.add_argument(
        "--threads",
        default=str(threads.usable()),
        metavar="N|stock",
        help="thread budget of every library (default: all cores); stock: their own defaults",
    )


def numbers(text: str, option: str) -> list[int]:
    """A list of whole numbers from 1 up, ascending.

    Raises:
        KnnscopeError: there is none, or one is no such number.
    """
    parts = listed(text)
    if not parts:
        raise KnnscopeError(f"{option} is empty: numbers from 1 up, with commas between them")
    return sorted({number(part, option) for part in parts})


def number(text: str, option: str) -> int:
    """A whole number from 1 up.

    Raises:
        KnnscopeError: it is none.
    """
    try:
        return positive(text)
    except argparse.ArgumentTypeError as error:
        raise KnnscopeError(f"{option}: {error}") from error


@contextmanager
def dashed() -> Iterator[None]:
    """Errors that name an argument of a function name the option instead.

    Raises:
        KnnscopeError: what was an ArgumentError.
    """
    try:
        yield
    except ArgumentError as error:
        raise KnnscopeError(f"--{error}") from error
