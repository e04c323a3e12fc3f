"""Traces for Python: why a run is slow, questions to it, pictures of it. What ``knnscope explain``, ``sql`` and ``timeline`` do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from knnscope.errors import ArgumentError, KnnscopeError, require
from knnscope.report import answer as answers
from knnscope.report import explanation as report
from knnscope.report import perfetto
from knnscope.report.text import plain
from knnscope.report.timeline_page import page as timeline_page
from knnscope.store import check_outputs, read_json, whole_file, write_json
from knnscope.trace import asking, excerpt, reader
from knnscope.trace import explain as explaining
from knnscope.trace.asking import LIMIT
from knnscope.trace.compare import pairs
from knnscope.trace.excerpt import Window
from knnscope.trace.findings import SEVERITIES
from knnscope.trace.model import Trace as Recorded
from knnscope.trace.queries import QUERIES
from knnscope.trace.record import BoundRecord, ExplanationRecord, FindingRecord, PairRecord, from_dict, record_of
from knnscope.units import short

ENDINGS = (".html", ".png", ".svg", ".json")
"""Of a timeline's file: a page to move in, two pictures, and what ui.perfetto.dev opens."""
PICTURES = (".png", ".svg")
MANY = 10_000_000
"""Events of a page that a browser still opens in seconds."""
NAME = 200
"""Characters of a name that are of use in a picture."""


class Explanation:
    """Why a trace is slow: findings, the largest predicted saving first, each with its evidence and a remedy. ``str`` gives all of it in words.

    Attributes:
        told: the record that it is made of; it holds no events, and outlives the trace.
    """

    def __init__(self, told: ExplanationRecord) -> None:
        """Made by ``explain`` and ``Explanation.load``."""
        self.told = told

    @property
    def findings(self) -> tuple[FindingRecord, ...]:
        """What is worth mending, best first."""
        return tuple(self.told.findings)

    @property
    def bounds(self) -> tuple[BoundRecord, ...]:
        """What bounds the run, of each GPU."""
        return tuple(self.told.bounds)

    @property
    def phases(self) -> list[dict[str, Any]]:
        """The figures of each phase, of one time through it: times, milliseconds, launches, bytes."""
        found: list[dict[str, Any]] = msgspec.to_builtins(self.told.phases)
        return found

    @property
    def against(self) -> list[PairRecord] | None:
        """Each phase of a later trace beside this one's, where one was given."""
        return self.told.against

    @property
    def notes(self) -> tuple[str, ...]:
        """What was odd about the trace, and what it lacks."""
        return (*self.told.notes, *self.told.lacks)

    def at_least(self, severity: str) -> list[FindingRecord]:
        """Findings of this severity ("high", "medium", "low") or above.

        Raises:
            KnnscopeError: no such severity.
        """
        if severity not in SEVERITIES:
            raise ArgumentError(f"severity {severity!r}: one of {', '.join(SEVERITIES)} was expected")
        counted = SEVERITIES[: SEVERITIES.index(severity) + 1]
        return [f for f in self.findings if f.severity in counted]

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's own types, as ``knnscope explain --json`` prints it."""
        return self.told.to_dict()

    def save(self, path: str | Path) -> None:
        """Write ``to_dict`` as JSON.

        Raises:
            KnnscopeError: the file cannot be written.
        """
        write_json(Path(path), self.to_dict(), follow=True)

    @classmethod
    def load(cls, path: str | Path) -> Explanation:
        """Read what ``save`` or ``knnscope explain --json`` wrote; the trace is not needed.

        Raises:
            KnnscopeError: no such file, or no explanation; names the field.
        """
        try:
            return cls(from_dict(read_json(Path(path))))
        except (msgspec.ValidationError, OverflowError) as error:
            raise KnnscopeError(f"{path}: not an explanation that knnscope.explain() saved ({error})") from error

    def rows(self) -> list[dict[str, Any]]:
        """A flat dict a finding, for ``pandas.DataFrame`` or ``polars.DataFrame``."""
        return report.rows(self.told)

    def __str__(self) -> str:
        return report.text(self.told)

    def __repr__(self) -> str:
        bound = ", ".join(f"bound by {b.what}" for b in self.bounds) or "nothing on a GPU"
        first = f"; first: {short(plain(self.findings[0].rule), 50)}" if self.findings else ""
        name = short(plain(Path(self.told.trace.path).name), 200)
        return f"<Explanation of {name}: {bound}, {len(self.findings)} findings{first}>"

    def _repr_html_(self) -> str:
        return report.html(self.told)


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of a trace is drawn: all of it, or one of these.

    begin, end: milliseconds after the trace's first event. phase: the last time through the first range whose name contains this text.
    around: number of the copy to the host (or kernel, if there is no copy) with which an iteration ends.
    """

    begin: float | None = None
    end: float | None = None
    phase: str | None = None
    around: int | None = None

    def check(self) -> None:
        """Refuse two of them.

        Raises:
            KnnscopeError: says which.
        """
        if (self.begin is not None or self.end is not None) + (self.phase is not None) + (self.around is not None) > 1:
            raise KnnscopeError("--from and --to, --phase, --around: give only one of them")
        if self.begin is not None and self.end is not None and self.begin >= self.end:
            raise KnnscopeError(f"--from {self.begin:g} --to {self.end:g}: the first has to be smaller")

    def window(self, trace: Recorded) -> Window:
        """Where it lies.

        Raises:
            KnnscopeError: there is nothing there.
        """
        self.check()
        if self.phase is not None:
            return excerpt.phase(trace, self.phase)
        if self.around is not None:
            return excerpt.around(trace, self.around)
        if self.begin is not None or self.end is not None:
            return excerpt.between(trace, self.begin, self.end)
        return excerpt.whole(trace)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A timeline's file. what: its size in words. notes: what was odd about the trace, and what it lacks."""

    path: Path
    window: Window
    what: str
    notes: tuple[str, ...] = ()


class QueryAnswer(asking.Answer):
    """Rows with column names, for a notebook as well."""

    def _repr_html_(self) -> str:
        return answers.html(self)


class Trace:
    """A recorded run: an SQLite export of Nsight Systems, or what ``knnscope profile`` wrote. The file is only read."""

    def __init__(self, path: str | Path) -> None:
        """Name the file.

        Raises:
            KnnscopeError: it is no trace.
        """
        self.path = Path(path)
        asking.check(self.path)

    def sql(self, query: str, limit: int = LIMIT) -> QueryAnswer:
        """The rows that answer a question.

        Args:
            query: one SELECT, or the name of a question (``questions``).
            limit: rows at most; ``more`` of the answer says whether there were more.

        Raises:
            KnnscopeError: no reading statement, not SQL, or it takes longer than a minute.
        """
        found = asking.answer(self.path, query, limit)
        return QueryAnswer(found.columns, found.lines, found.more)

    def questions(self) -> QueryAnswer:
        """The questions that have a name, and what each asks."""
        return QueryAnswer(("name", "question"), tuple((name, query.sentence) for name, query in QUERIES.items()))

    def explain(self, against: str | Path | Trace | None = None) -> Explanation:
        """Why it is slow (``knnscope.explain``)."""
        return explain(self, against)

    def draw(self, out: str | Path, part: Part | None = None) -> Drawn:
        """Kernels, copies, API calls and NVTX ranges over time: a page to move in, a picture, or JSON for ui.perfetto.dev.

        Args:
            out: a file whose name ends in .html, .png, .svg or .json.
            part: which part of the trace; by default all of it.

        Raises:
            KnnscopeError: another ending, the trace itself, nothing there, or matplotlib is missing.
        """
        out, part = Path(out), part or Part()
        ending = check_ending(out)
        check_outputs([out], [self.path])
        part.check()
        if ending in PICTURES:
            require("knnscope.report.timeline", "report", "matplotlib")  # before minutes of reading
        trace = _printable(self.recorded)
        window = part.window(trace)
        notes = (*trace.lacks, *trace.notes)
        if ending == ".html":
            findings = explaining.explain(self.recorded).findings
            with whole_file(out, "w", follow=True) as file:
                events = timeline_page.write(trace, window, findings, file)
            what = f"{events:,} events, {out.stat().st_size:,} bytes: open it in a browser"
            if events > MANY:
                notes += (
                    f"a browser takes long to open {events:,} events: --phase, --around, or --from and --to, draw a part",
                )
        elif ending == ".json":
            with whole_file(out, "w", follow=True) as file:
                events = perfetto.write(trace, window, file)
            what = f"{events:,} events, {out.stat().st_size:,} bytes: open it at https://ui.perfetto.dev"
        else:
            draw = require("knnscope.report.timeline", "report", "matplotlib").draw
            with whole_file(out, follow=True) as file:
                width, height = draw(trace, window, file, ending[1:])
            what = f"{width} x {height} pixels, {out.stat().st_size:,} bytes"
        return Drawn(out, window, what, notes)

    @cached_property
    def recorded(self) -> Recorded:
        """All events as columns; read when first asked for."""
        return reader.read(self.path)

    def __repr__(self) -> str:
        return f"<Trace {short(plain(self.path.name), 200)}>"

    def _repr_html_(self) -> str:
        return answers.html(self.questions())


def check_ending(out: Path) -> str:
    """The ending of a timeline's file, in lower case.

    Raises:
        KnnscopeError: another one.
    """
    ending = out.suffix.lower()
    if ending not in ENDINGS:
        raise KnnscopeError(f"{out}: file name must end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")
    return ending


def explain(trace: str | Path | Trace, against: str | Path | Trace | None = None) -> Explanation:
    """What makes a recorded run slow, ranked by what mending it would save.

    Args:
        trace: a SQLite export of Nsight Systems, or what ``knnscope profile`` wrote.
        against: a later trace of what should do the same: what changed, and whether the predictions came true.

    Raises:
        KnnscopeError: no trace, or a damaged one.
    """
    told = explaining.explain(_recorded(trace))
    later = None if against is None else explaining.explain(_recorded(against))
    return Explanation(record_of(told, None if later is None else pairs(told, later)))


def _printable(trace: Recorded) -> Recorded:
    """The trace with names that steer no terminal and break no picture."""
    names = tuple(plain(name[:NAME]) or "unnamed" for name in trace.names)
    gpus = {number: replace(gpu, name=plain(gpu.name[:NAME]) or "unknown GPU") for number, gpu in trace.gpus.items()}
    return replace(trace, names=names, gpus=gpus, path=plain(trace.path), recorder=plain(trace.recorder[:NAME]))


def _recorded(trace: str | Path | Trace) -> Recorded:
    return trace.recorded if isinstance(trace, Trace) else reader.read(trace)
