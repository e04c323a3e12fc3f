"""What is in a list is on the page for it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from knnscope.cli import COMMANDS
from knnscope.datasets import tables, vector_files
from knnscope.search import catalog
from knnscope.trace.rules import ON_GPU, RULES

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("page", "written", "listed"),
    [
        ("README.md", r"^\| `knnscope ([a-z]+)", COMMANDS),
        ("docs/data.md", r"`([a-z0-9-]+)`", catalog.ENGINES),
        ("docs/data.md", r"`((?:\.[a-z0-9]+)+)`", {*vector_files.READERS, *tables.READERS}),
    ],
    ids=["commands", "engines", "endings"],
)
def test_a_page_names_all(page: str, written: str, listed: dict[str, object]) -> None:
    missing = sorted({*listed} - {*re.findall(written, (ROOT / page).read_text("utf-8"), re.M)})
    assert not missing, f"{page} does not name {', '.join(missing)}"


def test_rules_that_save_gpu_time_are_rules() -> None:
    assert set(ON_GPU) <= set(RULES)


def test_adding_something_is_found_wherever_one_looks() -> None:
    for page in ("README.md", "CONTRIBUTING.md", "docs/data.md", "docs/traces.md"):
        assert "development.md" in (ROOT / page).read_text("utf-8"), page
    assert "docs/development.md" in (ROOT / "dev").read_text("utf-8")


def test_the_files_to_copy_and_the_tests_are_there() -> None:
    table = re.search(r"\| what \|.*?\n\n", (ROOT / "docs/development.md").read_text("utf-8"), re.S)
    assert table
    places = re.findall(r"`((?:knnscope|tests)/[\w./-]+)`", table[0])
    assert len(places) >= 10
    for place in places:
        assert (ROOT / place).exists(), place
