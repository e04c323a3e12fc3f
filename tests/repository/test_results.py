"""What is kept in benchmarks/results can be read back, and names no machine's folders."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from knnscope import analysis

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"


def test_rows_are_as_the_schema_says() -> None:
    found = sorted(RESULTS.rglob("results.jsonl"))
    assert len(found) >= 2
    for path in found:
        assert analysis.load(path.parent).rows


@pytest.mark.parametrize("path", sorted(RESULTS.rglob("*.*")), ids=lambda p: str(p.relative_to(RESULTS)))
def test_no_folder_of_a_machine_and_valid_json(path: Path) -> None:
    text = path.read_text("utf-8")
    assert not re.search(r"/(?:work|root|home|tmp)/", text)
    if path.suffix == ".json":
        json.loads(text)
