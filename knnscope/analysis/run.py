"""A run is a folder: what compare and the ladder save, and what every renderer takes. ``save`` writes it, ``load`` reads it.

results.jsonl has the rows, environment.json the machine and the options, run.json what else the text needs, verdict.json the verdicts
of a comparison, which follow from the rows. Runs that measured the same again lie in it as again-1, again-2 and so on; what was measured by turns
with it in another environment lies in beside, a run as any other.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from knnscope.analysis import contradictions, jsonl
from knnscope.analysis.measurement import Count, Device, Measurement, RungMeasurement, to_dict
from knnscope.analysis.side_by_side import SideBySide
from knnscope.analysis.verdict import as_json
from knnscope.errors import KnnscopeError
from knnscope.search.geometry import Geometry
from knnscope.store import new_folder, not_ours, write_json

ROWS, ENVIRONMENT, FACTS, VERDICT = "results.jsonl", "environment.json", "run.json", "verdict.json"
FILES = (ROWS, ENVIRONMENT, FACTS, VERDICT)
OLD = "compare or ladder"
AGAIN = "again-"
BESIDE = "beside"
"""The folder, in that of a run, of what was measured by turns with it in another environment."""
CHANGES = "changes.json"
"""What came of two environments, in the folder of a run that was measured by turns."""
PAGE = "report.html"
"""The page of a run, in its folder."""


class Turns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a run was measured by turns with another.

    run: what both have in common, and no other. processes: pairs of processes between looks at which a row may be named worse or better. again: how
    many such looks there may be beside the first.
    """

    run: str
    processes: Count
    again: Count


class CompareFacts(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="command", tag="compare"
):
    """run.json of a comparison.

    queries: how many were asked. held_out: they were rows. answers: one query's texts, side by side. disagreeing: the same of queries
    on which an engine departs from the definition, if there are texts. turns: of a run that was measured by turns with another one.
    """

    schema_version: Literal[1] = 1
    queries: Count | None = None
    held_out: bool = False
    answers: SideBySide | None = None
    disagreeing: tuple[SideBySide, ...] = ()
    interrupted: bool = False
    notes: tuple[str, ...] = ()
    turns: Turns | None = None


class LadderFacts(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="command", tag="ladder"
):
    """run.json of a climb. device: what the array module of the rungs is for. loop_rows: rows that a Python loop visits at most."""

    schema_version: Literal[1] = 1
    dataset: str
    rows: Count
    dim: Count
    k: Count
    device: Device
    queries: Count | None = None
    repeat: Count | None = None
    loop_rows: Count | None = None
    interrupted: bool = False
    notes: tuple[str, ...] = ()


class _Around(msgspec.Struct, frozen=True):
    """What of environment.json is more than a record to be looked at."""

    other_cores: float | None = None
    geometry: Geometry | None = None


@dataclass(frozen=True, slots=True)
class ComparisonRun:
    """A run of compare: all that its text says follows from this record. folder: where it is saved, if it is."""

    rows: tuple[Measurement, ...]
    environment: dict[str, Any] = field(default_factory=dict)
    facts: CompareFacts = field(default_factory=CompareFacts)
    folder: Path | None = None

    @property
    def options(self) -> dict[str, Any]:
        """How it was measured."""
        found = self.environment.get("options")
        return found if isinstance(found, dict) else {}

    @property
    def geometry(self) -> Geometry | None:
        """What the vectors are like."""
        return msgspec.convert(self.environment, _Around).geometry

    @property
    def other_cores(self) -> float | None:
        """Cores that other work kept busy meanwhile, where that is known."""
        return msgspec.convert(self.environment, _Around).other_cores


@dataclass(frozen=True, slots=True)
class LadderRun:
    """A run of the ladder: all that its text says follows from this record. folder: where it is saved, if it is."""

    rows: tuple[RungMeasurement, ...]
    facts: LadderFacts
    environment: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None


Run = ComparisonRun | LadderRun
R = TypeVar("R", ComparisonRun, LadderRun)


def new(out: str | Path | None) -> contextlib.AbstractContextManager[Path | None]:
    """The folder of a run that is to be measured, see ``new_folder``; None where it is not saved.

    Raises:
        KnnscopeError: as ``check_free``, before minutes of measuring.
    """
    if out is None:
        return contextlib.nullcontext()
    check_free(Path(out))
    return new_folder(Path(out))


def check_free(folder: Path) -> None:
    """Refuse a folder with a run, which nobody can measure once more, or with a page that this one's would replace.

    Raises:
        KnnscopeError: says what is there; or as ``check_own``.
    """
    if is_run(folder):
        raise KnnscopeError(f"{folder}: holds a run, which stays: choose another folder, or remove this one")
    check_own(folder)
    for name in (PAGE, CHANGES, f"{AGAIN}1", BESIDE):
        if (folder / name).exists():
            raise KnnscopeError(
                f"{folder / name}: is there, and a run would write over it: choose another folder, or remove it"
            )


def check_own(folder: Path) -> None:
    """Refuse to write over files of a folder that are not a run's.

    Raises:
        KnnscopeError: names the file.
    """
    there = [name for name in FILES if (folder / name).exists()]
    if there and not is_run(folder):
        raise not_ours(folder / there[0])


def is_run(folder: Path) -> bool:
    """Whether the first line is a row, of today or of once; one that was stopped before its first row has the facts alone."""
    try:
        with (folder / ROWS).open("rb") as file:
            line = file.readline(jsonl.LONGEST)
        found = msgspec.json.decode(line or (folder / FACTS).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    if not isinstance(found, dict):
        return False
    return "rows" in found and ("engine" in found or "rung" in found) if line else "command" in found


def save(run: R, folder: Path) -> R:
    """Write the files of a run; returns the run that knows its folder. Who may not replace another run asks ``check_free`` before.

    Raises:
        KnnscopeError: the folder has files of others, or cannot be written, or a figure is not finite.
    """
    check_own(folder)
    jsonl.write(folder / ROWS, run.rows)
    write_json(folder / ENVIRONMENT, run.environment)
    if isinstance(run, ComparisonRun):
        write_json(folder / VERDICT, as_json(run.rows))
    return save_facts(replace(run, folder=folder))


def save_facts(run: R) -> R:
    """Write run.json alone, of a run that has its folder; one that is not saved stays so."""
    if run.folder is not None:
        write_json(run.folder / FACTS, to_dict(run.facts))
    return run


def repeats(folder: Path) -> list[Path]:
    """Folders of the runs that measured again what the run in a folder had measured, in their order."""
    found: list[Path] = []
    while ((some := folder / f"{AGAIN}{len(found) + 1}") / ROWS).is_file():
        found.append(some)
    return found


def beside(folder: Path | None) -> Path | None:
    """Folder of what was measured by turns with the run in a folder, if it was."""
    some = folder / BESIDE if folder is not None else None
    return some if some is not None and (some / ROWS).is_file() else None


def load_all(folder: str | Path) -> list[Run]:
    """Read the run in a folder, and those that measured the same again.

    Raises:
        KnnscopeError: as ``load``.
    """
    return [load(some) for some in (folder, *repeats(Path(folder)))]


def load(folder: str | Path, commands: str = "compare or ladder") -> Run:
    """Read a saved run of compare or of the ladder, also one without run.json, as they were written once.

    Args:
        folder: where it is saved.
        commands: whose runs are read, for the error.

    Raises:
        KnnscopeError: no such folder, a file that is not what a run writes, or rows that contradict each other: names file, line and field.
    """
    folder = Path(folder)
    if not (folder / ROWS).is_file():
        absent = "not a run" if folder.exists() else "no such folder"
        what = f"holds no {ROWS}" if folder.is_dir() else absent
        raise KnnscopeError(f"{folder}: {what}: the folder of a run of knnscope {commands} was expected")
    facts: CompareFacts | LadderFacts | None = None
    if (folder / FACTS).exists():
        facts = jsonl.read_one(folder / FACTS, CompareFacts | LadderFacts, f"knnscope {OLD}")
    environment: dict[str, Any] = {}
    if (folder / ENVIRONMENT).exists():
        environment = jsonl.read_one(folder / ENVIRONMENT, dict[str, Any], f"knnscope {OLD}")
    try:
        msgspec.convert(environment, _Around)
    except ValueError as error:
        raise KnnscopeError(f"{folder / ENVIRONMENT}: not what knnscope {OLD} writes: {error}") from error
    if isinstance(facts, LadderFacts) or (facts is None and _climbed(folder / ROWS)):
        rungs = tuple(jsonl.read(folder / ROWS, RungMeasurement, "knnscope ladder"))
        contradictions.check(rungs, folder / ROWS)
        return LadderRun(rungs, facts or _told_by(rungs), environment, folder)
    rows = tuple(jsonl.read(folder / ROWS, Measurement, "knnscope compare"))
    if not rows:
        raise KnnscopeError(f"{folder / ROWS}: holds no row: run knnscope compare again")
    contradictions.check(rows, folder / ROWS)
    return ComparisonRun(rows, environment, facts or _stopped(rows), folder)


def _climbed(path: Path) -> bool:
    """Whether the first row is one of the ladder's."""
    with path.open("rb") as file:
        line = file.readline(jsonl.LONGEST)
    try:
        return "rung" in msgspec.json.decode(line, type=dict[str, Any])
    except (ValueError, RecursionError):
        return False  # the reader of the rows says what is wrong


def _told_by(rungs: tuple[RungMeasurement, ...]) -> LadderFacts:
    """The facts of a climb that has no run.json, as far as its rows have them."""
    first = rungs[0]
    where: Device = "cuda" if any(row.device == "cuda" for row in rungs) else "cpu"
    return LadderFacts(dataset=first.dataset, rows=first.rows, dim=first.dim, k=first.k, device=where)


def _stopped(rows: tuple[Measurement, ...]) -> CompareFacts:
    """The facts of a comparison that has no run.json, as far as its rows have them."""
    return CompareFacts(interrupted=any(row.status == "interrupted" for row in rows))
