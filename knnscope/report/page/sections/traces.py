"""Why traces in the folder are slow: what bounds them, findings with what they would save and what they did save, and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from knnscope.analysis.contents import Contents
from knnscope.errors import KnnscopeError, MissingLibraryError, require
from knnscope.report import explanation
from knnscope.report.page.content import Block, Document, Folded, Grid, Heading, Listed, Picture, Section, Text
from knnscope.report.text import Table
from knnscope.trace import excerpt, explain, reader
from knnscope.trace.model import Trace
from knnscope.trace.record import ExplanationRecord, FindingRecord, PairRecord, record_of
from knnscope.units import decimal_size, duration, percent

EXPLAINED = 4
"""Traces that are read; the others are named."""
LARGEST = 256 * 10**6
"""Bytes of a trace that is read; a larger one takes too long for a page."""


def document(found: Contents) -> Document:
    """A page of traces alone."""
    told: list[ExplanationRecord] = []
    part = section(found, told)
    return Document(
        title=f"Traces in {found.folder.absolute().name if found.folder else 'memory'}",
        about="why a run is slow",
        lead=_lead(told),
        head=(),
        sections=[part] if part is not None else [],
    )


def section(found: Contents, read: list[ExplanationRecord] | None = None) -> Section | None:
    """Each trace and each saved explanation; None where there is none.

    Args:
        found: what lies in the folder.
        read: takes the explanations, in the order of the page.
    """
    blocks: list[Block] = []
    read = [] if read is None else read
    for name, told in found.explanations.items():
        read.append(told)
        blocks += [Heading(name), *_told(told)]
    for path in found.traces[:EXPLAINED]:
        blocks += [Heading(path.name), *_trace(path, read)]
    left = [path.name for path in found.traces[EXPLAINED:]]
    if left:
        blocks.append(Text(f"Not read here: {', '.join(left)}; knnscope explain FILE reads one.", "quiet"))
    blocks += [Text(note, "quiet") for note in found.notes]
    return Section("traces", "What the traces say", blocks) if blocks else None


def _lead(told: Sequence[ExplanationRecord]) -> str:
    """What would save most."""
    if not told:
        return "None of the traces could be read."
    findings = [(f.share, f) for one in told for f in one.findings]
    if not findings:
        return "No rule finds anything worth changing."
    share, most = max(findings, key=lambda found: found[0])
    where = (
        f"{most.rule} in {most.phase} would save {explanation.saves(most)} of each time through it, {percent(share)}"
    )
    return f"Begin with {where}."


def _trace(path: Path, read: list[ExplanationRecord]) -> list[Block]:
    size = path.stat().st_size
    if size > LARGEST:
        return [Text(f"{decimal_size(size)}: too large for a page; knnscope explain {path.name} reads it.", "quiet")]
    try:
        trace = reader.read(path)
        told = record_of(explain.explain(trace))
    except KnnscopeError as error:
        return [Text(str(error), "quiet")]
    read.append(told)
    return [*_told(told), *_picture(trace)]


def _told(told: ExplanationRecord) -> list[Block]:
    """What ``knnscope explain`` says, as tables."""
    blocks: list[Block] = [Text(f"{line}.") for line in explanation.bounds(told)]
    if told.findings:
        blocks.append(Grid(_findings(told.findings), wide=(3, 5)))
    else:
        blocks.append(Text("No rule finds anything worth changing."))
    blocks += [Text(line) for line in explanation.totals(told)]
    if told.against:
        blocks += _proven(told.against)
    if phases := explanation.phases(told):
        table = Table("", explanation.PHASE_HEAD, list(phases), explanation.NUMBERS)
        blocks.append(Folded("Phases, figures of one time through each", [Grid(table)]))
    if told.findings:
        evidence: list[tuple[object, ...]] = [(f.rule, f.phase, f"{f.rows:,}", f.sql) for f in told.findings]
        table = Table("", ("rule", "phase", "rows", "query that gives the evidence"), evidence, right=(2,))
        blocks.append(Folded("Evidence", [Grid(table, wide=(3,))]))
    if notes := [*told.notes, *told.lacks]:
        blocks.append(Listed(notes))
    return blocks


def _findings(found: Sequence[FindingRecord]) -> Table:
    lines: list[tuple[object, ...]] = [
        (f.severity, f.rule, f.phase, f.title, f"{explanation.saves(f)} ({percent(f.share)})", f.remedy) for f in found
    ]
    head = ("severity", "rule", "phase", "what", "would save, a time", "remedy")
    return Table("Findings, the largest predicted saving first", head, lines, right=(4,))


def _proven(pairs: Sequence[PairRecord]) -> list[Block]:
    """Predicted savings against those that a later trace shows."""
    lines: list[tuple[object, ...]] = []
    for pair in pairs:
        known = pair.came_true is not None
        lines.append(
            (
                pair.before.phase,
                pair.after.phase,
                explanation.milli(pair.before.host_ms),
                explanation.milli(pair.after.host_ms),
                explanation.milli(pair.predicted_ms) if known else "",
                explanation.milli(pair.measured_ms) if known else "",
                "" if not known else "came true" if pair.came_true else "did not",
            )
        )
    head = ("phase", "later", "took", "takes", "predicted to save", "saved", "")
    return [Grid(Table("Against a later trace", head, lines, right=(2, 3, 4, 5)))]


def _picture(trace: Trace) -> list[Block]:
    """The whole trace over time, where matplotlib is installed."""
    try:
        timeline = require("knnscope.report.timeline", "report", "matplotlib")
        window = excerpt.whole(trace)
        file = BytesIO()
        timeline.draw(trace, window, file, "png")
    except MissingLibraryError as error:
        return [Text(f"No picture: {error}", "quiet")]
    except KnnscopeError:
        return []  # there is nothing to draw
    kernels = f"{len(trace.kernels):,} kernels and {len(trace.copies):,} copies"
    return [
        Picture(
            file.getvalue(),
            f"{kernels} over {duration(trace.span[1] - trace.span[0])}: kernels, copies, calls and ranges, a lane each",
        )
    ]
