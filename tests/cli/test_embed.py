"""knnscope embed: its files, and that they and their encoder are found again."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from knnscope import KnnscopeError, embed
from knnscope.api import workload
from knnscope.encoders import models
from tests.cli.conftest import Run, refused
from tests.encoders.folders import lay_out


@pytest.mark.usefixtures("encoded")
def test_embed_writes_vectors_ids_and_meta(knnscope: Run, sample_vectors: Path) -> None:
    """The command has run, for all tests that want the vectors."""
    assert "240 texts, 0 from the cache, 240 encoded" in sample_vectors.with_suffix(".said").read_text("utf-8")
    run = sample_vectors.with_suffix(".run")
    vectors = np.load(run / "vectors.npy")
    ids = (run / "ids.txt").read_text().splitlines()
    meta = json.loads((run / "meta.json").read_text())
    assert vectors.shape == (len(ids), meta["dim"]) == (240, 384)
    assert meta["encoder"] == "all-MiniLM-L6-v2"
    assert meta["sha256"] == models.MODELS["all-MiniLM-L6-v2"].files["model.safetensors"][1]
    assert np.load(run / "queries/vectors.npy").shape == (60, 384)
    assert "240 texts, 240 from the cache, 0 encoded" in knnscope("embed", "sample")[1]


def test_embed_cuda_without_cuda(knnscope: Run) -> None:
    refused(knnscope("embed", "sample", "--device", "cuda"), "built without CUDA")
    refused(knnscope("embed", "sample", "--device", "tpu"), "no device 'tpu'")


def test_embed_two_devices_side_by_side(knnscope: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table and its files, with the CPU standing in for the second device."""
    from knnscope.encoders import devices, onnx_encoder

    inner = workload.OnnxEncoder
    monkeypatch.setattr(devices, "OnnxEncoder", lambda model, recipe, _: inner(model, recipe, "cpu"))
    assert onnx_encoder.PROVIDERS.keys() == {"cpu", "cuda"}
    code, out, _ = knnscope("embed", "sample", "--limit", 24, "--device", "cpu,cuda", "-o", tmp_path)
    assert code == 0
    record = json.loads((tmp_path / "devices.json").read_text())
    assert [run["texts"] for run in record["runs"]] == [24, 24]
    assert all(run["steady_texts"] < 24 and run["first_batch_s"] > 0 for run in record["runs"])
    assert record["runs"][1]["difference"] == 0
    assert "texts/s" in out
    message = f"{tmp_path}/devices.json: is there already, and stays: choose another folder, or remove it"
    refused(knnscope("embed", "sample", "--limit", 2, "--device", "cpu,cuda", "-o", tmp_path), message)
    assert json.loads((tmp_path / "devices.json").read_text()) == record


def test_onnx_runtime_is_kept_from_calling_home(child_environment: dict[str, str], tmp_path: Path) -> None:
    """Since 1.32 it keeps a device id and queues events under the user's cache folder unless told not to."""
    environment_ = {k: v for k, v in child_environment.items() if k != "ORT_DISABLE_TELEMETRY"}
    environment_ |= {
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "KNNSCOPE_HOME": str(tmp_path / "own"),
    }
    command = [sys.executable, "-m", "knnscope", "search", "sample", "a", "--limit", "3", "--engines", "numpy64"]
    subprocess.run(command, env=environment_, check=True, capture_output=True)
    assert not [p for p in tmp_path.rglob("*") if "onnxruntime" in p.name or "deviceid" in p.name]


@pytest.mark.usefixtures("encoded")
def test_the_saved_run_can_be_searched(knnscope: Run, tmp_path: Path) -> None:
    assert knnscope("embed", "sample", "-o", tmp_path / "run")[0] == 0
    options = ("--query-id", "q-zoos", "-k", 4, "--engines", "numpy64", "--json")
    texts, saved = (json.loads(knnscope("search", name, *options)[1]) for name in ("sample", tmp_path / "run"))
    assert texts["metric"] == saved["metric"] == "cosine"
    assert texts["engines"]["numpy64"] == saved["engines"]["numpy64"]


def test_the_saved_run_keeps_its_texts_and_its_encoder(
    knnscope: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words are encoded as the rows were, here by a recipe that is not the model's own, whatever the default is."""
    options, part = ("sugar tax", "-k", 4, "--engines", "numpy64"), ("--limit", 20)
    assert knnscope("embed", "sample", *part, "--recipe", "notebook", "-o", tmp_path / "run")[0] == 0
    monkeypatch.setattr(models, "DEFAULT", "gte-small")
    alike = ("--encoder", "all-MiniLM-L6-v2", "--recipe", "notebook")
    texts = json.loads(knnscope("search", "sample", *options, *part, *alike, "--json")[1])
    for more in ((), alike):
        saved = json.loads(knnscope("search", tmp_path / "run", *options, *more, "--json")[1])
        assert saved["engines"] == texts["engines"]
        assert saved["metric"] == texts["metric"] == "l2"
    out = [
        knnscope("search", name, *options, *more)[1]
        for name, more in (("sample", (*part, *alike)), (tmp_path / "run", ()))
    ]
    assert out[0] == out[1]
    asked = [
        knnscope("search", name, "--query-id", "q-zoos", "--engines", "numpy64", *more)[1].partition("relevant:")[0]
        for name, more in (("sample", (*part, *alike)), (tmp_path / "run", ()))
    ]
    assert re.sub(" +<- relevant, grade .", "", asked[0]).strip() == asked[1].strip()
    refused(knnscope("search", tmp_path / "run", *options, "--recipe", "own"), "encoded by .*, recipe notebook.*leave")


def test_documents_alone_are_searched_with_words(knnscope: Run, tmp_path: Path) -> None:
    """From a folder without queries and from a table; what needs queries says so."""
    from knnscope.api.choosing import Choice, choose
    from knnscope.api.workload import Workload

    texts = ["cats purr", "dogs bark", "taxes on sugar", "free trams"]
    table = tmp_path / "said.csv"
    table.write_text("text\n" + "\n".join(texts) + "\n")
    folder = tmp_path / "alone"
    folder.mkdir()
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": str(i), "text": t}) + "\n" for i, t in enumerate(texts))
    )
    run = tmp_path / "run"
    assert knnscope("embed", "sample", "--limit", 3, "-o", run)[0] == 0
    assert (run / "queries" / "vectors.npy").exists()
    code, out, _ = knnscope("embed", folder, "-o", run)
    assert code == 0
    assert "queries: none in the data set" in out
    for spec in (table, folder, run):
        code, out, _ = knnscope("search", spec, "a levy on sweets", "-k", 1, "--engines", "numpy64,numpy")
        assert code == 0
        assert "1. 2\n   taxes on sugar" in out
    for spec in (table, folder):
        refused(knnscope("search", spec, "--query-id", "0"), "holds no queries: search it with words")
        assert "4 documents, 0 queries, 0 judgements" in knnscope("data", "show", spec)[1]
        task = choose(Workload(str(spec)), Choice())
        assert task.held_out
        assert len(task.queries) == 2, "compare holds rows out"
    shown = knnscope("data", "show", run)[1]
    assert "encoded by all-MiniLM-L6-v2, recipe all-MiniLM-L6-v2; texts are kept" in shown
    refused(knnscope("embed", run), "holds vectors, no texts to encode")


def test_an_encoder_of_a_folder_is_found_again(knnscope: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lay_out("pooling-mean", Path("model"))
    assert knnscope("embed", "sample", "--limit", 5, "--encoder", "model", "-o", "run")[0] == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    words = ("search", "../run", "sugar", "--engines", "numpy64", "-k", 2)
    assert knnscope(*words)[0] == 0
    Path("../model").rename("../moved")
    refused(knnscope(*words), "no encoder or folder named '.*/model'")
    assert knnscope(*words, "--encoder", "../moved")[0] == 0


def test_one_batch_has_no_steady_state(knnscope: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from knnscope.encoders import devices

    inner = workload.OnnxEncoder
    monkeypatch.setattr(devices, "OnnxEncoder", lambda model, recipe, _: inner(model, recipe, "cpu"))
    _, out, _ = knnscope("embed", "sample", "--limit", 1, "--device", "cpu,cuda")
    rows = [line.split() for line in out.splitlines() if line.startswith("cpu ")]
    assert [row[3:5] for row in rows] == [["-", "-"], ["-", "-"]]


@pytest.mark.usefixtures("encoded")
def test_embed_does_not_write_over_its_texts(knnscope: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts are saved as texts.jsonl, which is what people call theirs."""
    monkeypatch.chdir(tmp_path)
    given = '{"id": "a", "text": "free trams", "year": 1999}\n'
    Path("texts.jsonl").write_text(given, "utf-8")
    refused(knnscope("embed", "texts.jsonl", "-o", "."), "texts.jsonl: this command reads it")
    with pytest.raises(KnnscopeError, match="this command reads it"):
        embed(tmp_path / "texts.jsonl#text", out=tmp_path)
    assert Path("texts.jsonl").read_text("utf-8") == given
    assert [path.name for path in tmp_path.iterdir()] == ["texts.jsonl"]
