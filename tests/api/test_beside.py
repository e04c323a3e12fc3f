"""A result of two environments saves, loads and reports itself with the other beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

import knnscope
from knnscope import Changes, Comparison
from knnscope.errors import KnnscopeError
from tests.analysis.test_turns import two


def test_both_sides_are_saved_and_loaded(tmp_path: Path) -> None:
    before, after = two(1.15)
    found = Comparison(after, Comparison(before))
    assert found.beside is not None
    since = knnscope.changes(found.beside, found)
    assert [row.engine for row in since.worse] == ["numpy"]
    found.save(tmp_path / "run")
    loaded = Comparison.load(tmp_path / "run")
    assert loaded.beside is not None
    assert loaded.beside.measurements == before.rows
    assert loaded.beside.beside is None
    assert Changes.load(tmp_path / "run" / "changes.json").to_dict() == since.to_dict()
    assert knnscope.changes(tmp_path / "run" / "beside", tmp_path / "run").to_dict() == since.to_dict()
    loaded.save(tmp_path / "copy")
    again = Comparison.load(tmp_path / "copy")
    assert again.beside is not None
    assert again.beside.measurements == before.rows
    for one in (loaded, Comparison(after, Comparison(before))):
        one.report(tmp_path / "page.md")
        assert "1 of 1 rows are worse" in (tmp_path / "page.md").read_text()
    Comparison(after).report(tmp_path / "page.md")
    assert "rows are worse" not in (tmp_path / "page.md").read_text()


def test_a_run_of_one_environment_has_nothing_beside_it(tmp_path: Path) -> None:
    before, after = two()
    found = Comparison(after, Comparison(before))
    found.save(tmp_path / "two")
    assert (tmp_path / "two" / "beside").is_dir()
    with pytest.raises(KnnscopeError, match="two: holds a run, which stays"):
        Comparison(after).save(tmp_path / "two")
    Comparison(after).save(tmp_path / "one")
    assert Comparison.load(tmp_path / "one").beside is None
    assert not (tmp_path / "one" / "beside").exists()
