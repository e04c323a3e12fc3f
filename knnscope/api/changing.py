"""What changed between two runs of compare, or of the ladder, or between several and several, for Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from knnscope.analysis import again, change, earlier
from knnscope.analysis import run as runs
from knnscope.analysis.change import Change
from knnscope.analysis.run import Run
from knnscope.analysis.surroundings import Difference
from knnscope.api.runs import RunResult
from knnscope.report import change as report
from knnscope.report.text import plain
from knnscope.store import whole_file, write_json
from knnscope.units import short

S = TypeVar("S", bound=RunResult[Any])
Given = RunResult[Any] | str | Path
"""A run, or the folder of a saved one."""


class Changes:
    """What changed between two runs, or between several and several. ``str`` gives what differs around them, a line for each row, and what it comes to.

    Attributes:
        told: the record that it is made of; the runs are not needed any more.
    """

    def __init__(self, told: change.Changes) -> None:
        """Made by ``changes`` and ``Changes.load``."""
        self.told = told

    @property
    def measurements(self) -> tuple[Change, ...]:
        """A record for each row of both runs that one of them measured."""
        return self.told.rows

    @property
    def differences(self) -> tuple[Difference, ...]:
        """What differs around the runs: machine, data, libraries, options, load."""
        return self.told.differences

    @property
    def worse(self) -> tuple[Change, ...]:
        """Rows that are slower for certain."""
        return self.told.of("worse")

    @property
    def better(self) -> tuple[Change, ...]:
        """Rows that are faster for certain."""
        return self.told.of("better")

    @property
    def failing(self) -> tuple[Change, ...]:
        """Rows that are newly wrong, missing or failed."""
        return self.told.of("newly wrong", "newly missing", "newly failed")

    @property
    def unclear(self) -> tuple[Change, ...]:
        """Rows that are worth measuring again: worse or better as it seems, too noisy to tell, or slower by 5% or more, but not for certain."""
        return again.unclear(self.told)

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's own types."""
        plain_types: dict[str, Any] = msgspec.to_builtins(self.told)
        return plain_types

    def rows(self) -> list[dict[str, Any]]:
        """A flat dict a row, for ``pandas.DataFrame`` or ``polars.DataFrame``."""
        return report.rows(self.told)

    def markdown(self) -> str:
        """The text for a page that takes Markdown, such as the summary of a job."""
        return report.markdown(self.told)

    def save(self, path: str | Path) -> None:
        """Write ``to_dict`` as JSON; where the name ends in .csv or .md, the rows as CSV, or the Markdown.

        Raises:
            KnnscopeError: the file cannot be written.
        """
        path = Path(path)
        as_text = {".csv": report.csv_text, ".md": report.markdown}.get(path.suffix)
        if as_text is None:
            write_json(path, self.to_dict(), follow=True)
            return
        with whole_file(path, "w", follow=True) as file:
            file.write(as_text(self.told))

    @classmethod
    def load(cls, path: str | Path) -> Changes:
        """Read what ``save`` wrote as JSON.

        Raises:
            KnnscopeError: no such file, or something else; names the field.
        """
        return cls(change.load(Path(path)))

    def __str__(self) -> str:
        return report.text(self.told)

    def __repr__(self) -> str:
        names = [short(plain(Path(name).name), 100) for name in (self.told.before, self.told.after)]
        many = f"{len(self.told.earlier)} runs up to " if self.told.earlier else ""
        more = f"{len(self.told.later)} runs from " if self.told.later else ""
        return f"<Changes from {many}{names[0]} to {more}{names[1]}: {short(report.sentences(self.told)[0], 200)}>"

    def _repr_html_(self) -> str:
        return report.html(self.told)


def changes(
    before: RunResult[Any] | str | Path | Sequence[RunResult[Any] | str | Path],
    after: RunResult[Any] | str | Path | Sequence[RunResult[Any] | str | Path],
) -> Changes:
    """Compare a run with an earlier one row by row: which engine got slower, faster, wrong or right, and which rows cannot tell.

    Runs are not interleaved, so what all engines share (the machine's load and clock) is told by those whose libraries are the same,
    and taken out. Of several earlier runs it is known how far each row differs from run to run, so smaller changes are told; of several later
    runs the middle counts, so smaller ones still.

    Args:
        before: a ``Comparison``, a ``Ladder``, or the folder of a saved one; or several of them, oldest first.
        after: the later one, of the same kind, or several that measured the same. Of a run that is saved, those that ``compare --again``
            saved in its folder count as well.

    Raises:
        KnnscopeError: no such run, the same run twice, or one is of compare and the other of the ladder.
    """
    earlier_ones = [_run(run) for run in _each(before)]
    return Changes(change.changes(earlier_ones, [run for one in _each(after) for run in _later(one)]))


def _each(given: Given | Sequence[Given]) -> Sequence[Given]:
    return [given] if isinstance(given, RunResult | str | Path) else given


def _later(given: Given) -> list[Run]:
    """A later run, and what measured it again."""
    run = _run(given)
    return [run, *(runs.load(folder) for folder in (runs.repeats(run.folder) if run.folder is not None else ()))]


def earlier_runs(folders: Sequence[str | Path], made_of: type[S]) -> list[S]:
    """Saved runs to compare with, before anything is measured.

    Raises:
        KnnscopeError: no such run, one of another command, or the same run twice.
    """
    found = [made_of.load(folder) for folder in folders]
    earlier.check([one.run for one in found])
    return found


def _run(given: RunResult[Any] | str | Path) -> Run:
    if isinstance(given, RunResult):
        found: Run = given.run
        return found
    return runs.load(given)
