"""Asks every engine the hard cases and judges each answer by the definition. An engine lives in a process of its own, as in compare.

Nothing is timed, so engines are asked side by side where there are cores for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from knnscope import environment, threads
from knnscope.analysis.grades import SHOWN, CaseFacts, EngineFacts, Graded, Grades, Outcome
from knnscope.analysis.measurement import Metric
from knnscope.bench import session
from knnscope.bench.child import Child, Data
from knnscope.bench.failures import FailedError
from knnscope.bench.hard_cases import Hard
from knnscope.bench.plan import Options
from knnscope.bench.runner import FATAL
from knnscope.bench.task import Task
from knnscope.progress import bar
from knnscope.records import Neighbors
from knnscope.search import catalog, reference
from knnscope.search.definition import METRICS
from knnscope.search.grading import Evidence, Grade, Judge
from knnscope.search.rounding import Formula

CALLS = 20
"""Calls of a batch size at most, through the queries in turn, each once but for what fills the largest batch."""
MOST_AT_ONCE = 8
"""Engines asked side by side; each may use all cores."""
GIVE_UP = 3
"""An engine whose process ended so many times in a row is asked no more: each start takes seconds."""
ABSENT = ("missing", "no-gpu")
LOADING = threading.Lock()
"""Libraries of compiled code are loaded one after another: not all can be side by side."""


@dataclass(frozen=True, slots=True)
class Exam:
    """A case by one metric, ready to be asked: files for the children, and the judge with the defined answers."""

    case: Hard
    metric: Metric
    data: Data
    judge: Judge
    known: dict[tuple[str, int, bytes], Grade] = field(default_factory=dict)
    """Grades of single answers by formula, query and ids: engines often agree, and so does one with itself."""

    @property
    def dim(self) -> int:
        """Components of a row."""
        return int(self.judge.rows.shape[1])

    def grade(self, given: Neighbors, formula: Formula) -> Grade:
        """Grade the answers to the first queries of the files."""
        found: Grade | None = None
        for number, (line, distances) in enumerate(zip(given.ids, given.distances, strict=True)):
            query = number % len(self.judge.queries)
            key = repr(formula), query, line.tobytes() + distances.tobytes()
            if key not in self.known:
                self.known[key] = self.judge.grade(line[None], query, formula, distances[None])
            found = self.known[key] if found is None else found.with_others(self.known[key])
        assert found is not None
        return found


def grade(engines: Sequence[str], cases: Sequence[Hard], metrics: Sequence[str], options: Options) -> Grades:
    """Ask all of them; Ctrl-C ends it and keeps what was asked.

    Args:
        engines: by name; those that are not here are named as absent.
        cases: what to ask.
        metrics: by which.
        options: threads, timeout and memory of each engine.
    """
    with ExitStack() as files:
        exams: list[Exam] = []
        interrupted = False
        try:
            exams += _exams(cases, metrics, files)
            asked = _ask_all(engines, exams, options)
        except KeyboardInterrupt:
            asked, interrupted = _Asked(), True
        facts = [_facts(case, exams) for case in cases if any(e.case is case for e in exams)]
    return Grades(
        environment={
            **environment.collect(catalog.libraries()),
            "threads": options.threads,
            "cleared_variables": threads.cleared(),
        },
        cases=tuple(facts),
        engines=tuple(asked.engines[name] for name in engines if name in asked.engines),
        absent={name: asked.absent[name] for name in engines if name in asked.absent},
        interrupted=interrupted or asked.interrupted,
        grades=tuple(g for name in engines for g in asked.grades.get(name, ())),
    )


def _exams(cases: Sequence[Hard], metrics: Sequence[str], files: ExitStack) -> Iterator[Exam]:
    """The data of every case and its defined answers."""
    with bar(len(cases) * len(metrics), "defined answers", "case") as progress:
        for case in cases:
            rows, queries = case.make()
            task = Task(case.name, rows, queries, "l2")
            data, _ = files.enter_context(session.vector_files(task, max(case.batches)))
            for metric in METRICS:
                if metric in metrics:
                    truth = reference.answers(rows, queries, case.k, metric)
                    judge = Judge(rows, queries, truth, metric)
                    yield Exam(case, metric, replace(data, metric=metric), judge)  # type: ignore[arg-type]
                    progress.update()


def _facts(case: Hard, exams: Sequence[Exam]) -> CaseFacts:
    rows = next(e.judge.rows for e in exams if e.case is case)
    return CaseFacts(
        name=case.name,
        what=case.what,
        rows=rows.shape[0],
        dim=rows.shape[1],
        dtype=rows.dtype.name,
        k=case.k,
        batches=case.batches,
        later=case.later,
    )


@dataclass(slots=True)
class _Asked:
    engines: dict[str, EngineFacts] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    grades: dict[str, list[Graded]] = field(default_factory=dict)
    interrupted: bool = False


def _ask_all(engines: Sequence[str], exams: Sequence[Exam], options: Options) -> _Asked:
    asked, stop = _Asked(), threading.Event()
    at_once = max(1, min(MOST_AT_ONCE, threads.usable() // 2))
    with bar(len(engines) * len(exams), "ask", "case") as progress:
        candidates = [Candidate(name, options, stop, asked, progress.update) for name in engines]
        pool = ThreadPoolExecutor(at_once)
        try:
            jobs = [pool.submit(candidate.ask_all, exams) for candidate in candidates]
            for job in wait(jobs, return_when=FIRST_EXCEPTION).done:
                job.result()
        except KeyboardInterrupt:
            asked.interrupted = True
        finally:
            stop.set()
            for candidate in candidates:
                candidate.kill()  # who waits for its answer learns that it ended
            pool.shutdown(cancel_futures=True)
    return asked


class Candidate:
    """One engine and its process, which is started anew where it ended."""

    def __init__(
        self, name: str, options: Options, stop: threading.Event, asked: _Asked, progress: Callable[[], Any]
    ) -> None:
        self._name, self._options, self._stop, self._asked, self._progress = name, options, stop, asked, progress
        self._child: Child | None = None
        self._lost = 0

    def ask_all(self, exams: Sequence[Exam]) -> None:
        """Every case, unless the engine is not here; then its reason."""
        try:
            for exam in exams:
                if self._stop.is_set():
                    return
                self._ask(exam)
                self._progress()
        except FailedError as error:  # it is not here
            self._asked.absent[self._name] = error.reason
            for _ in exams:
                self._progress()
        finally:
            self._close()

    def kill(self) -> None:
        """End the process, from another thread."""
        if self._child is not None:
            self._child.kill()

    def _ask(self, exam: Exam) -> None:
        if self._lost >= GIVE_UP:
            why = f"its process ended {GIVE_UP} times in a row"
            self._note([self._failed(exam, batch, "not asked", why) for batch in exam.case.batches])
            return
        found: list[Graded] = []
        try:
            child = self._opened(exam)
            if child.build_checked(exam.case.later):
                for batch in exam.case.batches:
                    found += [self._answered(child, exam, batch)]  # what came before a failure stays
            else:
                self._is_here(exact=False)
                why = "it takes no rows after it is built"
                found += [self._failed(exam, batch, "not offered", why) for batch in exam.case.batches]
            self._lost = 0
        except FailedError as error:
            if (
                error.status == "missing"
            ):  # its line of installation names folders of this machine: knnscope info has it
                raise FailedError(error.status, error.reason.partition(": ")[0]) from None
            if error.status in ABSENT:
                raise
            if self._stop.is_set():
                return
            if error.status in FATAL:
                self._close()
            self._lost = self._lost + 1 if self._child is None else 0
            self._is_here(exact=False)
            outcome: Outcome = "refused" if error.status == "unsupported" else "failed"
            why = error.reason if outcome == "refused" else f"{error.status}: {error.reason}"
            found += [self._failed(exam, batch, outcome, why) for batch in exam.case.batches[len(found) :]]
        self._note(found)

    def _opened(self, exam: Exam) -> Child:
        if self._child is None:
            self._child = session.start(self._name, exam.data, self._options)
        else:
            self._child.reopen(exam.data)
        return self._child

    def _is_here(self, exact: bool) -> None:
        known = self._asked.engines.get(self._name)
        self._asked.engines[self._name] = EngineFacts(
            name=self._name,
            device=catalog.ENGINES[self._name].device,  # type: ignore[arg-type]
            exact=exact or (known is not None and known.exact),
        )

    def _answered(self, child: Child, exam: Exam, batch: int) -> Graded:
        count = max(batch, min(len(exam.judge.queries), batch * CALLS))
        found: Neighbors = child.answers(exam.case.k, batch, count)
        with LOADING:  # its library is loaded here as well, once the child has survived that
            engine = catalog.load(self._name)
        self._is_here(engine.capabilities.exact)
        formula = engine.formula(exam.metric, exam.judge.rows.dtype.name, batch, exam.dim)
        given = exam.grade(found, formula)
        return Graded(
            engine=self._name,
            case=exam.case.name,
            metric=exam.metric,
            batch=batch,
            outcome=given.grade,  # type: ignore[arg-type]
            judged=given.queries,
            differing=given.differing,
            beyond=given.beyond,
            formula=str(formula),
            evidence=_cut(given.evidence) if given.grade == "wrong" else None,
        )

    def _failed(self, exam: Exam, batch: int, outcome: Outcome, why: str) -> Graded:
        return Graded(
            engine=self._name, case=exam.case.name, metric=exam.metric, batch=batch, outcome=outcome, reason=why
        )

    def _note(self, found: Sequence[Graded]) -> None:
        self._asked.grades.setdefault(self._name, []).extend(found)

    def _close(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None


def _cut(evidence: Evidence | None) -> Evidence | None:
    """The first ids of both lists."""
    if evidence is None:
        return None
    return replace(evidence, ids=evidence.ids[:SHOWN], expected=evidence.expected[:SHOWN])
