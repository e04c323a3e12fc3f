"""What lies in a folder as a document: which sections there are, and in which order. Start here, then sections/decision.py."""

from __future__ import annotations

from knnscope.analysis import change
from knnscope.analysis.choice import choices, measured
from knnscope.analysis.contents import Contents
from knnscope.analysis.doubts import doubts
from knnscope.analysis.run import ComparisonRun, LadderRun
from knnscope.report import comparison, ladder
from knnscope.report.page.content import Document, Section
from knnscope.report.page.sections import (
    causes,
    correctness,
    crossover,
    decision,
    differences,
    floor,
    grades,
    machine,
    memory,
    method,
    quality,
    raw,
    rungs,
    speed,
    traces,
)


def document(found: Contents) -> Document:
    """The page of a run of compare, of two that took turns, of the ladder, of a search for crossings, of grades, or of traces alone."""
    if found.run is not None and found.beside is not None:
        return differences.document(change.changes(found.beside, found.run))
    if isinstance(found.run, ComparisonRun):
        return _comparison(found, found.run)
    if isinstance(found.run, LadderRun):
        return _ladder(found, found.run)
    if found.grades is not None:
        return grades.document(found.grades)
    if found.crossings is not None:
        return crossover.document(found.crossings)
    return traces.document(found)


def _comparison(found: Contents, run: ComparisonRun) -> Document:
    chosen = choices(run.rows)
    sections: list[Section | None] = [
        speed.section(run),
        crossover.section(run, found.crossings),
        floor.section(run),
        quality.section(run),
        correctness.section(run),
        causes.section(run),
        traces.section(found),
        memory.section(run),
        machine.section(run.environment),
        method.section(run),
        raw.section(run.rows),
    ]
    return Document(
        title=comparison.heading(run),
        about="which exact vector search to take",
        lead=decision.lead(chosen),
        head=decision.head(chosen, doubts(run, chosen), run.facts.queries),
        sections=[section for section in sections if section is not None],
        engines=measured(run.rows),
    )


def _ladder(found: Contents, run: LadderRun) -> Document:
    sections: list[Section | None] = [
        rungs.section(run),
        rungs.changes(run),
        traces.section(found),
        machine.section(run.environment),
        method.section(run),
        raw.section(run.rows),
    ]
    return Document(
        title=ladder.heading(run),
        about="one search from a loop to memory's rate",
        lead=rungs.lead(run),
        head=rungs.head(doubts(run)),
        sections=[section for section in sections if section is not None],
    )
