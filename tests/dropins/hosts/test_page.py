"""The scripts of docs/drop-ins.md whose libraries are not in the environment of the other tests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pages.blocks import blocks

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "drop-ins.md").read_text("utf-8")
SECTIONS = {
    part.partition("\n")[0]: part for part in re.split(r"^## ", PAGE, flags=re.M)[1:] if "tests/dropins/hosts runs it" in part
}  # fmt: skip
pytestmark = pytest.mark.filterwarnings("default")


def test_there_are_some() -> None:
    assert {"UMAP", "openTSNE", "scanpy"} <= {*SECTIONS}


@pytest.mark.parametrize("name", sorted(SECTIONS))
def test_a_script_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(SECTIONS[name]):
        exec(compile(block.text, f"drop-ins.md, {name}, line {block.line}", "exec"), names)
    if name == "scanpy":
        found = re.search(r"^(\d+) of 1797 cells", capsys.readouterr().out, re.M)
        assert found
        assert int(found[1]) > 900  # how many depends on the products of a processor's BLAS
    else:
        assert names["embedding"].shape == (1797, 2)
