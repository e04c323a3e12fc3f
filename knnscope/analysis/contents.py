"""What lies in a run's folder: the run, a search for crossings, explanations that were saved there, traces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from knnscope.analysis import crossover, grades, jsonl, run
from knnscope.analysis.crossover import CrossoverRun
from knnscope.analysis.grades import Grades
from knnscope.analysis.run import Run
from knnscope.errors import KnnscopeError
from knnscope.trace.record import ExplanationRecord, from_dict

TRACES, RECORD = ".sqlite", ".json"
MOST = 1000
"""Files of a folder that are looked at."""


@dataclass(frozen=True, slots=True)
class Contents:
    """A folder's contents.

    run: of compare or the ladder, if there is one. explanations: by the name of their file, what ``knnscope explain --json`` or
    ``Explanation.save`` wrote. traces: files that are named as such; they are not opened here. notes: what could not be read. crossings: what
    ``knnscope crossover`` found, if that is there. grades: what ``knnscope grade`` wrote. beside: what was measured by turns with the run.
    """

    folder: Path | None
    run: Run | None
    explanations: dict[str, ExplanationRecord]
    traces: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    crossings: CrossoverRun | None = None
    grades: Grades | None = None
    beside: Run | None = None


def contents(folder: str | Path) -> Contents:
    """Read a folder of compare, the ladder, crossover or profile; or one trace, or the record of grade.

    Raises:
        KnnscopeError: no such folder, nothing of the kind in it, or a run's file that is not what a run writes.
    """
    folder = Path(folder)
    if folder.is_file() and folder.suffix == TRACES:
        return Contents(folder.parent, None, {}, (folder,))
    if folder.is_file() and folder.suffix == RECORD:
        return Contents(folder.parent, None, {}, grades=grades.load(folder))
    if not folder.is_dir():
        what = "not a run" if folder.exists() else "no such folder"
        raise KnnscopeError(
            f"{folder}: {what}: the folder of a run of knnscope compare, ladder, crossover or profile was expected, a trace "
            f"({TRACES}), or what knnscope grade wrote ({RECORD})"
        )
    found, notes = _explanations(folder)
    traces = tuple(path for path in _files(folder) if path.suffix == TRACES)
    crossings = _crossings(folder)
    if not (folder / run.ROWS).is_file() and (found or traces or crossings):
        return Contents(folder, None, found, traces, tuple(notes), crossings)
    return Contents(folder, run.load(folder), found, traces, tuple(notes), crossings, beside=_beside(folder))


def of_run(found: Run) -> Contents:
    """A run that is in memory, and what lies beside its files, if it is saved."""
    if found.folder is None:
        return Contents(None, found, {})
    beside, notes = _explanations(found.folder)
    traces = tuple(path for path in _files(found.folder) if path.suffix == TRACES)
    return Contents(
        found.folder, found, beside, traces, tuple(notes), _crossings(found.folder), beside=_beside(found.folder)
    )


def _beside(folder: Path) -> Run | None:
    return run.load(some) if (some := run.beside(folder)) is not None else None


def _crossings(folder: Path) -> CrossoverRun | None:
    return crossover.load(folder) if (folder / crossover.FILE).is_file() else None


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())[:MOST]


def _explanations(folder: Path) -> tuple[dict[str, ExplanationRecord], list[str]]:
    """Other JSON files are nobody's business here; one that looks like an explanation and is none is named."""
    found, notes = {}, []
    for path in _files(folder):
        if path.suffix != ".json" or path.name in run.FILES:
            continue
        try:
            value = jsonl.read_one(path, dict[str, Any], "knnscope explain --json")
        except KnnscopeError:
            continue
        if not {"bounds", "findings"} <= value.keys():
            continue
        try:
            found[path.name] = from_dict(value)
        except (msgspec.ValidationError, OverflowError) as error:
            notes.append(f"{path.name}: not an explanation that knnscope explain --json wrote ({error})")
    return found, notes
