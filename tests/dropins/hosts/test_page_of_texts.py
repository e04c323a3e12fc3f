"""The scripts of docs/drop-ins-text.md run, and each pair finds the same, by a change of a few lines."""

from __future__ import annotations

import difflib
import json
import re
import runpy
from pathlib import Path
from typing import Any

import mteb
import pytest
import sentence_transformers
from beir.retrieval.models import sentence_bert
from sentence_transformers import SentenceTransformer

from pages.blocks import blocks
from tests.dropins.hosts.hosts import layer
from tests.dropins.hosts.test_beir import CORPUS, QRELS, QUERIES
from tests.dropins.hosts.test_mteb import Retrieval, wrapped

PAGE = Path(__file__).resolve().parents[3] / "docs" / "drop-ins-text.md"
RUN = "not run: ./dev test-dropins runs it"
SCRIPTS = [block for block in blocks(PAGE.read_text("utf-8")) if block.language == "python" and block.mark == RUN]
PAIRS = list(zip(SCRIPTS[::2], SCRIPTS[1::2], strict=True))
WORDS = sorted(set(re.findall(r"[a-zA-Z]+", "".join(script.text for script in SCRIPTS))))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the scripts would load from elsewhere: a model, a task, and BEIR's folder of a data set."""

    class Local(SentenceTransformer):
        def __init__(self, name: str, **_: Any) -> None:
            super().__init__(modules=[layer(WORDS)], device="cpu")

    model = wrapped("cosine")
    monkeypatch.setattr(mteb, "get_model", lambda _: model)
    for module in (sentence_transformers, sentence_bert):
        monkeypatch.setattr(module, "SentenceTransformer", Local)
    monkeypatch.setattr(mteb, "get_task", lambda _: Retrieval())
    folder = tmp_path / "scifact" / "qrels"
    folder.mkdir(parents=True)
    for name, lines in (
        ("corpus", [{"_id": one, **document} for one, document in CORPUS.items()]),
        ("queries", [{"_id": one, "text": text} for one, text in QUERIES.items()]),
    ):
        (folder.parent / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    graded = [f"{query}\t{one}\t{grade}" for query, grades in QRELS.items() for one, grade in grades.items()]
    (folder / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *graded]) + "\n")
    monkeypatch.chdir(tmp_path)


def rounded(found: Any) -> Any:
    """Numbers to five digits, in whatever they lie."""
    if isinstance(found, float):
        return round(found, 5)
    if isinstance(found, dict):
        return {name: rounded(one) for name, one in found.items()}
    return [rounded(one) for one in found] if isinstance(found, list | tuple) else found


@pytest.mark.parametrize(("before", "after"), PAIRS, ids=[str(before.line) for before, _ in PAIRS])
def test_a_pair_of_scripts_finds_the_same(before: Any, after: Any, hub: None, tmp_path: Path) -> None:
    found = []
    for number, script in enumerate((before, after)):
        (file := tmp_path / f"{number}.py").write_text(script.text)
        found.append(rounded(runpy.run_path(str(file))["found"]))
    assert found[0] == found[1]
    assert found[0]
    changed = [line for line in difflib.ndiff(before.text.splitlines(), after.text.splitlines()) if line[:2] == "+ "]
    assert 1 <= len(changed) <= 3
    assert "knnscope" in after.text
    assert "knnscope" not in before.text


def test_every_drop_in_has_a_pair_and_the_page_names_the_versions_of_the_tests() -> None:
    scripts = "".join(after.text for _, after in PAIRS)
    assert set(re.findall(r"knnscope\.(\w+)", scripts)) == {"sentence_transformers", "mteb", "beir", "langchain"}
    text = PAGE.read_text("utf-8")
    for host in ("sentence_transformers", "mteb", "beir", "langchain"):
        source = (Path(__file__).parent / f"test_{host}.py").read_text("utf-8")
        for tested in re.findall(r'"(\d+\.\d+\.\d+)"', source.split("def ")[0]):
            assert tested in text
