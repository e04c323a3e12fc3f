"""Charts as Vega-Lite, by Altair: a kind is built once, its parameters and data are filled in for each chart.

One view each, so that a page can give it any width. A mark carries its engine's colour and shape. Colours of text and axes are the
page's own: style.css finds them by ``INK``, ``QUIET`` and ``GRID``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal

import altair as alt
from altair.utils.schemapi import debug_mode

from knnscope.report.page.content import Chart, readable
from knnscope.report.page.palette import PARTS, look

WIDTH, HEIGHT = 440, 250
"""Pixels of a view without its axes, where nobody gives another width."""
INK, QUIET, GRID = "#1b1b1b", "#5c5c5c", "#dcdcdc"
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
LABEL = 13
"""Pixels between two names at the ends of lines."""
ROW = 24
"""Pixels of a line in a chart that has a line an engine."""
HIDDEN = "hidden"
"""The parameter that lists engines which readers have switched off."""

Data = list[dict[str, Any]]
TIME = (
    "datum.value >= 1e9 ? format(datum.value/1e9, ',~g') + ' s' : datum.value >= 1e6 ? format(datum.value/1e6, '~g') + ' ms' : "
    "datum.value >= 1e3 ? format(datum.value/1e3, '~g') + ' µs' : format(datum.value, '~g') + ' ns'"
)
COUNT = "datum.value < 10000 ? format(datum.value, ',~g') : format(datum.value, '~s')"
BYTES = (
    "datum.value >= 1073741824 ? format(datum.value/1073741824, ',~g') + ' GiB' : "
    "datum.value >= 1048576 ? format(datum.value/1048576, '~g') + ' MiB' : format(datum.value, ',~g')"
)

UNITS = {"time": TIME, "count": COUNT, "bytes": BYTES}
"""What stands at ticks: durations of nanoseconds, counts, bytes."""


def drawn(chart: Chart, width: int | None) -> dict[str, Any]:
    """A chart of a page as Vega-Lite.

    Args:
        chart: what to draw.
        width: of its view in pixels; None is as wide as the page gives it room.
    """
    forms: dict[str, Callable[..., dict[str, Any]]] = {
        f.__name__: f for f in (lines, states, shares, bars, roofline, rungs, ratios)
    }
    data = [{key: readable(v) if isinstance(v, str) else v for key, v in mark.items()} for mark in chart.data]
    spec = forms[chart.form](data, **chart.options)
    return {**spec, "width": "container" if width is None else width}


def lines(data: Data, title: str, unit: str) -> dict[str, Any]:
    """A line an engine over batch sizes, both logarithmic, each named at its end.

    Args:
        data: dicts of engine, batch, value, right and ``hint``, a text for whoever points at it; low and high where there is an interval.
        title: of the values.
        unit: of ``UNITS``, for their ticks.
    """
    domain = _domain([d[name] for d in data for name in ("value", "low", "high") if d.get(name)])
    batches = sorted({d["batch"] for d in data})
    known = {"xs": batches, "reach": [batches[0], batches[-1]], "ticks": _ticks(*domain), "domain": domain}
    return _filled(_lines(title, UNITS[unit]), known, HEIGHT, marks=_looks(data), ends=_looks(_ends(data, domain)))


@cache
def _lines(title: str, label: str) -> dict[str, Any]:
    x = alt.X(
        "batch:Q",
        title="queries a call",
        scale=_scale("log", "reach"),
        axis=_axis("xs", "format(datum.value, ',')", grid=False),
    )
    y = alt.Y("value:Q", title=title, scale=_scale("log", "domain"), axis=_axis("ticks", label))
    base = _shown()
    drawn = base.mark_line(strokeWidth=1.75).encode(x=x, y=y, detail="engine:N", color=_COLOUR, strokeDash=_DASH)
    spread = _spread(base).mark_rule(strokeWidth=1.5, opacity=0.55).encode(x=x, y="low:Q", y2="high:Q", color=_COLOUR)
    names = _names(_shown("ends")).encode(x=alt.value("width"), y="value:Q", text="engine:N")
    return _kind(drawn, spread, _marks(base, x=x, y=y), names)


def states(data: Data) -> dict[str, Any]:
    """A line an engine: its first, cold and hot call on one logarithmic axis of time, the interval of the hot one.

    Args:
        data: dicts of engine, state ("first", "cold", "hot"), value, right, hint; low and high of the hot ones.
    """
    domain = _domain([d[name] for d in data for name in ("value", "low", "high") if d.get(name)])
    order = list(dict.fromkeys(d["engine"] for d in data))
    known = {"order": order, "ticks": _ticks(*domain), "domain": domain}
    return _filled(_states(), known, ROW * len(order), marks=_looks(data))


@cache
def _states() -> dict[str, Any]:
    x = alt.X("value:Q", title="time of a call", scale=_scale("log", "domain"), axis=_axis("ticks", TIME))
    y = _rows("engine:N")
    base = _shown()
    hot, cold, first = (base.transform_filter(f"datum.state === '{name}'") for name in ("hot", "cold", "first"))
    path = base.mark_line(strokeWidth=1, opacity=0.5).encode(x=x, y=y, detail="engine:N", color=_COLOUR)
    spread = _spread(hot).mark_rule(strokeWidth=5, opacity=0.3).encode(x="low:Q", x2="high:Q", y=y, color=_COLOUR)
    strokes = cold.mark_tick(thickness=2, size=13, orient="vertical").encode(x=x, y=y, color=_COLOUR, tooltip=_HINT)
    rings = first.mark_point(shape="circle", size=26, strokeWidth=1.25).encode(x=x, y=y, color=_COLOUR, tooltip=_HINT)
    return _kind(path, spread, rings, strokes, _marks(hot, x=x, y=y))


def shares(data: Data, order: Sequence[str]) -> dict[str, Any]:
    """A bar a line, of parts that make 100%; the whole is named at its end.

    Args:
        data: dicts of line, engine, part, share, total (a text), hint.
        order: the parts' names.
    """
    named = [{**d, "colour": PARTS[order.index(d["part"])], "place": order.index(d["part"])} for d in data]
    rows = list(dict.fromkeys(d["line"] for d in data))
    totals = [d for d in named if d["part"] == order[0]]
    return _filled(_shares(tuple(order)), {"order": rows}, ROW * len(rows), marks=named, totals=totals)


@cache
def _shares(order: tuple[str, ...]) -> dict[str, Any]:
    legend = alt.Legend(orient="top", title=None, symbolType="square", labelColor=INK, offset=4)
    colour = alt.Color("part:N", scale=alt.Scale(domain=list(order), range=list(PARTS)), legend=legend)
    x = alt.X(
        "share:Q", title=None, stack="zero", axis=alt.Axis(format="%", tickCount=5), scale=alt.Scale(domain=[0, 1])
    )
    y = _rows("line:N")
    drawn = _shown().mark_bar(height=12).encode(x=x, y=y, color=colour, order="place:Q", tooltip=_HINT)
    return _kind(drawn, _names(_shown("totals")).encode(x=alt.value("width"), y=y, text="total:N"))


def bars(data: Data, unit: str) -> dict[str, Any]:
    """A bar a line from zero, with its figure beside it.

    Args:
        data: dicts of engine, value, text, hint.
        unit: of ``UNITS``, for the ticks.
    """
    rows = list(dict.fromkeys(d["engine"] for d in data))
    largest = max(d["value"] for d in data)
    step = 2.0 ** math.ceil(math.log2(largest / 6))
    known = {"order": rows, "domain": [0, largest], "ticks": [step * i for i in range(int(largest / step) + 1)]}
    return _filled(_bars(UNITS[unit]), known, ROW * len(rows), marks=_looks(data))


@cache
def _bars(label: str) -> dict[str, Any]:
    x = alt.X("value:Q", title=None, scale=_scale("linear", "domain"), axis=_axis("ticks", label))
    y = _rows("engine:N")
    drawn = _shown().mark_bar(height=10, opacity=0.85).encode(x=x, y=y, color=_COLOUR, tooltip=_HINT)
    return _kind(drawn, _names(_shown(), 6).encode(x=x, y=y, text="text:N"))


def roofline(data: Data, roofs: Data) -> dict[str, Any]:
    """Work done a second over work a byte, both logarithmic, below what the machine can do.

    Args:
        data: dicts of engine, intensity, value (operations a second), right, hint: a mark an engine and batch size.
        roofs: dicts of device, intensity, value, the machine's best there; ``label`` where its name is to stand.
    """
    domain, reach = _domain([d["value"] for d in (*data, *roofs)]), _domain([d["intensity"] for d in data])
    known = {"xs": _ticks(*reach), "reach": reach, "ticks": _ticks(*domain), "domain": domain}
    return _filled(_roofline(), known, HEIGHT + 50, marks=_looks(data), roofs=roofs)


@cache
def _roofline() -> dict[str, Any]:
    x = alt.X("intensity:Q", title="operations a byte", scale=_scale("log", "reach"), axis=_axis("xs", COUNT))
    y = alt.Y(
        "value:Q",
        title="operations a second",
        scale=_scale("log", "domain"),
        axis=_axis("ticks", "format(datum.value, '~s')"),
    )
    roof = alt.Chart(alt.NamedData(name="roofs"))
    best = roof.mark_line(color=QUIET, strokeWidth=2.5).encode(x=x, y=y, detail="device:N")
    named = roof.transform_filter("isValid(datum.label)")
    labels = named.mark_text(align="right", dy=-9, fontSize=11, color=INK).encode(x=x, y=y, text="label:N")
    path = (
        _shown()
        .mark_line(strokeWidth=1, opacity=0.45)
        .encode(x=x, y=y, color=_COLOUR, detail="engine:N", strokeDash=_DASH)
    )
    return _kind(best, labels, path, _marks(_shown(), x=x, y=y))


def rungs(data: Data) -> dict[str, Any]:
    """A mark a rung on a logarithmic axis of time, and the least that reading the rows takes.

    Args:
        data: dicts of engine (the rung), value, text, right, hint; floor where it is known.
    """
    domain = _domain([d[name] for d in data for name in ("value", "floor") if d.get(name)])
    order = [d["engine"] for d in data]
    known = {"order": order, "ticks": _ticks(*domain), "domain": domain}
    return _filled(_rungs(), known, ROW * len(order), marks=_looks(data))


@cache
def _rungs() -> dict[str, Any]:
    x = alt.X("value:Q", title="time of a search", scale=_scale("log", "domain"), axis=_axis("ticks", TIME))
    y = _rows("engine:N")
    base = _shown()
    stem = base.mark_rule(strokeWidth=1.25, opacity=0.5).encode(x=x, x2=alt.value(0), y=y, color=_COLOUR)
    floor = base.transform_filter("isValid(datum.floor)").mark_tick(
        thickness=2, size=14, color=QUIET, orient="vertical"
    )
    names = _names(base).encode(x=x, y=y, text="text:N")
    return _kind(stem, floor.encode(x="floor:Q", y=y), _marks(base, x=x, y=y), names)


def ratios(data: Data) -> dict[str, Any]:
    """A mark a line with its interval, on a logarithmic axis that is the same to both sides of 1.

    Args:
        data: dicts of line, engine, value, low, high, right, hint.
    """
    most = max(max(d["high"], 1 / d["low"]) for d in data) * 1.05
    domain = [1 / most, most]
    order = list(dict.fromkeys(d["line"] for d in data))
    known = {"order": order, "ticks": sorted({1.0, *_ticks(*domain)}), "domain": domain}
    return _filled(_ratios(), known, ROW * len(order), marks=_looks(data))


@cache
def _ratios() -> dict[str, Any]:
    axis = _axis("ticks", "format(datum.value, '~g') + '×'")
    x = alt.X("value:Q", title="B / A (left is better)", scale=_scale("log", "domain"), axis=axis)
    y = _rows("line:N")
    base = _shown()
    one = alt.Chart(alt.InlineData(values=[{"value": 1}])).mark_rule(color=QUIET, strokeWidth=1.5).encode(x=x)
    spread = base.mark_rule(strokeWidth=5, opacity=0.3).encode(x="low:Q", x2="high:Q", y=y, color=_COLOUR)
    return _kind(one, spread, _marks(base, x=x, y=y))


_COLOUR = alt.Color("colour:N", scale=None)
_DASH = alt.condition("datum.broken", alt.value([5, 3]), alt.value([1, 0]))
_HINT = [alt.Tooltip("engine:N", title="engine"), alt.Tooltip("hint:N", title="here")]


def _shown(name: str = "marks") -> alt.Chart:
    """Marks of the data of this name, but for engines that are switched off."""
    shown: alt.Chart = alt.Chart(alt.NamedData(name=name)).transform_filter(f"indexof({HIDDEN}, datum.engine) < 0")
    return shown


def _spread(base: alt.Chart) -> alt.Chart:
    found: alt.Chart = base.transform_filter("isValid(datum.low)")
    return found


def _marks(base: alt.Chart, **at: Any) -> alt.Chart:
    """Filled where the answer is right, hollow where it is wrong."""
    inside = alt.condition("datum.right", alt.value(1), alt.value(0))
    shape, fill = alt.Shape("shape:N", scale=None), alt.Fill("colour:N", scale=None)
    point = base.mark_point(size=34, strokeWidth=1.5, opacity=1)
    found: alt.Chart = point.encode(**at, color=_COLOUR, fill=fill, shape=shape, fillOpacity=inside, tooltip=_HINT)
    return found


def _names(base: alt.Chart, dx: int = 9) -> alt.Chart:
    found: alt.Chart = base.mark_text(align="left", dx=dx, fontSize=11, color=INK)
    return found


def _scale(kind: Literal["linear", "log"], domain: str) -> alt.Scale:
    return alt.Scale(type=kind, domain=alt.ExprRef(domain), nice=False)


def _axis(values: str, label: str, grid: bool = True) -> alt.Axis:
    return alt.Axis(values=alt.ExprRef(values), labelExpr=label, grid=grid)


def _rows(field: str) -> alt.Y:
    """Names down the left, in the order that is given."""
    axis = alt.Axis(labelFontSize=12, labelColor=INK, labelLimit=190, ticks=False, domain=False, labelPadding=8)
    return alt.Y(field, title=None, scale=alt.Scale(domain=alt.ExprRef("order")), axis=axis)


def _kind(*layers: alt.Chart) -> dict[str, Any]:
    """A chart without its data."""
    axis = {
        "labelColor": QUIET,
        "titleColor": QUIET,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
    }
    lines = {"gridColor": GRID, "domainColor": GRID, "tickColor": GRID, "labelPadding": 5, "titlePadding": 8}
    with debug_mode(False):  # every kind is held to Vega-Lite's schema by tests/report/page/test_charts.py
        chart = alt.layer(*layers).configure(font=FONT, background="transparent", aria=False).configure_mark(aria=False)
        spec: dict[str, Any] = chart.configure_view(stroke=None).configure_axis(**axis, **lines).to_dict(validate=False)
    return spec


def _filled(kind: dict[str, Any], known: dict[str, Any], height: int, **datasets: Data) -> dict[str, Any]:
    """The chart of a kind: its parameters, its height, its data."""
    params = [{"name": name, "value": value} for name, value in ({HIDDEN: []} | known).items()]
    return {**kind, "height": height, "params": params, "datasets": datasets}


def _looks(data: Data) -> Data:
    """Marks with their engine's colour, shape and kind of line."""
    found = []
    for d in data:
        colour, _, broken = looks = look(d["engine"])
        found.append({**d, "colour": colour, "shape": looks.path, "broken": broken})
    return found


def _domain(values: Sequence[float]) -> list[float]:
    """From a little below the least to a little above the largest."""
    low, high = min(values), max(values)
    room = max((high / low) ** 0.06, 1.05)
    return [low / room, high * room]


def _ticks(low: float, high: float) -> list[float]:
    """Powers of ten, with steps between them where there are few."""
    spans = math.log10(high / low)
    steps = (1, 1.5, 2, 3, 4, 5, 6, 8) if spans < 0.6 else (1, 2, 5) if spans < 2.2 else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [step * 10.0**d for d in decades for step in steps if low <= step * 10.0**d <= high]
    return found or [float(f"{math.sqrt(low * high):.2g}")]


def _ends(data: Data, domain: Sequence[float]) -> Data:
    """The last point of each line, and a height at which its name overlaps no other."""
    last: dict[str, dict[str, Any]] = {}
    for d in sorted(data, key=lambda d: d["batch"]):
        last[d["engine"]] = d
    low, high = (math.log(v) for v in domain)
    scale = HEIGHT / (high - low)
    wanted = sorted(((math.log(d["value"]) - low) * scale, name) for name, d in last.items())
    places = _apart([place for place, _ in wanted])
    return [
        {"engine": name, "value": math.exp(low + place / scale)}
        for (_, name), place in zip(wanted, places, strict=True)
    ]


def _apart(places: Sequence[float]) -> list[float]:
    """Ascending places moved as little as it takes to be ``LABEL`` apart: blocks of neighbors around their mean."""
    blocks: list[list[float]] = []
    for place in places:
        blocks.append([place])
        while len(blocks) > 1 and _overlap(blocks[-2], blocks[-1]):
            above = blocks.pop()
            blocks[-1] = [*blocks[-1], *above]
    return [_middle(b) + LABEL * (i - (len(b) - 1) / 2) for b in blocks for i in range(len(b))]


def _overlap(below: Sequence[float], above: Sequence[float]) -> bool:
    return _middle(above) - _middle(below) < LABEL * (len(above) + len(below)) / 2


def _middle(block: Sequence[float]) -> float:
    return sum(block) / len(block)
