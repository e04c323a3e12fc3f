"""Who answers exactly on hard data: what ``knnscope grade`` does, for Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from knnscope import threads
from knnscope.analysis import grades as records
from knnscope.analysis.measurement import to_dict
from knnscope.api.loading import options_of
from knnscope.api.runs import names
from knnscope.bench import grades as asking
from knnscope.bench.hard_cases import HARD
from knnscope.bench.plan import Options
from knnscope.errors import ArgumentError
from knnscope.report import grades as report
from knnscope.search import catalog
from knnscope.search.definition import METRICS
from knnscope.store import check_file


@dataclass(frozen=True, slots=True)
class GradeOptions:
    """How to grade.

    Attributes:
        threads: the budget of every library; None is all cores, "stock" leaves each its own default.
        timeout: seconds for any one step: a build, or the answers of one batch size.
        memory: MiB of host memory that one engine may allocate; None is no limit.
    """

    threads: int | Literal["stock"] | None = None
    timeout: float = 60
    memory: int | None = None


class Grades:
    """Every engine on every hard case. ``str`` gives what the command prints; ``run`` is the record."""

    def __init__(self, run: records.Grades) -> None:
        """Made by ``grade``."""
        self.run = run

    @property
    def interrupted(self) -> bool:
        """Whether it was stopped before its end."""
        return self.run.interrupted

    def save(self, path: str | Path) -> None:
        """Write the record as JSON.

        Raises:
            KnnscopeError: the file cannot be written.
        """
        records.save(self.run, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Grades:
        """Read what ``save`` wrote.

        Raises:
            KnnscopeError: no such file, or no such record.
        """
        return cls(records.load(path))

    def differences(self, held: Grades) -> list[str]:
        """What of an earlier record does not hold any more, a line each (``analysis.grades.differences`` says what is held)."""
        return records.differences(held.run, self.run)

    def rows(self) -> list[dict[str, Any]]:
        """A flat dict for each engine, case, metric and batch size, without the evidence."""
        return [
            {"reason": None, "formula": None, **{k: v for k, v in to_dict(g).items() if k != "evidence"}}
            for g in self.run.grades
        ]

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's own types."""
        return to_dict(self.run)

    def __str__(self) -> str:
        return report.text(self.run)

    def __repr__(self) -> str:
        return f"<Grades of {report.heading(self.run)}>"

    def _repr_html_(self) -> str:
        return report.grades_html(self.run)


def grade(
    engines: Sequence[str] | None = None,
    metric: str | Sequence[str] | None = None,
    cases: Sequence[str] | None = None,
    options: GradeOptions | None = None,
    out: str | Path | None = None,
    **keywords: Any,
) -> Grades:
    """Ask engines the hard cases, each engine in a process of its own, and judge every answer by the definition.

    Ctrl-C ends it and keeps what was asked (``interrupted``).

    Args:
        engines: by name; by default all but the reference, which judges them. One that is not here is named as absent.
        metric: one or several; by default all three.
        cases: names of hard cases; by default all.
        options: how to grade.
        out: a file for the record.
        **keywords: fields of the options, in their place or beside them.

    Raises:
        KnnscopeError: names or numbers that cannot be.
    """
    how = options_of(options or GradeOptions(), keywords)
    asked = catalog.timed() if engines is None else names(engines, tuple(catalog.ENGINES), "engines")
    metrics = METRICS if metric is None else names(metric, METRICS, "metric")
    by_name = {case.name: case for case in HARD}
    chosen = HARD if cases is None else [by_name[name] for name in names(cases, tuple(by_name), "cases")]
    if out is not None:
        check_file(Path(out))
    found = Grades(asking.grade(asked, chosen, metrics, _settings(how)))
    if out is not None:
        found.save(out)
    return found


def _settings(how: GradeOptions) -> Options:
    for name in ("timeout", "memory"):
        value = getattr(how, name)
        if value is not None and not value > 0:
            raise ArgumentError(f"{name} {value}: a number above 0 was expected")
    return Options(
        threads=threads.chosen(how.threads), timeout=how.timeout, memory=how.memory * 2**20 if how.memory else None
    )
