"""A run as a document: which sections there are, and in which order."""

from __future__ import annotations

from knnscope.analysis.choice import choices, measured
from knnscope.analysis.contents import Contents
from knnscope.analysis.doubts import doubts
from knnscope.analysis.run import ComparisonRun
from knnscope.report import comparison
from knnscope.report.page.content import Document
from knnscope.report.page.sections import decision, speed


def document(found: Contents) -> Document:
    """The page of what lies in a folder."""
    run = found.run
    assert isinstance(run, ComparisonRun)
    chosen = choices(run.rows)
    return Document(
        title=comparison.heading(run),
        about="which exact vector search to take",
        lead=decision.lead(chosen),
        head=decision.head(chosen, doubts(run, chosen)),
        sections=[speed.section(run)],
        engines=measured(run.rows),
    )
