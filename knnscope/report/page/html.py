"""A document as one HTML file: nothing in it is fetched, every text is escaped, every chart is there as SVG and comes alive with JavaScript."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from knnscope.environment import version
from knnscope.errors import require
from knnscope.report.page import charts, runtime
from knnscope.report.page.content import Chart, Document, Engine, Number, readable
from knnscope.report.page.palette import look

TEMPLATES = Path(__file__).resolve().parent / "templates"
CELL = 500
"""Characters of a cell; the files have the rest."""


def render(document: Document) -> str:
    """The page.

    Raises:
        MissingLibraryError: Jinja2 or vl-convert is not installed: names the line that installs it.
    """
    jinja2 = require("jinja2", "report", "jinja2")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cell": _cell, "look": look, "picture": _picture, "plain": lambda text: readable(str(text))}
    environment.tests |= {
        "engine": lambda cell: isinstance(cell, Engine),
        "number": lambda cell: isinstance(cell, Number),
    }
    markup = jinja2.utils.markupsafe.Markup
    drawn = {chart.name: _drawn(chart) for chart in document.charts()}
    scripts = {name: (TEMPLATES / f"{name}.js").read_text("utf-8") for name in ("theme", "page")}
    if drawn:
        scripts["runtime"] = runtime.javascript()
    page: str = environment.get_template("page.html.j2").render(
        document=document,
        svg={name: markup(picture) for name, (picture, _) in drawn.items()},
        specs={name: spec for name, (_, spec) in drawn.items()},
        style=markup((TEMPLATES / "style.css").read_text("utf-8")),
        script={name: markup(text) for name, text in scripts.items()},
        policy=policy(scripts.values()),
        version=version(),
    )
    return page


def policy(scripts: Iterable[str]) -> str:
    """The content security policy: these scripts and no other, nothing fetched from anywhere."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}; base-uri 'none'; form-action 'none'"


def _drawn(chart: Chart) -> tuple[str, dict[str, Any]]:
    return runtime.svg(charts.drawn(chart, charts.WIDTH), chart.name), charts.drawn(chart, None)


def _cell(cell: object) -> str:
    text = readable(str(cell))
    return text if len(text) <= CELL else f"{text[: CELL - 1]}…"


def _picture(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
