"""Traces for Python."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import knnscope
from knnscope.api import explaining
from knnscope.api.explaining import Part
from knnscope.errors import KnnscopeError
from knnscope.report import markup
from tests.trace import fixtures, write


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fixtures.unpacked("nsys-cupy-loop", tmp_path_factory.mktemp("trace"))


def test_an_explanation_as_record(path: Path, tmp_path: Path) -> None:
    found = knnscope.explain(path)
    assert found.to_dict() == knnscope.Trace(path).explain().to_dict()
    found.save(tmp_path / "why.json")
    assert json.loads((tmp_path / "why.json").read_text()) == found.to_dict()
    rows = found.rows()
    assert [row["rule"] for row in rows] == [f.rule for f in found.findings]
    assert all(isinstance(value, str | int | float | None) for row in rows for value in row.values()), "flat"
    assert found.at_least("low") == list(found.findings)
    assert len(found.at_least("high")) < len(found.findings)
    assert repr(found).startswith("<Explanation of nsys-cupy-loop.sqlite: bound by ")
    with pytest.raises(KnnscopeError, match="one of high, medium, low"):
        found.at_least("huge")


def test_against_a_later_trace(path: Path, tmp_path: Path) -> None:
    later = fixtures.unpacked("nsys-fused", tmp_path)
    found = knnscope.explain(path, against=knnscope.Trace(later))
    assert found.against is not None
    assert found.to_dict()["against"][-1]["after"]["phase"] == "search fused"
    assert "search cupy-loop -&gt; search fused" in found._repr_html_()
    assert "search cupy-loop -> search fused" in str(found)


@pytest.mark.parametrize("later", [None, "nsys-fused"])
def test_an_explanation_comes_back_as_it_was_without_its_trace(later: str | None, tmp_path: Path) -> None:
    path = fixtures.unpacked("nsys-cupy-loop", tmp_path)
    found = knnscope.explain(path, against=fixtures.unpacked(later, tmp_path) if later else None)
    found.save(tmp_path / "why.json")
    path.unlink()
    again = knnscope.Explanation.load(tmp_path / "why.json")
    assert again.to_dict() == found.to_dict()
    assert (str(again), repr(again), again.rows()) == (str(found), repr(found), found.rows())
    assert again._repr_html_() == found._repr_html_()
    assert again.at_least("high") == found.at_least("high") != []
    assert (again.bounds, again.phases, again.notes) == (found.bounds, found.phases, found.notes)
    assert (again.against is None) == (later is None)


def changed(whole: dict[str, Any], *keys: Any, to: object) -> dict[str, Any]:
    inner: Any = whole
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = to
    return whole


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("findings", 0, "severity"), "huge"),
        (("findings", 0, "saving_ms"), "1"),
        (("bounds", 0, "what"), "nothing"),
        (("bounds", 0, "shares"), {}),
        (("phases",), None),
        (("trace",), 1),
    ],
)
def test_a_file_that_is_no_explanation_is_refused(path: Path, tmp_path: Path, keys: Any, value: object) -> None:
    file = tmp_path / "why.json"
    file.write_text(json.dumps(changed(knnscope.explain(path).to_dict(), *keys, to=value)))
    with pytest.raises(KnnscopeError, match=r"why\.json: not an explanation that .*\$") as caught:
        knnscope.Explanation.load(file)
    assert "\n" not in str(caught.value)


def test_anybodys_words_in_a_saved_explanation_are_short_and_escaped(path: Path, tmp_path: Path) -> None:
    file, whole = tmp_path / "why.json", knnscope.explain(path).to_dict()
    evil = "<script>\x1b[2J\n" * 100
    whole["findings"] = [{**whole["findings"][0], **dict.fromkeys(("rule", "phase", "title", "remedy"), evil)}] * 1000
    whole["findings"][0]["overlaps"] = [evil]
    whole["unanswered"] = [{"rule": evil, "why": evil}]
    change = {"what": evil, "name": evil, "word": evil, "before": [1, 1], "after": [2, 2]}
    pair = {"before": whole["phases"][0], "after": whole["phases"][0], "changes": [change], "gone": [evil]}
    whole["against"] = [{**pair, "predicted_ms": 1, "measured_ms": 1, "came_true": True}] * 50
    whole["phases"] = [{**whole["phases"][0], "phase": evil}] * 1000
    whole["trace"] |= {"path": evil, "recorder": evil, "gpus": dict.fromkeys(whole["trace"]["gpus"], evil)}
    file.write_text(json.dumps(whole))
    found = knnscope.Explanation.load(file)
    assert len(repr(found)) < 500
    assert "\n" not in repr(found)
    page = found._repr_html_()
    assert "<script>" not in page
    assert page.count("<tr>") == 2 * (markup.LINES + 1)
    assert "\x1b" not in str(found) + repr(found) + page


def test_rows_with_column_names(path: Path) -> None:
    trace = knnscope.Trace(path)
    found = trace.sql("SELECT 1 AS a, x'00ff' AS a, 1e999 AS b")
    assert found.columns == ("a", "a", "b")
    assert found[0] == (1, b"\x00\xff", float("inf"))
    assert found.rows() == [{"a": 1, "a_2": "00ff", "b": None}]
    json.dumps(found.to_dict(), allow_nan=False)
    few = trace.sql("SELECT * FROM StringIds", limit=2)
    assert (len(few), few.more) == (2, True)
    assert "there are more rows" in few._repr_html_()
    assert trace.sql("kernels").columns[0] == "kernel"
    assert {name for name, _ in trace.questions()} >= {"kernels", "copies"}


@pytest.mark.parametrize("query", ["DROP TABLE StringIds", "PRAGMA query_only = OFF", "SELECT 1; SELECT 2", "kernls"])
def test_a_trace_is_only_read(path: Path, query: str) -> None:
    before = path.read_bytes()
    with pytest.raises(KnnscopeError, match=r"only read|one question|did you mean"):
        knnscope.Trace(path).sql(query)
    assert path.read_bytes() == before


def test_names_of_a_trace_are_escaped(tmp_path: Path) -> None:
    """In every place of the HTML: a kernel, a range and a file may have any name."""
    evil = "<script>alert(1)</script>"
    made = write.Trace(tmp_path / "<i>.sqlite")
    for i in range(40):
        made.kernel(
            evil, i * 100_000, i * 100_000 + 90_000, made.call("cudaLaunchKernel", i * 100_000 - 10, i * 100_000)
        )
    made.range(evil, 0, 4_000_000)
    trace = knnscope.Trace(made.done())
    for shown in (trace.explain(), trace.sql(f"SELECT '{evil}' AS \"{evil}\""), trace):
        said = shown._repr_html_()
        assert "<script" not in said
        assert "<i>" not in said


@given(st.lists(st.tuples(st.text(), st.text()), max_size=5))
def test_html_holds_texts_as_texts(lines: list[tuple[str, str]]) -> None:
    tags: list[str] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            tags.append(tag)

    Tags().feed(markup.table(("a", "<b>"), lines))
    assert sorted(tags) == sorted(["table", "thead", "tbody", "tr", "th", "th", *["tr", "td", "td"] * len(lines)])


def test_what_is_no_trace_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "x.sqlite").write_text("no database")
    for call in (knnscope.Trace, knnscope.explain):
        with pytest.raises(KnnscopeError, match="no SQLite database"):
            call(tmp_path / "x.sqlite")


def test_a_page_of_very_many_events_says_how_to_draw_a_part(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = knnscope.Trace(path)
    assert not any("browser" in note for note in trace.draw(tmp_path / "x.html").notes)
    monkeypatch.setattr(explaining, "MANY", 100)
    assert "draw a part" in trace.draw(tmp_path / "x.html").notes[-1]
    assert not any("browser" in note for note in trace.draw(tmp_path / "x.json").notes)


def test_a_timeline(path: Path, tmp_path: Path) -> None:
    drawn = knnscope.Trace(path).draw(tmp_path / "x.json", Part(phase="search"))
    assert drawn.path.stat().st_size > 1000
    assert drawn.window.title.startswith("knnscope: search cupy-loop")
    for part, out, message in (
        (None, "x.pdf", r"must end in \.html, \.png, \.svg or \.json"),
        (Part(phase="search", around=3), "y.json", "give only one"),
        (Part(begin=3, end=2), "y.json", "has to be smaller"),
    ):
        with pytest.raises(KnnscopeError, match=message):
            knnscope.Trace(path).draw(tmp_path / out, part)
