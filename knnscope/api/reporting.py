"""Pages to decide from: what ``knnscope report`` does, for Python."""

from __future__ import annotations

from pathlib import Path

from knnscope.analysis.contents import Contents
from knnscope.errors import KnnscopeError, require
from knnscope.report.page.document import document
from knnscope.store import whole_file

ENDINGS = (".html", ".md", ".csv")
"""Of a report's file."""
PAGE = "report.html"
"""The page in a run's own folder."""


def write(found: Contents, out: str | Path) -> Path:
    """Write the page of a run.

    Args:
        found: what lies in its folder.
        out: a file whose name ends in .html (all in one file), .md (the same without charts) or .csv (the rows).

    Raises:
        KnnscopeError: another ending, a library is missing, or the file cannot be written.
    """
    out = Path(out)
    ending = out.suffix.lower()
    if ending not in ENDINGS:
        raise KnnscopeError(f"{out}: file name must end in .html, .md or .csv")
    page = document(found)
    text = require("knnscope.report.page.html", "report", "altair").render(page)
    with whole_file(out, "w") as file:
        file.write(text)
    return out
