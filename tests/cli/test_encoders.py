"""Encoders through the commands: what is decided is shown, can be chosen, and goes with the vectors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Run, refused
from tests.encoders.folders import TEXTS, VECTORS, Graph, bare, lay_out, pool, write


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A BEIR folder of the recorded texts."""
    folder = tmp_path / "data"
    (folder / "qrels").mkdir(parents=True)
    texts = [text for text in TEXTS if text]
    rows = [json.dumps({"_id": f"d{i}", "title": "", "text": text}) for i, text in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("\n".join(rows) + "\n")
    asked = [json.dumps({"_id": f"q{i}", "text": text}) for i, text in enumerate(texts)]
    (folder / "queries.jsonl").write_text("\n".join(asked) + "\n")
    judged = "".join(f"q{i}\td{i}\t1\n" for i in range(len(texts)))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return folder


ROWS = [i for i, text in enumerate(TEXTS) if text]


@pytest.mark.parametrize("name", ["prompts", "prompts-left-out", "similarity-dot", "similarity-euclidean", "truncated"])
def test_embed_writes_both_sides_with_their_prompts_and_the_metric(
    knnscope: Run, name: str, tmp_path: Path, data: Path
) -> None:
    model = lay_out(name, tmp_path / "model")
    code, _, err = knnscope("embed", data, "--encoder", model, "-o", tmp_path / "out")
    assert code == 0
    assert (
        f"compared by {(metric := {'similarity-dot': 'ip', 'similarity-euclidean': 'l2'}.get(name, 'cosine'))}" in err
    )
    for part, folder in (("document", tmp_path / "out"), ("query", tmp_path / "out" / "queries")):
        expected = VECTORS[f"{name}.{part}"][ROWS]
        np.testing.assert_allclose(
            np.load(folder / "vectors.npy"), expected, rtol=0, atol=3e-6 * np.abs(expected).max()
        )
        meta = json.loads((folder / "meta.json").read_text())
        words = {"document": "passage : ", "query": "query : "}[part]
        assert meta["prompt"] == (words if name.startswith("prompts") else "")
        assert meta["recipe"]["metric"] == metric
    code, out, _ = knnscope("search", tmp_path / "out", "--query-id", "q0", "--engines", "numpy64", "--json")
    assert (code, json.loads(out)["metric"]) == (0, metric)


def test_a_query_in_words_gets_the_queries_prompt(knnscope: Run, tmp_path: Path, data: Path) -> None:
    model = lay_out("prompts", tmp_path / "model")
    best = {}
    for how in ("own", "none"):
        prompts = () if how == "own" else ("--query-prompt", "none", "--document-prompt", "none")
        options = ("--encoder", model, "--engines", "numpy64", "-k", 6, "--json", *prompts)
        by_words = json.loads(knnscope("search", data, TEXTS[0], *options)[1])["engines"]["numpy64"]
        by_id = json.loads(knnscope("search", data, "--query-id", "q0", *options)[1])["engines"]["numpy64"]
        assert by_words["ids"] == by_id["ids"]
        np.testing.assert_allclose(by_words["distances"], by_id["distances"], atol=1e-5)
        best[how] = by_words["distances"]
    query, rows = (VECTORS[f"prompts.{part}"].astype(np.float64) for part in ("query", "document"))
    rows = rows[ROWS]
    near = (rows @ query[0]) / np.linalg.norm(rows, axis=1) / np.linalg.norm(query[0])
    np.testing.assert_allclose(best["own"], np.sort(near)[::-1], atol=1e-5)
    assert np.abs(np.subtract(best["own"], best["none"])).max() > 1e-3


def test_prompts_are_chosen_by_name_or_in_words(knnscope: Run, tmp_path: Path, data: Path) -> None:
    model = lay_out("prompts", tmp_path / "model")
    code, _, err = knnscope(
        "embed", data, "--encoder", model, "--query-prompt", "document", "--document-prompt", "sun : "
    )
    assert code == 0
    assert "query prompt 'passage : ', document prompt 'sun : '" in err
    refused(knnscope("embed", data, "--encoder", model, "--query-prompt", "docment"), "did you mean document")


def test_another_query_prompt_leaves_the_documents_in_the_cache(knnscope: Run, tmp_path: Path, data: Path) -> None:
    model = lay_out("prompts-left-out", tmp_path / "model")
    assert f"documents: {len(ROWS)} texts, 0 from the cache" in knnscope("embed", data, "--encoder", model)[1]
    _, out, _ = knnscope("embed", data, "--encoder", model, "--query-prompt", "the cat ")
    assert f"documents: {len(ROWS)} texts, {len(ROWS)} from the cache" in out
    assert f"queries: {len(ROWS)} texts, 0 from the cache" in out


def test_files_of_weights_are_chosen(knnscope: Run, tmp_path: Path, data: Path) -> None:
    folder = pool(bare(tmp_path / "model"), "mean")
    for name in ("onnx/model_quantized.onnx", "onnx/model_qint8_avx512.onnx"):
        Graph().save(folder / name)
    refused(
        knnscope("embed", data, "--encoder", folder),
        "choose by --weights onnx/model_qint8_avx512.onnx or onnx/model_quantized.onnx",
    )
    code, _, _ = knnscope(
        "embed", data, "--encoder", folder, "--weights", "onnx/model_quantized.onnx", "-o", tmp_path / "o"
    )
    assert code == 0
    assert json.loads((tmp_path / "o/meta.json").read_text())["weights"] == "onnx/model_quantized.onnx"
    code, _, _ = knnscope("search", tmp_path / "o", "words", "--engines", "numpy")
    assert code == 0, "the same file of weights is opened"


def test_two_devices_encode_documents_as_documents(
    knnscope: Run, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from knnscope.encoders import devices

    inner = devices.OnnxEncoder
    monkeypatch.setattr(devices, "OnnxEncoder", lambda model, recipe, _: inner(model, recipe, "cpu"))
    model = lay_out("prompts-left-out", tmp_path / "model")
    assert knnscope("embed", data, "--encoder", model, "--device", "cpu,cuda", "-o", tmp_path / "out")[0] == 0
    expected = VECTORS["prompts-left-out.document"][ROWS]
    found = np.load(tmp_path / "out/vectors-cpu.npy")
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-6 * np.abs(expected).max())


def test_info_tells_of_an_encoder(knnscope: Run, tmp_path: Path) -> None:
    model = lay_out("prompts-left-out", tmp_path / "model")
    code, out, _ = knnscope("info", "--encoder", model)
    assert code == 0
    for part in (
        "64 components",
        "mean+weightedmean+cls+lasttoken pooling",
        "48 tokens",
        "query 'query : '",
        "cosine",
        "not pooled",
    ):
        assert part in out, part
    facts = json.loads(knnscope("info", "--encoder", model, "--json")[1])
    assert (facts["dim"], facts["recipe"]["metric"], facts["prompts"]["query"]) == (64, "cosine", "query : ")
    assert "256 tokens, compared by cosine, no prompts" in knnscope("info", "--encoder", "all-MiniLM-L6-v2")[1]
    refused(knnscope("info", "--query-prompt", "x "), "--query-prompt belongs to an encoder")
    write(model, "1_Pooling/config.json", {"pooling_mode": "median"})
    refused(knnscope("info", "--encoder", model), "pooling median is not supported")


def test_words_from_a_models_files_cannot_steer_the_terminal(knnscope: Run, tmp_path: Path) -> None:
    model = lay_out("prompts", tmp_path / "model")
    write(
        model,
        "config_sentence_transformers.json",
        {"prompts": {"query": "\x1b[31m\nred: "}, "similarity_fn_name": "\x1b]0;x"},
    )
    code, out, err = knnscope("info", "--encoder", model)
    assert code == 0
    assert "\x1b" not in out + err


def test_prompts_that_no_file_can_hold(knnscope: Run, tmp_path: Path, data: Path) -> None:
    model = lay_out("prompts", tmp_path / "model")
    write(model, "config_sentence_transformers.json", {"prompts": {"query": "a\ud800 : "}})
    code, _, err = knnscope("embed", data, "--encoder", model, "--document-prompt", "\udcff : ", "-o", tmp_path / "out")
    assert code == 0, err
    assert json.loads((tmp_path / "out/queries/meta.json").read_text())["prompt"] == "a? : "
    assert json.loads((tmp_path / "out/meta.json").read_text())["prompt"] == "? : "
