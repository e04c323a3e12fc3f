"""What the results of compare and climb have in common: they save, load and print themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from knnscope.analysis import contents
from knnscope.analysis import run as runs
from knnscope.analysis.contents import Contents
from knnscope.analysis.measurement import to_dict
from knnscope.analysis.run import ComparisonRun, LadderRun
from knnscope.api import reporting
from knnscope.errors import ArgumentError, KnnscopeError, unknown_name

R = TypeVar("R", ComparisonRun, LadderRun)
O = TypeVar("O")  # noqa: E741 - options
S = TypeVar("S", bound="RunResult[Any]")
NESTED = ("samples_ns", "evidence", "ids")
"""Fields that are no single value."""


class RunResult(Generic[R]):
    """A run and what can be done with it. ``run`` is the record that renderers take; ``str`` gives the text that the command prints."""

    command: ClassVar[str]
    made_of: ClassVar[type]

    def __init__(self, run: R) -> None:
        """A result from the record of its run."""
        self.run: R = run

    def save(self, folder: str | Path) -> None:
        """Write the files of the run into a folder, as the command does.

        Raises:
            KnnscopeError: the folder holds another run, or cannot be written.
        """
        if self.folder is None or self.folder.resolve() != Path(folder).resolve():
            runs.check_free(Path(folder))
        self.run = runs.save(self.run, Path(folder))

    def report(self, path: str | Path) -> None:
        """Write the page to decide from, as ``knnscope report`` does: a file whose name ends in .html, .md or .csv.

        Raises:
            KnnscopeError: another ending, a library is missing (the extra ``report``), or the file cannot be written.
        """
        reporting.write(self._contents(), path)

    def charts(self, folder: str | Path, formats: Sequence[str] = ("png", "svg")) -> list[Path]:
        """Write every chart of that page as a file of its own; returns the files.

        Raises:
            KnnscopeError: another format, a library is missing, or the folder cannot be written.
        """
        return reporting.draw(self._contents(), folder, formats)

    def _contents(self) -> Contents:
        """What its page shows."""
        return contents.of_run(self.run)

    @classmethod
    def load(cls: type[S], folder: str | Path) -> S:
        """Read a saved run.

        Raises:
            KnnscopeError: no such run; names file, line and field.
        """
        found = runs.load(folder)
        if not isinstance(found, cls.made_of):
            raise KnnscopeError(f"{folder}: not a run of knnscope {cls.command}")
        return cls(found)

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's own types: ``rows``, ``environment``, ``run``."""
        rows = [to_dict(row) for row in self.run.rows]
        return {"rows": rows, "environment": self.run.environment, "run": to_dict(self.run.facts)}

    def rows(self) -> list[dict[str, Any]]:
        """A flat dict a row, for ``pandas.DataFrame`` or ``polars.DataFrame``: without samples, evidence and lists of ids."""
        return [{k: v for k, v in to_dict(row).items() if k not in NESTED} for row in self.run.rows]

    @property
    def environment(self) -> dict[str, Any]:
        """The machine, its libraries, and how it was measured."""
        return self.run.environment

    @property
    def interrupted(self) -> bool:
        """Whether it was stopped before its end."""
        return self.run.facts.interrupted

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of the data and the run."""
        return self.run.facts.notes

    @property
    def folder(self) -> Path | None:
        """Where it is saved, if it is."""
        return self.run.folder


def counts(values: int | list[int] | tuple[int, ...], name: str) -> list[int]:
    """One whole number or several, from 1 up, ascending.

    Raises:
        ArgumentError: one that is none.
    """
    several = [values] if isinstance(values, int) else list(values)
    if not several or any(isinstance(v, bool) or not isinstance(v, int | np.integer) or v < 1 for v in several):
        raise ArgumentError(f"{name} {values!r}: whole numbers from 1 up were expected")
    return sorted({int(v) for v in several})


def names(chosen: str | Sequence[str], known: Sequence[str], argument: str) -> list[str]:
    """One name or several, each once, of those that there are.

    Raises:
        KnnscopeError: none is given, or there is no such name.
    """
    several = list(dict.fromkeys([chosen] if isinstance(chosen, str) else chosen))
    if not several:
        raise ArgumentError(f"{argument} is empty: {', '.join(known)}")
    for name in several:
        if name not in known:
            raise unknown_name(argument.removesuffix("s"), name, known)
    return several
