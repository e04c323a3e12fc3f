"""Links from docs/ to files elsewhere in the repository lead to pages of their text, so that the site needs no Git host to be whole."""

import posixpath
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import download_reference

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "files"
"""Of the site: where these pages are."""
LARGEST = 100_000
"""Characters of a file that are shown."""


def lead(app: Any, document: nodes.document) -> None:
    """Sphinx's event ``doctree-read``: a link to a file outside docs/ becomes one to its page."""
    here = posixpath.dirname(app.env.docname)
    for link in list(document.findall(download_reference)):
        file = (Path(app.srcdir) / here / link["reftarget"]).resolve()
        if file.is_file() and file.is_relative_to(ROOT) and not file.is_relative_to(app.srcdir):
            page = f"{FOLDER}/{file.relative_to(ROOT).as_posix()}"
            _linked(app)[page] = file
            target = posixpath.relpath(f"{page}.html", here or ".")
            link.replace_self(nodes.reference("", "", *link.children, internal=True, refuri=target))


def lead_to_markdown(app: Any, page: str, source: list[str]) -> None:
    """Sphinx's event ``source-read``: a Markdown file outside docs/ is a file like others, not a page that is missing."""
    here = Path(app.srcdir) / posixpath.dirname(page)

    def mark(link: re.Match[str]) -> str:
        outside = not (here / link[1]).resolve().is_relative_to(app.srcdir)
        return f"](path:{link[1]})" if outside else link[0]

    source[0] = re.sub(r"\]\(((?:\.\./)+[\w/.-]+\.md)(?:#[\w-]*)?\)", mark, source[0])


def pages(app: Any) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Sphinx's event ``html-collect-pages``: name, context and template of each."""
    for page, file in sorted(_linked(app).items()):
        text = file.read_text("utf-8")
        language = {".py": "python", ".json": "json", ".yml": "yaml", ".md": "markdown", ".cu": "cuda"}.get(file.suffix)
        shown = app.builder.highlighter.highlight_block(text[:LARGEST], language or "text", force=True)
        name = escape(file.relative_to(ROOT).as_posix())
        cut = "" if len(text) <= LARGEST else f"<p>The first {LARGEST:,} of {len(text):,} characters.</p>"
        yield page, {"title": name, "body": f"<h1>{name}</h1>{cut}{shown}"}, "page.html"


def _linked(app: Any) -> dict[str, Path]:
    """Files that have a page, by its name; kept beside the doctrees, for builds that read a part only."""
    found: dict[str, Path] = vars(app.env).setdefault("linked_files", {})
    return found


def merge(_: Any, env: Any, __: Any, other: Any) -> None:
    """Sphinx's event ``env-merge-info``: of processes that read a part each."""
    vars(env).setdefault("linked_files", {}).update(vars(other).get("linked_files", {}))


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", lead_to_markdown)
    app.connect("doctree-read", lead, priority=400)  # before Sphinx copies what is to be downloaded
    app.connect("html-collect-pages", pages)
    app.connect("env-merge-info", merge)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
