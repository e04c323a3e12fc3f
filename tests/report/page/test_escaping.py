"""Texts are anybody's: whatever they are, the page has the same elements, and they can be read in it as they are."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from knnscope.report.page import html, markdown, rows, runtime
from knnscope.report.page.charts import drawn
from knnscope.report.page.content import (
    Chart,
    Charts,
    Document,
    Engine,
    Facts,
    Folded,
    Grid,
    Heading,
    Listed,
    Number,
    Picture,
    Section,
    Text,
)
from knnscope.report.text import Table, plain
from tests.analysis.test_verdict import failed
from tests.analysis.test_verdict import rows as made_up

EVIL = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "' autofocus onfocus='alert(1)",
    "]]></style><!--",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "\x00\x1b[2J\u202e\ud800",
    "&lt;b&gt; & &amp;",
)
WORDS = st.one_of(st.sampled_from(EVIL), st.text(max_size=40), st.text("<>&\"'`/=|\\[]()*_#", max_size=20))


class Read(HTMLParser):
    """What a browser would see: elements, attributes, texts outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self._inside: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}
        if tag in ("script", "style"):
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.texts.append(data)


def chart(word: str) -> Chart:
    marks: list[dict[str, Any]] = [
        {"engine": word, "batch": batch, "value": 10.0 * batch, "right": True, "hint": word} for batch in (1, 10)
    ]
    table = Table(word, (word, "1"), [(Engine(word), word)], right=(1,))
    return Chart("lines", word, word, table, "lines", marks, {"title": "time", "unit": "time"})


def page_of(word: str) -> Document:
    """A page in which everything that can be a text is this one."""
    table = Table(word, (word, "n"), [(Engine(word), Number(word, 1.0)), (word, word)], right=(1,))
    blocks = [
        Text(word),
        Text(word, "warning"),
        Heading(word),
        Listed([word]),
        Facts([(word, word)]),
        Grid(table, wide=(0,)),
        Grid(table, sortable=True),
        Charts([chart(word)]),
        Picture(b"\x89PNG", word),
    ]
    return Document(word, word, word, blocks, [Section("s", "title", [Folded(word, [Text(word)])])], ["a", word])


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(WORDS)
def test_every_text_is_text(word: str) -> None:
    plainly, evil = Read(html.render(page_of("word"))), Read(html.render(page_of(word)))
    assert set(evil.tags) <= set(plainly.tags)
    assert evil.attributes <= plainly.attributes
    if shown := plain(word):  # of nothing there is no element
        drawn_by_name = ("text", "g")
        assert all(evil.tags[tag] == n for tag, n in plainly.tags.items() if tag not in drawn_by_name), evil.tags
        assert sum(shown in text for text in evil.texts) >= 10


@settings(max_examples=40)
@given(WORDS)
def test_a_chart_is_a_drawing_and_nothing_else(word: str) -> None:
    svg = runtime.svg(drawn(chart(word), 400), "name")
    read = Read(svg)
    assert set(read.tags) <= {tag.lower() for tag in runtime.DRAWN}
    assert not any(name.startswith("on") or name.endswith("href") for name in read.attributes - {"xmlns:xlink"})
    assert all(found.startswith("name-") for found in re.findall(r'\bid="([^"]*)"', svg))


def test_what_is_no_drawing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bad:
        made = ""

        def vegalite_to_svg(self, spec: object) -> str:
            return self.made

    monkeypatch.setattr(runtime, "converter", Bad)
    for inside in ("<script/>", "<g onclick='x'/>", "<a href='http://x'/>", "<image href='x'/>", "<foreignObject/>"):
        Bad.made = f"<svg xmlns='http://www.w3.org/2000/svg'>{inside}</svg>"
        with pytest.raises(ValueError, match="is no drawing"):
            runtime.svg({}, "x")


@given(WORDS)
def test_markdown_has_no_html_and_tables_keep_their_columns(word: str) -> None:
    text = markdown.render(page_of(word))
    assert not re.search(r"(?<!\\)(?:\\\\)*[<`]", text)
    assert not re.search(r"(?<!\\)(?:\\\\)*\]\(", text)
    for line in text.splitlines():
        if line.startswith("| "):
            cells = re.split(r"(?<!\\)(?:\\\\)*\|", line)
            assert len(cells) in (4,), line


@given(WORDS)
def test_csv_holds_the_rows_and_no_formula(word: str) -> None:
    import csv
    from io import StringIO

    from msgspec.structs import replace

    made = [replace(row, dataset=word, engine=word) for row in made_up("a", 100) + failed("b", "crashed")]
    found = list(csv.DictReader(StringIO(rows.render(made))))
    assert len(found) == len(made)
    for line, row in zip(found, made, strict=True):
        assert line["dataset"].strip() == plain(word)
        assert not line["dataset"].startswith(("=", "+", "-", "@"))
        assert line["median_ns"] == ("" if row.median_ns is None else str(row.median_ns))
        assert line["k"] == "10"
