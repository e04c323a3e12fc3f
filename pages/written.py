"""Every file, or part of one, that is written by a program: what it should hold, by its path. A new one is a line in ``WRITTEN``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks import figures_page, grades_page, ladder_page, predictions, scale_page
from pages import commands, functions, pictures, results

ROOT = Path(__file__).resolve().parents[1]

WRITTEN: dict[str, Callable[[], str]] = {
    "docs/figures.md": figures_page.page,
    "docs/grades.md": grades_page.page,
    "docs/ladder.md": ladder_page.page,
    "docs/predictions.md": predictions.page,
    "docs/scale.md": scale_page.page,
    "docs/reference/commands.md": commands.page,
    "docs/reference/functions.md": functions.page,
    "docs/pictures/fastest.svg": pictures.fastest,
    "docs/pictures/bounds.svg": pictures.bounds,
    "README.md": results.readme,
}
"""What each file should hold. Some of these modules are commands of their own as well."""


def stale() -> list[str]:
    """Files that do not hold what they should."""
    return [
        name for name in WRITTEN if not (ROOT / name).exists() or (ROOT / name).read_text("utf-8") != WRITTEN[name]()
    ]


def write() -> list[str]:
    """Bring all of them up to date; returns those that were not."""
    found = stale()
    for name in found:
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / name).write_text(WRITTEN[name](), "utf-8")
    return found
