"""Charts as Vega-Lite: a kind is written once, its parameters and data are filled in for each chart.

One view each, so that a page can give it any width. A mark carries its engine's colour and shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from knnscope.report.page import vega
from knnscope.report.page.content import Chart, readable
from knnscope.report.page.palette import PARTS, look
from knnscope.report.page.vega import HIDDEN, INK, QUIET, SHOWN, Data, Spec

WIDTH, HEIGHT = 440, 250
"""Pixels of a view without its axes, where nobody gives another width."""
LABEL = 13
"""Pixels between two names at the ends of lines."""
ROW = 24
"""Pixels of a line in a chart that has a line an engine."""
BAND = {"type": "rule", "strokeWidth": 5, "opacity": 0.3}
SPREAD = "isValid(datum.low)"
"""Of data that have an interval."""

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


def drawn(chart: Chart, width: int | None) -> Spec:
    """A chart of a page as Vega-Lite.

    Args:
        chart: what to draw.
        width: of its view in pixels; None is as wide as the page gives it room.
    """
    forms: dict[str, Callable[..., Spec]] = {
        f.__name__: f for f in (lines, states, shares, bars, roofline, rungs, ratios)
    }
    data = [{key: readable(v) if isinstance(v, str) else v for key, v in mark.items()} for mark in chart.data]
    spec = forms[chart.form](data, **chart.options)
    return {**spec, "width": "container" if width is None else width}


def lines(data: Data, title: str, unit: str) -> Spec:
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


def _lines(title: str, label: str) -> Spec:
    x = vega.amount(
        "batch",
        title="queries a call",
        scale=vega.scale("log", "reach"),
        axis=vega.axis("xs", "format(datum.value, ',')", grid=False),
    )
    y = vega.amount("value", title=title, scale=vega.scale("log", "domain"), axis=vega.axis("ticks", label))
    path = {"x": x, "y": y, "detail": vega.name("engine"), "color": vega.COLOUR, "strokeDash": vega.DASH}
    spread = {"x": x, "y": vega.amount("low"), "y2": {"field": "high"}, "color": vega.COLOUR}
    return vega.chart(
        vega.layer({"type": "line", "strokeWidth": 1.75}, path),
        vega.layer({"type": "rule", "strokeWidth": 1.5, "opacity": 0.55}, spread, only=(SHOWN, SPREAD)),
        vega.marks({"x": x, "y": y}),
        vega.names({"x": {"value": "width"}, "y": vega.amount("value"), "text": vega.name("engine")}, "ends"),
    )


def states(data: Data) -> Spec:
    """A line an engine: its first, cold and hot call on one logarithmic axis of time, the interval of the hot one.

    Args:
        data: dicts of engine, state ("first", "cold", "hot"), value, right, hint; low and high of the hot ones.
    """
    domain = _domain([d[name] for d in data for name in ("value", "low", "high") if d.get(name)])
    order = list(dict.fromkeys(d["engine"] for d in data))
    known = {"order": order, "ticks": _ticks(*domain), "domain": domain}
    return _filled(_states(), known, ROW * len(order), marks=_looks(data))


def _states() -> Spec:
    x = vega.amount("value", title="time of a call", scale=vega.scale("log", "domain"), axis=vega.axis("ticks", TIME))
    y = vega.rows("engine")
    hot, cold, first = (f"datum.state === '{state}'" for state in ("hot", "cold", "first"))
    path = {"x": x, "y": y, "detail": vega.name("engine"), "color": vega.COLOUR}
    spread = {"x": vega.amount("low"), "x2": {"field": "high"}, "y": y, "color": vega.COLOUR}
    hinted = {"x": x, "y": y, "color": vega.COLOUR, "tooltip": vega.HINT}
    stroke = {"type": "tick", "thickness": 2, "size": 13, "orient": "vertical"}
    ring = {"type": "point", "shape": "circle", "size": 26, "strokeWidth": 1.25}
    return vega.chart(
        vega.layer({"type": "line", "strokeWidth": 1, "opacity": 0.5}, path),
        vega.layer(BAND, spread, only=(SHOWN, hot, SPREAD)),
        vega.layer(ring, hinted, only=(SHOWN, first)),
        vega.layer(stroke, hinted, only=(SHOWN, cold)),
        vega.marks({"x": x, "y": y}, hot),
    )


def shares(data: Data, order: Sequence[str]) -> Spec:
    """A bar a line, of parts that make 100%; the whole is named at its end.

    Args:
        data: dicts of line, engine, part, share, total (a text), hint.
        order: the parts' names.
    """
    named = [{**d, "colour": PARTS[order.index(d["part"])], "place": order.index(d["part"])} for d in data]
    rows = list(dict.fromkeys(d["line"] for d in data))
    totals = [d for d in named if d["part"] == order[0]]
    return _filled(_shares(order), {"order": rows}, ROW * len(rows), marks=named, totals=totals)


def _shares(order: Sequence[str]) -> Spec:
    legend = {"orient": "top", "title": None, "symbolType": "square", "labelColor": INK, "offset": 4}
    colour = vega.name("part", scale={"domain": list(order), "range": list(PARTS)}, legend=legend)
    percents = {"format": "%", "tickCount": 5}
    x = vega.amount("share", title=None, stack="zero", axis=percents, scale={"domain": [0, 1]})
    y = vega.rows("line")
    at = {"x": x, "y": y, "color": colour, "order": vega.amount("place"), "tooltip": vega.HINT}
    totals = {"x": {"value": "width"}, "y": y, "text": vega.name("total")}
    return vega.chart(vega.layer({"type": "bar", "height": 12}, at), vega.names(totals, "totals"))


def bars(data: Data, unit: str) -> Spec:
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


def _bars(label: str) -> Spec:
    x = vega.amount("value", title=None, scale=vega.scale("linear", "domain"), axis=vega.axis("ticks", label))
    y = vega.rows("engine")
    bar = {"type": "bar", "height": 10, "opacity": 0.85}
    figures = vega.names({"x": x, "y": y, "text": vega.name("text")}, dx=6)
    return vega.chart(vega.layer(bar, {"x": x, "y": y, "color": vega.COLOUR, "tooltip": vega.HINT}), figures)


def roofline(data: Data, roofs: Data) -> Spec:
    """Work done a second over work a byte, both logarithmic, below what the machine can do.

    Args:
        data: dicts of engine, intensity, value (operations a second), right, hint: a mark an engine and batch size.
        roofs: dicts of device, intensity, value, the machine's best there; ``label`` where its name is to stand.
    """
    domain, reach = _domain([d["value"] for d in (*data, *roofs)]), _domain([d["intensity"] for d in data])
    known = {"xs": _ticks(*reach), "reach": reach, "ticks": _ticks(*domain), "domain": domain}
    return _filled(_roofline(), known, HEIGHT + 50, marks=_looks(data), roofs=roofs)


def _roofline() -> Spec:
    x = vega.amount(
        "intensity", title="operations a byte", scale=vega.scale("log", "reach"), axis=vega.axis("xs", COUNT)
    )
    label = vega.axis("ticks", "format(datum.value, '~s')")
    y = vega.amount("value", title="operations a second", scale=vega.scale("log", "domain"), axis=label)
    roof = {"type": "line", "color": QUIET, "strokeWidth": 2.5}
    said = {"type": "text", "align": "right", "dy": -9, "fontSize": 11, "color": INK}
    path = {"x": x, "y": y, "color": vega.COLOUR, "detail": vega.name("engine"), "strokeDash": vega.DASH}
    return vega.chart(
        vega.layer(roof, {"x": x, "y": y, "detail": vega.name("device")}, "roofs", ()),
        vega.layer(said, {"x": x, "y": y, "text": vega.name("label")}, "roofs", ("isValid(datum.label)",)),
        vega.layer({"type": "line", "strokeWidth": 1, "opacity": 0.45}, path),
        vega.marks({"x": x, "y": y}),
    )


def rungs(data: Data) -> Spec:
    """A mark a rung on a logarithmic axis of time, and the least that reading the rows takes.

    Args:
        data: dicts of engine (the rung), value, text, right, hint; floor where it is known.
    """
    domain = _domain([d[name] for d in data for name in ("value", "floor") if d.get(name)])
    order = [d["engine"] for d in data]
    known = {"order": order, "ticks": _ticks(*domain), "domain": domain}
    return _filled(_rungs(), known, ROW * len(order), marks=_looks(data))


def _rungs() -> Spec:
    x = vega.amount("value", title="time of a search", scale=vega.scale("log", "domain"), axis=vega.axis("ticks", TIME))
    y = vega.rows("engine")
    stem = {"x": x, "x2": {"value": 0}, "y": y, "color": vega.COLOUR}
    floor = {"type": "tick", "thickness": 2, "size": 14, "color": QUIET, "orient": "vertical"}
    return vega.chart(
        vega.layer({"type": "rule", "strokeWidth": 1.25, "opacity": 0.5}, stem),
        vega.layer(floor, {"x": vega.amount("floor"), "y": y}, only=(SHOWN, "isValid(datum.floor)")),
        vega.marks({"x": x, "y": y}),
        vega.names({"x": x, "y": y, "text": vega.name("text")}),
    )


def ratios(data: Data) -> Spec:
    """A mark a line with its interval, on a logarithmic axis that is the same to both sides of 1.

    Args:
        data: dicts of line, engine, value, low, high, right, hint.
    """
    most = max(max(d["high"], 1 / d["low"]) for d in data) * 1.05
    domain = [1 / most, most]
    order = list(dict.fromkeys(d["line"] for d in data))
    known = {"order": order, "ticks": sorted({1.0, *_ticks(*domain)}), "domain": domain}
    return _filled(_ratios(), known, ROW * len(order), marks=_looks(data), one=[{"value": 1}])


def _ratios() -> Spec:
    label = vega.axis("ticks", "format(datum.value, '~g') + '×'")
    x = vega.amount("value", title="B / A (left is better)", scale=vega.scale("log", "domain"), axis=label)
    y = vega.rows("line")
    spread = {"x": vega.amount("low"), "x2": {"field": "high"}, "y": y, "color": vega.COLOUR}
    return vega.chart(
        vega.layer({"type": "rule", "color": QUIET, "strokeWidth": 1.5}, {"x": x}, "one", ()),
        vega.layer(BAND, spread, only=(SHOWN, SPREAD)),
        vega.marks({"x": x, "y": y}),
    )


def _filled(kind: Spec, known: dict[str, Any], height: int, **datasets: Data) -> Spec:
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
