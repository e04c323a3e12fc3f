"""knnscope timeline as a user runs it."""

from __future__ import annotations

import json
import re
import sqlite3
import struct
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from knnscope.report import perfetto
from tests.cli.conftest import Run, refused
from tests.trace.test_lanes import fixture

EVIL = "<script>alert(1)</script>$\\frac{\x1b[31m\u202e"


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return fixture("300-cupy-loop", tmp_path)


def made(path: Path, kernels: list[tuple[int, int, str]]) -> Path:
    """A trace of kernels only, in the schema of Nsight Systems."""
    with sqlite3.connect(path) as base:
        base.execute("CREATE TABLE StringIds (id INTEGER, value TEXT)")
        base.execute("CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER, end INTEGER, shortName INTEGER)")
        for i, (start, end, name) in enumerate(kernels):
            base.execute("INSERT INTO StringIds VALUES (?, ?)", (i, name))
            base.execute("INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (?, ?, ?)", (start, end, i))
    base.close()
    return path


def texts(path: Path) -> str:
    """All text of an SVG picture; it has to be well-formed, and no element may be a script."""
    root = ElementTree.parse(path).getroot()
    assert not [element for element in root.iter() if "script" in str(element.tag)]
    return "\n".join("".join(element.itertext()) for element in root.iter() if str(element.tag).endswith("}text"))


@pytest.mark.parametrize("choice", [(), ("--phase", "SEARCH"), ("--around", 100), ("--from", 470, "--to", 480)])
def test_pictures(knnscope: Run, trace: Path, choice: tuple[Any, ...]) -> None:

    code, out, err = knnscope("timeline", trace, *choice, "-o", "x.png")
    assert code == 0, err
    head = Path("x.png").read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    assert struct.unpack(">II", head[16:24]) == (1600, int(out.split(" x ")[1].split()[0]))
    assert "x.png: " in out


def test_one_iteration_names_its_kernels_and_calls(knnscope: Run, trace: Path) -> None:

    assert knnscope("timeline", trace, "--around", 100, "-o", "x.svg")[0] == 0
    said = texts(Path("x.svg"))
    for word in ("NVIDIA H200", "iteration 100: ", "12 kernels, 4 copies", "DeviceReduceSingleTileKernel"):
        assert word in said
    assert said.count("cudaStreamSynchronize") >= 2
    assert "µs since the trace's first event" in said
    assert "4 B" in said


def test_the_whole_run_is_small_and_the_same_each_time(knnscope: Run, trace: Path) -> None:

    for name in ("a.svg", "b.svg"):
        assert knnscope("timeline", trace, "-o", name)[0] == 0
    assert Path("a.svg").read_bytes() == Path("b.svg").read_bytes()
    assert Path("a.svg").stat().st_size < 500_000
    assert "1,200 kernels, 317 copies" in texts(Path("a.svg"))


def test_names_are_text_and_nothing_else(knnscope: Run, tmp_path: Path) -> None:

    path = made(tmp_path / "evil$x$.sqlite", [(0, 900_000, EVIL), (950_000, 960_000, "$\\notacommand{$" + "y" * 400)])
    code, out, err = knnscope("timeline", path, "-o", tmp_path / "x.svg")
    assert code == 0, err
    raw = (tmp_path / "x.svg").read_text()
    assert "<script" not in raw
    said = texts(tmp_path / "x.svg")
    assert "<script>alert(1)</script>$\\frac{ [31m" in said
    assert "evil$x$.sqlite" in said
    assert "y" * 50 not in said
    assert "\x1b" not in raw + out + err


@pytest.mark.parametrize("ending", [".png", ".svg"])
def test_a_script_that_the_font_lacks(knnscope: Run, tmp_path: Path, ending: str) -> None:

    path = made(tmp_path / "cjk.sqlite", [(0, 900_000, "内核 \U0001f600")])
    assert knnscope("timeline", path, "-o", tmp_path / f"x{ending}")[0] == 0


def test_a_trace_is_not_written_over(knnscope: Run, trace: Path, tmp_path: Path) -> None:
    named = tmp_path / "trace.json"
    named.write_bytes(trace.read_bytes())
    refused(knnscope("timeline", named, "-o", named), "trace.json: this command reads it, and would write over it")
    assert named.read_bytes() == trace.read_bytes()


def test_json_needs_no_matplotlib(knnscope: Run, trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "knnscope.report.timeline", raising=False)
    code, out, _ = knnscope("timeline", trace, "-o", "x.JSON")
    assert code == 0
    assert "https://ui.perfetto.dev" in out
    events = json.loads(Path("x.JSON").read_text())["traceEvents"]
    assert sum(event.get("cat") == "kernel" for event in events) == 1200
    refused(knnscope("timeline", trace, "-o", "x.png"), r"matplotlib .*\[report\]")
    assert not Path("x.png").exists()


def test_a_page_needs_no_matplotlib_and_has_the_findings(
    knnscope: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "knnscope.report.timeline", raising=False)
    monkeypatch.chdir(tmp_path)
    trace = fixture("nsys-cupy-loop", tmp_path)
    code, out, _ = knnscope("timeline", trace, "-o", "x.HTML")
    assert code == 0
    assert "events, " in out
    assert "open it in a browser" in out
    said = Path("x.HTML").read_text("utf-8")
    found = json.loads(knnscope("explain", trace, "--json")[1])["findings"]
    assert found
    for finding in found:
        assert f">{finding['rule']}</td>" in said
    assert "DeviceReduceSingleTileKernel</td>" in said


@pytest.mark.parametrize("choice", [("--phase", "SEARCH"), ("--around", 100), ("--from", 470, "--to", 480)])
def test_a_page_of_a_part(knnscope: Run, trace: Path, choice: tuple[Any, ...]) -> None:
    assert knnscope("timeline", trace, "-o", "all.html")[0] == 0
    code, out, err = knnscope("timeline", trace, *choice, "-o", "x.html")
    assert code == 0, err
    assert int(re.search(r"([\d,]+) events", out)[1].replace(",", "")) < 3000
    assert Path("x.html").stat().st_size < Path("all.html").stat().st_size


def test_refusals(knnscope: Run, trace: Path, tmp_path: Path) -> None:
    def refuse(message: str, *argv: object) -> None:
        refused(knnscope("timeline", trace, *argv), message)

    refuse("required", "--around", 3)
    refuse(r"file name must end in \.html, \.png, \.svg or \.json", "-o", "x.pdf")
    refuse("there are: .*load cupy-loop.*search cupy-loop", "-o", "x.json", "--phase", "sort\x1b[0m")
    refuse("first has to be smaller", "-o", "x.json", "--from", 30, "--to", 20)
    refuse("ends after", "-o", "x.json", "--from", 1e9)
    refuse("not a time", "-o", "x.json", "--from", "nan")
    refuse("the trace has 300", "-o", "x.json", "--around", 301)
    refuse("above 0", "-o", "x.json", "--around", 0)
    refuse("give only one of them", "-o", "x.json", "--around", 1, "--phase", "search")
    refused(knnscope("timeline", made(tmp_path / "none.sqlite", []), "-o", "x.json"), "nothing to draw")
    refused(knnscope("timeline", tmp_path / "absent.sqlite", "-o", "x.json"), "absent.sqlite")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["300-cupy-loop.sqlite", "none.sqlite"], (
        "nothing is left"
    )


def test_a_file_is_whole_or_not_there(knnscope: Run, trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("x.json").write_text("the old one")

    def fails(trace: object, window: object, file: Any) -> int:
        file.write("half")
        raise MemoryError

    monkeypatch.setattr(perfetto, "write", fails)
    assert knnscope("timeline", trace, "-o", "x.json")[0] == 2
    assert Path("x.json").read_text() == "the old one"
    assert len(list(Path().iterdir())) == 2
