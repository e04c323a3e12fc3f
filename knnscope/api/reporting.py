"""Pages to decide from: what ``knnscope report`` does, for Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from knnscope.analysis import change, contents, run
from knnscope.analysis.contents import Contents
from knnscope.analysis.run import Run
from knnscope.errors import ArgumentError, KnnscopeError, MissingLibraryError
from knnscope.report import change as change_text
from knnscope.report.page import html, markdown, pictures, rows
from knnscope.report.page.content import Document
from knnscope.report.page.document import document
from knnscope.report.page.sections import differences
from knnscope.store import whole_file

ENDINGS = (".html", ".md", ".csv")
"""Of a report's file."""
PAGE, CHANGES = run.PAGE, "changes.html"
"""The page in a run's own folder; that of what changed since another, in the later one's."""


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
    ending = check_ending(out)
    if ending == ".csv":
        if found.run is None:
            raise KnnscopeError(f"{found.folder}: holds traces, which have no rows: knnscope sql asks them")
        if found.beside is not None:
            return _written(out, change_text.csv_text(change.changes(found.beside, found.run)))
        return _written(out, rows.render(found.run.rows))
    return _written(out, _rendered(document(found), ending))


def write_changes(
    before: str | Path | Sequence[str | Path], after: str | Path | Sequence[str | Path], out: str | Path
) -> Path:
    """Write the page of what changed between two runs, or between several earlier ones and several later ones.

    Args:
        before: the folder of the earlier run, or those of several, oldest first.
        after: that of the later one, of the same command, or those of several, the first one first. What was measured again and lies in
            their folders is read as well.
        out: as of ``write``.

    Raises:
        KnnscopeError: no such runs, the same run twice, another ending, a library is missing, or the file cannot be written.
    """
    out = Path(out)
    ending = check_ending(out)
    earlier, later = ([some] if isinstance(some, str | Path) else some for some in (before, after))
    found = change.changes(
        [run.load(folder) for folder in earlier], [one for folder in later for one in run.load_all(folder)]
    )
    return _written(
        out, change_text.csv_text(found) if ending == ".csv" else _rendered(differences.document(found), ending)
    )


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
    return pictures.write(document(found), Path(folder), formats)


def beside(saved: Run) -> list[str]:
    """Write report.html into the folder of a run that was just saved; returns what the user should know.

    Raises:
        KnnscopeError: the folder cannot be written.
    """
    if saved.folder is None:
        return []
    later = f"knnscope report {saved.folder} writes the page"
    if saved.facts.interrupted:  # who has just pressed Ctrl-C waits for nothing
        return [later]
    try:
        write(contents.of_run(saved), saved.folder / PAGE)
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


def _rendered(page: Document, ending: str) -> str:
    return markdown.render(page) if ending == ".md" else html.render(page)


def _written(out: Path, text: str) -> Path:
    ours = out.name in (PAGE, CHANGES)  # in the folder of a run, which may come from anywhere
    with whole_file(out, "w", follow=not ours) as file:
        file.write(text)
    return out
