"""The few words of Vega-Lite that charts are written in: marks, where they stand, and what axes, scales and names look like.

Plain dicts, since importing a library that makes them would take a third of a small report's time; tests/report/page/test_charts.py holds
every chart to Vega-Lite's schema. Colours of text and axes are the page's own: style.css finds them by ``INK``, ``QUIET`` and ``GRID``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.4.1.json"
INK, QUIET, GRID = "#1b1b1b", "#5c5c5c", "#dcdcdc"
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
HIDDEN = "hidden"
"""The parameter that lists engines which readers have switched off."""
SHOWN = f"indexof({HIDDEN}, datum.engine) < 0"

Data = list[dict[str, Any]]
Spec = dict[str, Any]
"""A part of a chart, as Vega-Lite reads it."""
AXIS = {
    "domainColor": GRID,
    "gridColor": GRID,
    "labelColor": QUIET,
    "labelFontSize": 11,
    "labelPadding": 5,
    "labelSeparation": 8,
    "tickColor": GRID,
    "titleColor": QUIET,
    "titleFontSize": 11,
    "titleFontWeight": "normal",
    "titlePadding": 8,
}
CONFIG = {
    "aria": False,
    "axis": AXIS,
    "background": "transparent",
    "font": FONT,
    "mark": {"aria": False},
    "view": {"continuousWidth": 300, "continuousHeight": 300, "stroke": None},
}


def amount(field: str, **how: Any) -> Spec:
    """A channel that follows a number of the data."""
    return {"field": field, "type": "quantitative", **how}


def name(field: str, **how: Any) -> Spec:
    """A channel that follows a text of the data."""
    return {"field": field, "type": "nominal", **how}


def either(test: str, then: Any, otherwise: Any) -> Spec:
    """One value for marks of which the test is true, another for all else."""
    return {"condition": {"test": test, "value": then}, "value": otherwise}


COLOUR = name("colour", scale=None)
DASH = either("datum.broken", [5, 3], [1, 0])
HINT = [name("engine", title="engine"), name("hint", title="here")]


def scale(kind: Literal["linear", "log"], domain: str) -> Spec:
    """A scale over what the parameter ``domain`` says."""
    return {"type": kind, "domain": {"expr": domain}, "nice": False}


def axis(values: str, label: str, grid: bool = True) -> Spec:
    """An axis with ticks at what the parameter ``values`` says, each written as the expression ``label`` says."""
    return {"values": {"expr": values}, "labelExpr": label, "grid": grid}


def rows(field: str) -> Spec:
    """Names down the left, in the order that the parameter ``order`` gives."""
    look = {
        "labelFontSize": 12,
        "labelColor": INK,
        "labelLimit": 190,
        "ticks": False,
        "domain": False,
        "labelPadding": 8,
    }
    return name(field, title=None, scale={"domain": {"expr": "order"}}, axis=look)


def layer(mark: Spec, at: Spec, data: str = "marks", only: Sequence[str] = (SHOWN,)) -> Spec:
    """Marks of one kind.

    Args:
        mark: its ``type`` and look.
        at: channels: where each stands, and what of it follows the data.
        data: the name of the data set.
        only: tests that a line of the data has to pass.
    """
    found: Spec = {"data": {"name": data}, "mark": mark, "encoding": at}
    return {**found, "transform": [{"filter": test} for test in only]} if only else found


def marks(at: Spec, *only: str) -> Spec:
    """A mark for each line of the data: filled where the answer is right, hollow where it is wrong or undecided."""
    look = {
        "color": COLOUR,
        "fill": name("colour", scale=None),
        "shape": name("shape", scale=None),
        "fillOpacity": either("datum.right", 1, 0),
        "tooltip": HINT,
    }
    mark = {"type": "point", "size": 34, "strokeWidth": 1.5, "opacity": 1}
    return layer(mark, {**at, **look}, only=(SHOWN, *only))


def names(at: Spec, data: str = "marks", dx: int = 9) -> Spec:
    """Texts to the right of where they stand."""
    return layer({"type": "text", "align": "left", "dx": dx, "fontSize": 11, "color": INK}, at, data)


def chart(*layers: Spec) -> Spec:
    """Layers over each other, without their data."""
    return {"$schema": SCHEMA, "config": CONFIG, "layer": list(layers)}
