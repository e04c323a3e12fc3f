"""This machine for Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import knnscope
from knnscope import environment, threads
from knnscope.api.machine import describe_encoder
from knnscope.api.workload import EncoderOptions
from knnscope.errors import KnnscopeError
from knnscope.search import catalog


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
    with pytest.raises(KnnscopeError, match="this process may use"):
        knnscope.info(threads=threads.usable() + 1)


def test_what_an_encoder_decides() -> None:
    found = describe_encoder(EncoderOptions())
    assert found.to_dict()["dim"] == found.dim == 384
    assert repr(found) == "<EncoderFacts of all-MiniLM-L6-v2: 384 components, recipe all-MiniLM-L6-v2>"
