"""One measurement of two environments by turns: this one, and one beside it. What ``session`` does for one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any
from uuid import uuid4

from knnscope import environment
from knnscope.analysis import run as runs
from knnscope.analysis.change import INTERPRETER
from knnscope.bench import other, session
from knnscope.bench.child import HERE, Child
from knnscope.bench.failures import FailedError
from knnscope.bench.other import Other, Shape, Told
from knnscope.bench.plan import Case, Options
from knnscope.bench.runner import Run
from knnscope.bench.session import Grid, Ready, Result
from knnscope.bench.task import Task
from knnscope.bench.turns import AFTER, BEFORE, TURNS, Both, Plan, Turns
from knnscope.bench.worker import Answer
from knnscope.errors import KnnscopeError
from knnscope.search import catalog, device
from knnscope.search.grading import Grade


@dataclass(frozen=True, slots=True)
class Two:
    """What came of both. turns: how they were measured. notes: what the reader should know, such as engines that were left out."""

    before: Result
    after: Result
    turns: runs.Turns
    notes: tuple[str, ...]


def measure(task: Task, what: Grid, options: Options, plan: Plan, beside: Other) -> Two:
    """Measure every case of the grid that both environments can, by turns.

    Args:
        task: vectors and metric.
        what: engines, k, batch sizes, boundaries.
        options: how; ``plan`` takes the place of its rounds.
        plan: how many pairs of processes.
        beside: the other environment.

    Raises:
        KnnscopeError: data that cannot be searched, or no engine that both have.
    """
    task = session.checked(task, what)
    with session.ready(task, what, options, {}) as made:
        made = replace(made, facts=replace(made.facts, rounds_a_process=TURNS))
        place = beside.place(made.data.queries.parent)
        shape = Shape(task.metric, task.rows.dtype.name, task.rows.shape[1], tuple(what.batches))
        told = other.tell(beside, place, what.engines, shape)
        engines, notes = _chosen(what.engines, told)
        began = environment.state()

        def start(side: str, name: str) -> Child:
            if side == AFTER:
                return session.start(name, made.data, options)
            if name in told.problems:
                raise FailedError(*_missing(name, told.problems[name]))
            return Child(told.entries[name], made.data, options, place)

        def grade(side: str, case: Case, answer: Answer) -> Grade:
            return made.grade(case, answer, told.formulas[case.engine, case.batch] if side == BEFORE else None)

        both = Turns(start, grade, len(made.order), options, plan).run(replace(what, engines=engines).cases())
        ended = environment.state()
    here = session.surroundings(began, ended, options) | {
        INTERPRETER: HERE.python,
        "geometry": asdict(made.shape),
    }
    there = here | {INTERPRETER: beside.python} | {name: told.environment[name] for name in OF_LIBRARIES}
    if beside.own:
        notes.append(f"{beside.python} has another knnscope: its engines are measured by its own code")
    before, after = (_result(made, both, side, around) for side, around in ((BEFORE, there), (AFTER, here)))
    return Two(before, after, runs.Turns(run=uuid4().hex, processes=plan.processes, again=plan.again), tuple(notes))


OF_LIBRARIES = ("knnscope", "commit", "source_sha256", "python", "libraries")
"""What is recorded of the other environment: all else is this machine's."""


def _chosen(names: Sequence[str], told: Told) -> tuple[list[str], list[str]]:
    """Engines that both environments have, and those that neither has, which are rows that say why; of all others a note.

    Raises:
        KnnscopeError: there is none that both have.
    """
    here: Mapping[str, str | None] = {name: catalog.problem(name) for name in names}
    notes = [
        f"{name} is left out: in the environment beside: {told.problems[name]}"
        for name in names
        if here[name] is None and name in told.problems
    ]
    notes += [
        f"{name} is left out: in this environment: {why}"
        for name, why in here.items()
        if why is not None and name not in told.problems
    ]
    if all(why is not None or name in told.problems for name, why in here.items()):
        raise KnnscopeError(
            f"no engine that both environments have: {'; '.join(notes) or '; '.join(map(str, here.values()))}"
        )
    return [name for name, why in here.items() if (why is None) == (name not in told.problems)], notes


def _missing(name: str, why: str) -> tuple[str, str]:
    """The status of an engine that neither environment has, and why."""
    return ("no-gpu" if catalog.ENGINES[name].device == "cuda" and device.gpu_problem() else "missing"), why


def _result(made: Ready, both: Both, side: str, around: dict[str, Any]) -> Result:
    rows = made.rows_of(Run(both.measured[side]))
    return Result(rows, around, {}, both.interrupted)
