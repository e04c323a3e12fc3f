"""Who answers exactly: a record of knnscope grade as a page of its own."""

from __future__ import annotations

from knnscope.analysis.grades import Grades
from knnscope.report import grades
from knnscope.report.page.content import Block, Document, Grid, Heading, Listed, Section, Text
from knnscope.report.page.sections import machine
from knnscope.report.text import Table
from knnscope.search.grading import GRADES


def document(run: Grades) -> Document:
    """The engines side by side, each case, the evidence, the reasons, the machine."""
    cells: list[Block] = [Listed(grades.legend(run).splitlines())]
    for found in grades.tables(run):
        cells += [Heading(found.title), Grid(Table("", found.head, found.lines))]
    said = (
        ("wrong", "Wrong, with the evidence", "The worst metric and batch size of each case.", grades.evidence(run)),
        ("refused", "Refused, in the engine's words", "", grades.reasons(run)),
        ("absent", "Not there", "", grades.absent(run)),
    )
    head: list[Block] = [Text("Stopped before all was asked.", "warning")] if run.interrupted else []
    return Document(
        title=grades.heading(run),
        about="who answers exactly",
        lead=lead(run),
        head=[*head, Grid(grades.summary(run))],
        sections=[
            Section("cases", "Case by case", cells),
            *(
                Section(name, title, [*([Text(why)] if why else []), Listed(lines)])
                for name, title, why, lines in said
                if lines
            ),
            Section("hard", "Why each case is hard", [Grid(grades.case_table(run), wide=(1,))]),
            machine.section(run.environment),
        ],
    )


def lead(run: Grades) -> str:
    """Who answered exactly whatever it answered."""
    counts = {e.name: run.counts(e.name) for e in run.engines}
    always = [name for name, c in counts.items() if c["exact"] and not any(c[o] for o in GRADES[1:])]
    if always:
        return f"All answers of {', '.join(always)} are exact."
    return "No engine's answers are all exact." if counts else "No engine was asked."
