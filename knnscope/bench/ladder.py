"""Climbs the ladder: times every rung in this process, where a profiler can see it, and judges every answer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope import annotate
from knnscope.analysis.measurement import SCHEMA_VERSION, RungMeasurement
from knnscope.bench.failures import failure
from knnscope.bench.timing import CudaClock, HostClock, LapClock, apart, timed
from knnscope.ceilings.record import Ceilings
from knnscope.compiling import SPENT, waiting
from knnscope.errors import MissingLibraryError, NoGpuError, require
from knnscope.profile.counts import Counts, count, recorded
from knnscope.progress import bar
from knnscope.search import catalog, device, ladder, reference
from knnscope.search.grading import Grade, Judge
from knnscope.search.ladder.rung import Rung

ENGINES = ("faiss", "certified", "faiss-gpu", "cuvs", "certified-gpu")
"""Measured beside the rungs: the same search by other libraries and by this project."""
SECONDS = 60.0
"""Time limit of a rung, whatever ``repeat`` says."""
LONG_NS = 2_000_000_000
"""A first call this long is a sample as well."""
COUNTED_NS = 2_000_000_000
"""A longer search is not repeated to count its kernels and copies."""


@dataclass(frozen=True, slots=True)
class Climb:
    """What is searched and how often.

    rows: (rows, dim) float32. queries: (queries, dim) float32, asked in turn. where: "cpu" or "cuda", what the array module of the rungs is
    for. loop_rows: rows that a Python loop visits at most; its time is then scaled. ceilings: by device, where they were measured.
    """

    dataset: str
    rows: npt.NDArray[np.float32]
    queries: npt.NDArray[np.float32]
    k: int
    where: str
    repeat: int = 10
    loop_rows: int | None = None
    ceilings: dict[str, Ceilings] = field(default_factory=dict)


class Machine:
    """The array module and the clock of a device."""

    def __init__(self, where: str) -> None:
        self.problem = device.gpu_problem() if where == "cuda" else None
        self.library = None
        self.xp: Any = np
        if where == "cuda" and self.problem is None:
            self.xp = require("cupy", "cuda13")
            self.library = device.library()

    def wait(self) -> None:
        """Until the GPU has nothing to do."""
        if self.library is not None:
            self.library.synchronize()

    def clock(self) -> LapClock:
        """The clock that compare uses; without events while a profiler records.

        (An nsys that does not know a call of the driver's, such as the newer way to ask for the time between events, loses what follows.)
        """
        return HostClock() if self.library is None else CudaClock(self.library, events=not recorded())

    def capture(self, on: bool) -> None:
        """Let a profiler that waits for it begin, or end."""
        if self.library is not None:
            self.library.capture(on)


class EngineRung(Rung):
    """An engine of the catalog, measured as a rung."""

    def __init__(self, name: str, xp: Any) -> None:
        super().__init__(xp)
        self.entry, self.name = catalog.ENGINES[name], name
        self.changed = self.entry.what

    @property
    def on_gpu(self) -> bool:
        """Where the engine computes."""
        return self.entry.device == "cuda"

    def load(self, rows: Any) -> None:
        """The engine copies them when it builds."""
        self.rows = rows

    def build(self, k: int) -> None:  # noqa: ARG002
        """Its index."""
        engine = catalog.load(self.name)
        self.formula = engine.formula("l2", "float32", 1, self.rows.shape[1])
        self.index = engine.build(self.rows, "l2")

    def ready(self, query: Any) -> Any:
        """One line of a batch, where the engine computes; before any call, and untimed, so it is checked here."""
        if (held := getattr(self.index, "range", None)) is not None:
            held.check(np.asarray(query)[None])
        return (self.xp.asarray(query) if self.on_gpu else np.asarray(query))[None]

    def search(self, query: Any, k: int) -> Any:
        """Its ids."""
        return self.index.search(query, k).ids

    def copy_back(self, found: Any) -> list[int]:
        """Of the one query."""
        return [int(i) for i in device.library().to_host(found)[0]] if self.on_gpu else found[0].tolist()

    def moved(self, k: int) -> None:
        """Unknown: at least the rows, or their codes."""

    def launches(self, k: int) -> tuple[int, int] | None:  # noqa: ARG002
        """None of both on the CPU, else unknown."""
        return None if self.on_gpu else (0, 0)


def climb(names: Sequence[str], plan: Climb) -> Iterator[RungMeasurement]:
    """A row for each name, in the order given, as it is measured."""
    machine = Machine(plan.where)
    judges: dict[int, Judge] = {}
    times: list[int] = []
    for name in names:
        cls = ladder.rung_class(name) if name in ladder.RUNGS else None
        values: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "rung": name,
            "changed": cls.changed if cls else catalog.ENGINES[name].what,
            "dataset": plan.dataset,
            "rows": len(plan.rows),
            "dim": plan.rows.shape[1],
            "k": plan.k,
            "device": plan.where,
        }
        try:
            values |= _measure(name, plan, machine, judges)
        except Exception as error:  # a rung is a row, whatever its library raises
            failed = failure(error)
            values |= {"status": failed.status, "reason": failed.reason}
        if took := values.get("wall_ns"):
            if times:
                values |= {"ratio_below": round(times[-1] / took, 4), "ratio_first": round(times[0] / took, 4)}
            times.append(took)
        yield RungMeasurement(**values)


def _make(name: str, plan: Climb, machine: Machine) -> Rung:
    engine = catalog.ENGINES.get(name)
    needs_gpu = engine.device == "cuda" if engine else ladder.rung_class(name).gpu
    if needs_gpu and (why := device.gpu_problem()):
        raise NoGpuError(why)
    if needs_gpu and plan.where != "cuda":
        raise NoGpuError("computes on a GPU: --device cuda")
    if engine:
        if why := catalog.problem(name):
            raise MissingLibraryError(why)
        return EngineRung(name, machine.xp)
    if machine.problem and name != "numpy-loop":
        raise NoGpuError(machine.problem)
    return ladder.make(name, machine.xp)


@dataclass(frozen=True, slots=True)
class Marked:
    """What the phases of a rung are called for a profiler: its name and the shape of the search."""

    name: str
    shape: dict[str, int]


@dataclass(slots=True)
class Searched:
    """Searches of a rung: the answer to each query asked, and times in nanoseconds."""

    answers: dict[int, list[int]] = field(default_factory=dict)
    first: int = 0
    walls: list[int] = field(default_factory=list)
    events: list[int] = field(default_factory=list)
    backs: list[int] = field(default_factory=list)


def _measure(name: str, plan: Climb, machine: Machine, judges: dict[int, Judge]) -> dict[str, Any]:
    rung = _make(name, plan, machine)
    visited = min(len(plan.rows), plan.loop_rows or len(plan.rows)) if rung.loop else len(plan.rows)
    rows, k = plan.rows[:visited], min(plan.k, visited)
    shape = {"rows": visited, "dim": rows.shape[1], "k": k, "batch": 1}
    clock = machine.clock()
    with annotate.phase("load", name, **shape):
        load_ns = timed(lambda: rung.load(rows), clock)[0].wall_ns
    before = SPENT.wall_ns
    with waiting(), annotate.phase("build", name, **shape):
        build_ns = apart(lambda: rung.build(k), clock)[0].wall_ns
    searched = _search(rung, plan, machine, Marked(name, shape))
    if visited not in judges:
        judges[visited] = Judge(rows, plan.queries, reference.answers(rows, plan.queries, k, "l2"), "l2")
    grade = reduce(
        Grade.with_others,
        [
            judges[visited].grade(np.asarray([ids], np.int64), query, rung.formula)
            for query, ids in sorted(searched.answers.items())
        ],
    )
    where = "cuda" if rung.on_gpu or rung.gpu else "cpu"
    ceilings = plan.ceilings.get(where)
    scale = len(plan.rows) / visited
    return {
        "status": "wrong" if grade.grade == "wrong" else "ok",
        "changed": rung.ran,
        "device": where,
        "visited": visited,
        "scaled": visited < len(plan.rows),
        "grade": grade.grade,
        "judged": grade.queries,
        "differing": grade.differing,
        "ids": searched.answers[min(searched.answers)],
        "load_ns": load_ns,
        "build_ns": build_ns,
        "first_ns": searched.first,
        "compile_ns": SPENT.wall_ns - before,
        "samples_ns": searched.walls,
        "wall_ns": round(median(searched.walls) * scale),
        "event_ns": round(median(searched.events) * scale) if searched.events and where == "cuda" else None,
        "copy_back_ns": round(median(searched.backs)),
        "bytes_moved": None if (moved := rung.moved(k)) is None else round(moved * scale),
        **_counts(rung, rung.ready(plan.queries[0]), k, machine, median(searched.walls)),
        "floor_ns": ceilings.floor_ns(plan.rows.nbytes, "hot") if ceilings else None,
        "note": rung.note,
    }


def _search(rung: Rung, plan: Climb, machine: Machine, marked: Marked) -> Searched:
    """Every query in turn, after a first call that loads kernels; a first call of ``LONG_NS`` or more is a sample as well.

    A profiler may record what follows the first alone: the capture range.
    """
    queries = [rung.ready(query) for query in plan.queries]
    found = Searched()
    began = time.monotonic()
    clock = machine.clock()
    with bar(plan.repeat + 1, marked.name, "search") as progress:
        for turn in range(plan.repeat + 1):
            which = max(turn - 1, 0) % len(queries)
            if turn == 1:
                machine.capture(True)
            clock.wait()
            compiled = SPENT.wall_ns
            with annotate.phase("search", marked.name, **marked.shape):
                clock.begin()
                answer = rung.search(queries[which], marked.shape["k"])
                lap = clock.lap()
            with annotate.phase("copy back", marked.name, **marked.shape):
                ids = rung.copy_back(answer)  # which waits for the search
            sample = clock.stop()
            progress.update()
            if turn == 0:
                found.first = max(0, sample.wall_ns - (SPENT.wall_ns - compiled))
                if found.first < LONG_NS:
                    continue
            found.answers[which] = ids
            found.walls.append(sample.wall_ns)
            found.backs.append(sample.wall_ns - lap)
            if sample.event_ns is not None:
                found.events.append(sample.event_ns)
            if time.monotonic() - began > SECONDS:
                break
    machine.capture(False)
    return found


def _counts(rung: Rung, query: Any, k: int, machine: Machine, typical_ns: float) -> dict[str, Any]:
    """Kernels and copies: recorded by CUPTI where it is installed and the search is short, else what follows from the code."""
    found: Counts | None = None
    if rung.on_gpu and typical_ns < COUNTED_NS:
        found = count(lambda: rung.search(query, k), machine.wait)
    if found:
        return {
            "kernels": found.kernels,
            "copies": found.copies,
            "copied_bytes": found.copied_bytes,
            "counted_by": "cupti",
        }
    known = rung.launches(k)
    if known is None:
        return {}
    return {"kernels": known[0], "copies": known[1], "counted_by": "code"}
