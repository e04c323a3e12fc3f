"""This machine for Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import knnscope
from knnscope import environment, threads
from knnscope.api.machine import Machine, describe_encoder
from knnscope.api.workload import EncoderOptions
from knnscope.errors import KnnscopeError
from knnscope.search import catalog
from tests.bench.test_result import CEILINGS


def test_a_machine_as_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "clashes", lambda _: ["<i>"])
    found = knnscope.info()
    assert [row["engine"] for row in found.rows()] == list(catalog.ENGINES)
    assert {row["engine"] for row in found.rows() if row["available"]} == set(catalog.available())
    found.save(tmp_path / "machine.json")
    assert json.loads((tmp_path / "machine.json").read_text()) == found.to_dict()
    assert found.to_dict()["ceilings"] == {"cpu": None, "cuda": None}
    assert "\n" not in repr(found)
    assert "<td>numpy64</td>" in found._repr_html_()
    again = knnscope.Machine.load(tmp_path / "machine.json")
    assert again.to_dict() == found.to_dict()
    assert (repr(again), again.rows(), again._repr_html_()) == (repr(found), found.rows(), found._repr_html_())
    with pytest.raises(KnnscopeError, match="this process may use"):
        knnscope.info(threads=threads.usable() + 1)


def test_a_machine_keeps_its_ceilings_and_notes(tmp_path: Path) -> None:
    facts = knnscope.info().facts
    Machine(facts, {"cpu": CEILINGS, "cuda": None}, ("the GPU was not measured",)).save(tmp_path / "m.json")
    again = knnscope.Machine.load(tmp_path / "m.json")
    assert again.ceilings == {"cpu": CEILINGS, "cuda": None}
    assert again.notes == ("the GPU was not measured",)


@pytest.mark.parametrize(
    "change",
    [{"ceilings": {"cpu": {}, "cuda": None}}, {"ceilings": {}}, {"engines": {"a": 1}}, {"cpu": None}, {"notes": None}],
)
def test_a_file_that_is_no_machine_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "machine.json"
    path.write_text(json.dumps({**knnscope.info().to_dict(), **change}))
    with pytest.raises(KnnscopeError, match=r"machine\.json: not a machine that"):
        knnscope.Machine.load(path)
    path.write_text("[1]")
    with pytest.raises(KnnscopeError, match="not a JSON object"):
        knnscope.Machine.load(path)
    with pytest.raises(KnnscopeError, match="no such file"):
        knnscope.Machine.load(tmp_path / "none.json")


def test_a_machine_of_anybodys_words_is_one_short_escaped_line() -> None:
    facts = knnscope.info().facts
    facts["cpu"]["model"], facts["gpus"] = "<script>\n" * 1000, [{"name": "<b>" * 1000}] * 50
    facts["engines"]["numpy"]["what"] = "<i>" * 1000
    found = Machine(facts, {"cpu": None, "cuda": None}, ())
    assert len(repr(found)) < 500
    assert "\n" not in repr(found)
    page = found._repr_html_()
    assert len(page) < 20_000
    assert not any(tag in page for tag in ("<script>", "<b>", "<i>"))


def test_what_an_encoder_decides() -> None:
    found = describe_encoder(EncoderOptions())
    assert found.to_dict()["dim"] == found.dim == 384
    assert repr(found) == "<EncoderFacts of all-MiniLM-L6-v2: 384 components, recipe all-MiniLM-L6-v2>"
