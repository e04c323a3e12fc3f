"""The records of a run: what they hold together, how they are written and read, and that the published schemas are theirs."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from knnscope.analysis import jsonl, measurement, schema
from knnscope.analysis.measurement import FAILED, Measurement, to_dict
from knnscope.bench.plan import Case
from knnscope.bench.runner import Measured
from knnscope.errors import KnnscopeError
from knnscope.search import definition, grading
from tests.bench.test_result import GRADES, a_row, measured, rows

SCHEMA: dict[str, Any] = schema.of(Measurement)["$defs"]["Measurement"]
EVIDENCE_LINE = to_dict(rows(measured(grade="wrong"))[0])["evidence"]


@pytest.mark.parametrize("name", schema.FILES)
def test_the_published_schema_is_the_records(name: str) -> None:
    written = json.loads(Path(schema.__file__).with_name(name).read_text("utf-8"))
    assert written == schema.of(schema.FILES[name]), "run python -m knnscope.analysis.schema"


def test_lists_of_names_are_those_of_the_search() -> None:
    """One list of each; a type has to name its values itself."""
    assert get_args(measurement.Metric) == definition.METRICS
    assert get_args(measurement.GradeName) == grading.GRADES
    assert set(FAILED) < set(get_args(measurement.Status))
    assert get_args(Measurement.__annotations__ and measurement.Device) == ("cpu", "cuda")


SINCE = {"cores", "compile_ns", "build_compile_ns", "quick", "how"}
"""Fields that rows written before they existed lack, and are read all the same."""


def test_every_field_is_always_written_and_declared() -> None:
    fields = set(SCHEMA["properties"])
    for m in (measured(), measured(event=500), measured("oom"), Measured(Case("x", 1, 1, "host"), "missing", "r")):
        assert all(set(to_dict(row)) == fields for row in rows(m))
    assert set(SCHEMA["required"]) | SINCE == fields
    assert SCHEMA["additionalProperties"] is False
    nanoseconds_and_bytes = [name for name in fields if name.endswith(("_ns", "_bytes", "bytes_moved"))]
    assert len(nanoseconds_and_bytes) >= 15
    for name in nanoseconds_and_bytes:
        text = json.dumps(SCHEMA["properties"][name])
        assert '"integer"' in text
        assert '"number"' not in text


WRONG = {"grade": "wrong", "status": "wrong", "beyond": 1, "evidence": None}


@pytest.mark.parametrize(
    "change",
    [
        {"median_ns": 1.5},
        {"median_ns": None},
        {"median_ns": -1},
        {"samples_ns": [[1.5]]},
        {"samples_ns": [[0]]},
        {"samples_ns": [1]},
        {"build_peak_host_bytes": 1.5},
        {"bytes_moved": None},
        {"cores": math.nan},
        {"cores": math.inf},
        {"ndcg_at_10": math.nan},
        {"ndcg_at_10": 1.5},
        {"threads": 0},
        {"k": 0},
        {"metric": "hamming"},
        {"boundary": "both"},
        {"cache": "warm"},
        {"schema_version": 2},
        {"mood": "good"},
        {"grade": None},
        {"grade": "wrong"},
        {"grade": "about right"},
        {"status": "fine"},
        {"status": "crashed", "reason": "a reason"},
        {"status": "oom", "reason": None, "grade": None, "samples_ns": [], "median_ns": None, "cpu_ns": None},
        {"status": "timeout", "reason": "r", "grade": "exact", "samples_ns": [], "median_ns": None, "cpu_ns": None},
        {"status": "missing", "reason": "r", "grade": None, "samples_ns": [[5]], "median_ns": None, "cpu_ns": None},
        {"status": "wrong"},
        WRONG,
        {**WRONG, "evidence": {"query": 1}},
        {**WRONG, "evidence": {**EVIDENCE_LINE, "distance": math.nan}},
        {**WRONG, "evidence": EVIDENCE_LINE, "grade": "exact"},
    ],
)
def test_what_cannot_be_is_refused_with_its_line_and_field(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(f"{jsonl.text(a_row())}\n{json.dumps({**to_dict(a_row()), **change})}\n")
    with pytest.raises(KnnscopeError, match=r"results\.jsonl:2: not a row of knnscope compare ") as caught:
        jsonl.read(path, Measurement, "knnscope compare")
    said = str(caught.value)
    assert re.search(r"\(\w+: |`\$\.|`\w+`|malformed", said), "names the field"


@pytest.mark.parametrize(
    "change", [{"cores": math.nan}, {"cores": math.inf}, {"ndcg_at_10": math.nan}, {"median_ns": 1.5}, {"k": 0}]
)
def test_what_cannot_be_is_not_written(change: dict[str, Any], tmp_path: Path) -> None:
    """A constructor does not look at types; who writes does."""
    with pytest.raises(KnnscopeError, match="Measurement cannot be written"):
        jsonl.write(tmp_path / "results.jsonl", [a_row(), a_row(**change)])
    assert not list(tmp_path.iterdir()), "whole or not at all"


@pytest.mark.parametrize("change", [{"median_ns": None}, {"grade": "wrong"}, {"status": "crashed"}, {"low_ns": None}])
def test_fields_that_contradict_each_other_make_no_record(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change)) if "status" not in change else "reason"):
        a_row(**change)


@pytest.mark.parametrize("name", sorted(SCHEMA["required"]))
def test_no_field_may_be_missing(name: str, tmp_path: Path) -> None:
    line = to_dict(a_row())
    del line[name]
    (tmp_path / "x.jsonl").write_text(json.dumps(line))
    with pytest.raises(KnnscopeError, match=f"x.jsonl:1: .*`{name}`"):
        jsonl.read(tmp_path / "x.jsonl", Measurement, "knnscope compare")


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    written = [row for grade in GRADES for row in rows(measured(grade=grade))] + rows(measured("crashed"))
    jsonl.write(path, written)
    assert jsonl.read(path, Measurement, "knnscope compare") == written
    assert len(path.read_text().splitlines()) == len(written)
    jsonl.write(path, [])
    assert jsonl.read(path, Measurement, "knnscope compare") == []


@pytest.mark.parametrize("damage", ["", "{}", "{", "null", "[1]", '"text"', "cut", "NaN"])
def test_a_damaged_file_names_the_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "results.jsonl"
    jsonl.write(path, rows(measured()))
    lines = path.read_text().splitlines()
    good = json.loads(lines[1])
    lines[1] = {"cut": lines[1][:-40], "NaN": json.dumps({**good, "cores": math.nan})}.get(damage, damage)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(
        KnnscopeError, match=r"results\.jsonl:2: not a row of knnscope compare .*run knnscope compare again"
    ):
        jsonl.read(path, Measurement, "knnscope compare")
