"""The site's navigation follows from the lists of links in docs/index.md, so that a new page takes one line there.

A Git host shows the lists as they stand; Sphinx gets a table of contents for each heading beside them.
"""

import re
from typing import Any

PART = re.compile(r"^## (.+)\n((?:(?!## ).*\n)*)", re.M)
PAGE = re.compile(r"^- \[[^\]]+\]\(([\w/.-]+)\.md\)", re.M)
FOLDERS = {"decisions/README": "*"}
"""Pages below which all files of their folder stand, in the order of their names."""


def contents(pages: list[str], *options: str) -> str:
    """A table of contents, as Sphinx has it."""
    head = [f":{option}" for option in options]
    return "\n".join(["```{toctree}", *head, "", *pages, "```", ""])


def add(app: Any, page: str, source: list[str]) -> None:
    """Sphinx's event ``source-read``: what the navigation needs is added behind the text."""
    if page == app.config.root_doc:
        parts = ((caption, PAGE.findall(text)) for caption, text in PART.findall(source[0] + "\n"))
        source[0] += "\n\n" + "\n".join(
            contents(pages, "hidden:", f"caption: {caption}") for caption, pages in parts if pages
        )
    elif page in FOLDERS:
        source[0] += "\n\n" + contents([FOLDERS[page]], "glob:", "maxdepth: 1")


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", add)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
