"""Charts: each kind is Vega-Lite by its schema, names do not overlap, axes have ticks, an engine looks the same everywhere."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import altair as alt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope.analysis.contents import contents
from knnscope.report.page import charts, palette, vega
from knnscope.report.page.document import document
from knnscope.search import catalog
from tests.report.page.test_document import RUNS, SAMPLE

FORMS = {"lines", "states", "shares", "bars", "roofline", "rungs"}
"""Of one run; ratios is held to the same by test_differences.py."""


def assert_drawable(spec: vega.Spec) -> None:
    """By the schema; and a layer whose data set is not there draws nothing, of which nobody is told."""
    alt.LayerChart.validate(spec)
    assert {layer["data"]["name"] for layer in spec["layer"]} == spec["datasets"].keys()


@pytest.mark.parametrize("folder", [*RUNS, SAMPLE], ids=lambda path: path.name)
def test_every_chart_is_what_vega_lite_s_schema_says_and_has_its_data(folder: Path) -> None:
    page = document(contents(folder))
    drawn = list(page.charts())
    assert drawn
    assert len({chart.name for chart in drawn}) == len(drawn)
    for chart in {chart.form: chart for chart in drawn}.values():
        assert_drawable(charts.drawn(chart, None))
    for chart in drawn:
        assert chart.table.lines
        assert len(chart.said) > 20
        assert chart.form in FORMS


def test_all_forms_are_held_to_it() -> None:
    assert {chart.form for folder in RUNS for chart in document(contents(folder)).charts()} == FORMS


@given(st.lists(st.floats(0, 250), min_size=1, max_size=15))
def test_names_at_the_ends_of_lines_are_apart_and_in_order(places: list[float]) -> None:
    found = charts._apart(sorted(places))
    assert len(found) == len(places)
    assert all(b - a >= charts.LABEL - 1e-6 for a, b in pairwise(found))
    assert sum(found) == pytest.approx(sum(places), abs=1e-6 + 1e-9 * sum(places))


@given(st.lists(st.floats(1e-3, 1e12), min_size=1, max_size=5))
def test_every_axis_holds_its_values_and_has_ticks(values: list[float]) -> None:
    low, high = charts._domain(values)
    assert low < min(values) <= max(values) < high
    ticks = charts._ticks(low, high)
    assert 1 <= len(ticks) <= 20
    assert all(low * 0.99 <= tick <= high * 1.01 for tick in ticks)


def test_no_two_engines_look_alike() -> None:
    assert set(palette.LOOKS) == set(catalog.ENGINES)
    looks = [look[:2] for look in palette.LOOKS.values()]
    assert len(set(looks)) == len(looks)
    for name, entry in catalog.ENGINES.items():
        assert palette.look(name).broken == (entry.device == "cuda")


@given(st.text())
def test_any_other_name_has_one_look(name: str) -> None:
    assert palette.look(name) == palette.look(name)
    assert palette.look(name).path
