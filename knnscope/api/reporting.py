"""Pages to decide from: what ``knnscope report`` does, for Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from knnscope.analysis import contents
from knnscope.analysis.contents import Contents
from knnscope.analysis.run import Run
from knnscope.errors import ArgumentError, KnnscopeError, MissingLibraryError, require
from knnscope.report.page import markdown, rows
from knnscope.report.page.document import document
from knnscope.store import whole_file

ENDINGS = (".html", ".md", ".csv")
"""Of a report's file."""
PAGE = "report.html"
"""The page in a run's own folder."""


def read(folder: str | Path) -> Contents:
    """What lies in the folder of a run of compare, the ladder or profile.

    Raises:
        KnnscopeError: no such folder, nothing of the kind in it, or a damaged file: names it, its line and field.
    """
    return contents.contents(folder)


def write(found: Contents, out: str | Path) -> Path:
    """Write the page of a run.

    Args:
        found: what lies in its folder.
        out: a file whose name ends in .html (all in one file), .md (the same without charts) or .csv (the rows).

    Raises:
        KnnscopeError: another ending, a library is missing, or the file cannot be written.
    """
    out = Path(out)
    text = _text(found, check_ending(out))
    with whole_file(out, "w") as file:
        file.write(text)
    return out


def draw(found: Contents, folder: str | Path, formats: Sequence[str] = ("png", "svg")) -> list[Path]:
    """Write every chart of the page as a file of its own.

    Args:
        found: what lies in the folder of a run.
        folder: where to; it is made.
        formats: "png", "svg" or both.

    Raises:
        KnnscopeError: another format, a library is missing, or the folder cannot be written.
    """
    check_formats(formats)
    page = document(found)
    written: list[Path] = require("knnscope.report.page.pictures", "report", "altair").write(
        page, Path(folder), formats
    )
    return written


def beside(run: Run) -> list[str]:
    """Write report.html into the folder of a run that was just saved; returns what the user should know.

    Raises:
        KnnscopeError: the folder cannot be written.
    """
    if run.folder is None:
        return []
    later = f"knnscope report {run.folder} writes the page"
    if run.facts.interrupted:  # who has just pressed Ctrl-C waits for nothing
        return [later]
    try:
        write(contents.of_run(run), run.folder / PAGE)
    except MissingLibraryError as error:
        return [f"no page to decide from: {error}; then {later}"]
    return []


def check_ending(out: Path) -> str:
    """The ending of a report's file, in lower case.

    Raises:
        KnnscopeError: another one.
    """
    ending = out.suffix.lower()
    if ending not in ENDINGS:
        raise KnnscopeError(f"{out}: file name must end in .html, .md or .csv")
    return ending


def check_formats(formats: Sequence[str]) -> None:
    """Refuse what charts cannot be written as.

    Raises:
        ArgumentError: names it.
    """
    if not formats or any(form not in ("png", "svg") for form in formats):
        raise ArgumentError(f"format {','.join(formats)!r}: png, svg or both were expected")


def _text(found: Contents, ending: str) -> str:
    if ending == ".csv":
        if found.run is None:
            raise KnnscopeError(f"{found.folder}: holds traces, which have no rows: knnscope sql asks them")
        return rows.render(found.run.rows)
    page = document(found)
    if ending == ".md":
        return markdown.render(page)
    text: str = require("knnscope.report.page.html", "report", "altair").render(page)
    return text
