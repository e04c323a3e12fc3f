"""Who answers exactly, as text, as a page in Markdown, and as HTML for a notebook."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from knnscope.analysis.grades import EngineFacts, Graded, Grades, worst
from knnscope.report import markup
from knnscope.report.text import Table, plain
from knnscope.units import percent

MARKS = {
    "exact": "=",
    "float32": "≈",
    "wrong": "✗",
    "refused": "R",
    "not offered": "–",
    "failed": "!",
    "not asked": "?",
}
"""Of a question, in the tables."""
LEGEND = {
    "exact": "the neighbors of float64, ties by the smallest number",
    "float32": "only rows exchanged that the rounding of the engine's own formula cannot tell apart",
    "wrong": "by more than rounding",
    "refused": "with a reason",
    "not offered": "the engine takes no rows after it is built",
    "failed": "its process ended, or took too long",
    "not asked": "its process had ended too often",
}
METRICS = {"l2": "squared Euclidean distance (l2)", "ip": "inner product (ip)", "cosine": "cosine"}


def text(run: Grades) -> str:
    """All that is printed of a run."""
    parts = [heading(run)]
    if run.grades:
        parts += [summary(run).text()]
        parts += [f"{found.title}\n{Table('', found.head, found.lines).text()}" for found in tables(run)]
        parts.append(legend(run))
    if said := evidence(run):
        parts.append("\n".join(["wrong, the worst of each case", *(f"  {line}" for line in said)]))
    if said := reasons(run):
        parts.append("\n".join(["no answer", *(f"  {line}" for line in said)]))
    if run.absent:
        parts.append("\n".join(["not here", *(f"  {line}" for line in absent(run))]))
    if run.interrupted:
        parts.append("interrupted: the grades are those until then")
    return "\n\n".join(parts)


def heading(run: Grades) -> str:
    """One line: how much was asked, and on what."""
    what = f"{_count(len(run.engines), 'engine')}, {_count(len(run.cases), 'hard case')}, {_count(len(run.grades), 'question')}"
    return f"{what}: {machine(run)}"


def machine(run: Grades) -> str:
    """Processor, cores, GPUs, as far as the record has them."""
    cpu, gpus = run.environment.get("cpu"), run.environment.get("gpus")
    parts = []
    if isinstance(cpu, dict):
        parts += [plain(str(cpu.get("model", "unknown processor"))), f"{cpu.get('usable_cores')} cores"]
    if isinstance(gpus, list):
        parts += [plain(str(gpu.get("name"))) for gpu in gpus if isinstance(gpu, dict)]
    return ", ".join(parts) or "unknown machine"


def summary(run: Grades) -> Table:
    """A line for each engine: questions by outcome; those that answer most exactly first."""
    counts = {e.name: run.counts(e.name) for e in run.engines}
    kept = [o for o in MARKS if o == "exact" or any(c[o] for c in counts.values())]

    def place(e: EngineFacts) -> tuple[int, int]:
        c = counts[e.name]
        return -c["exact"], c["wrong"]

    lines: list[tuple[object, ...]] = [
        (e.name, *(counts[e.name][o] or "" for o in kept), _most(run, e.name)) for e in sorted(run.engines, key=place)
    ]
    return Table("", ("engine", *kept, "float32 differs most"), lines, right=tuple(range(1, len(kept) + 1)))


def _most(run: Grades, engine: str) -> str:
    """The case on which rounding exchanges rows in the answers to the most queries: float32 is no promise of nearly all."""
    rounded = [g for g in run.grades if g.engine == engine and g.outcome == "float32"]
    if not rounded:
        return ""
    g = max(rounded, key=lambda g: g.differing / g.judged)
    return f"{percent(g.differing / g.judged)} of queries: {g.case}, {g.metric}"


def tables(run: Grades, names: Sequence[str] | None = None) -> list[Table]:
    """One for each metric: a line for each case, a column for each engine."""
    cells, engines = run.cells(), names or [e.name for e in run.engines]
    return [
        Table(
            METRICS[metric],
            ("case", *engines),
            [(c.name, *(marks(cells.get((e, c.name, metric), ())) for e in engines)) for c in run.cases],
        )
        for metric in run.metrics
    ]


def marks(grades: Iterable[Graded]) -> str:
    """A mark for each batch size, or one where all are alike."""
    found = "".join(MARKS[g.outcome] for g in grades)
    return found[:1] if len(set(found)) == 1 else found


def legend(run: Grades) -> str:
    """What the marks mean, and which batch sizes they stand for."""
    used = [o for o in MARKS if any(g.outcome == o for g in run.grades)]
    batches = ", ".join(dict.fromkeys(_batches(c.batches) for c in run.cases))
    several = f"several marks: one for each batch size ({batches} queries a call)"
    return "\n".join([*(f"{MARKS[o]}  {o}: {LEGEND[o]}" for o in used), several])


def markdown(run: Grades) -> str:
    """The sections of a page: the summary, the tables, the evidence, the versions."""
    parts = [_table(summary(run))]
    for found in tables(run):
        parts += [f"### {found.title[0].upper()}{found.title[1:]}", _table(found)]
    if said := evidence(run):
        parts += ["### Wrong, with the evidence", "The worst metric and batch size of each case.", _list(said)]
    if said := reasons(run):
        parts += ["### Refused, in the engine's words", _list(said)]
    if run.absent:
        parts += ["### Not there", _list(absent(run))]
    return "\n\n".join(parts)


def cases(run: Grades) -> str:
    """The cases as a table of a page in Markdown."""
    return _table(case_table(run))


def case_table(run: Grades) -> Table:
    """A line for each case."""
    lines: list[tuple[object, ...]] = [
        (c.name, c.what, f"{c.rows:,} x {c.dim:,} {c.dtype}", f"{c.k:,}", _batches(c.batches)) for c in run.cases
    ]
    return Table("", ("case", "why it is hard", "rows", "k", "queries a call"), lines)


def marks_explained() -> str:
    """The legend of a page."""
    return _list(f"`{MARKS[o]}` {o}: {LEGEND[o]}" for o in MARKS)


def grades_html(run: Grades) -> str:
    """For a notebook."""
    shown = [summary(run), *tables(run)] if run.grades else []
    drawn = [markup.table(t.head, t.lines, t.right, t.title) for t in shown]
    return markup.div([markup.paragraph(heading(run)), *drawn, *map(markup.paragraph, legend(run).splitlines())])


def evidence(run: Grades) -> list[str]:
    """A line for each engine and case that was wrong."""
    said = []
    for g in worst(run.grades):
        e = g.evidence
        assert e is not None  # a wrong grade has some
        gap = ""
        if e.distance is not None and e.rival_distance is not None and e.allowed is not None:
            gap = f", row {e.rival}, by {abs(e.distance - e.rival_distance):.3g}; rounding explains {e.allowed:.3g}"
        said.append(
            f"{plain(g.engine)}, {plain(g.case)}, {g.metric}, {g.batch:,} a call: wrong on {g.beyond:,} of {g.judged:,} queries; query "
            f"{e.query}, rank {e.rank}: {plain(e.said)}{gap}"
        )
    return said


def reasons(run: Grades) -> list[str]:
    """A line for each engine, outcome and reason, with the cases that it holds for; what an engine does not offer goes without saying."""
    found: dict[tuple[str, str, str], dict[str, None]] = {}
    for g in run.grades:
        if g.reason is not None and g.outcome != "not offered":
            found.setdefault((g.engine, g.outcome, plain(g.reason)), {})[g.case] = None
    return [
        f"{plain(engine)}, {plain('every case' if len(names) == len(run.cases) > 1 else ', '.join(names))}: "
        f"{'' if outcome == 'refused' else f'{outcome}: '}{reason}"
        for (engine, outcome, reason), names in found.items()
    ]


def absent(run: Grades) -> list[str]:
    """A line a reason."""
    found: dict[str, list[str]] = {}
    for name, why in run.absent.items():
        found.setdefault(plain(why), []).append(plain(name))
    return [f"{', '.join(names)}: {why}" for why, names in found.items()]


def _batches(sizes: Sequence[int]) -> str:
    return " / ".join(f"{size:,}" for size in sizes)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' if number != 1 else ''}"


def _table(found: Table) -> str:
    """In Markdown."""
    under = ["--:" if i in found.right else "---" for i in range(len(found.head))]
    lines = (found.head, under, *found.lines)
    return "\n".join(f"| {' | '.join(_safe(str(cell)) for cell in line)} |" for line in lines)


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {_safe(line)}" for line in lines)


def _safe(cell: str) -> str:
    """What Markdown would take for its own is marked."""
    return re.sub(r"([|*_<>])", r"\\\1", cell) if "`" not in cell else cell
