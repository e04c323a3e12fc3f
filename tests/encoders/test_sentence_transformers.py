"""What sentence-transformers made of the same folders: its own vectors are the right ones, to float32's rounding."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from knnscope.encoders import graphs, models, recipes
from knnscope.encoders.onnx_encoder import OnnxEncoder
from tests.encoders.folders import FIXTURES, RECORDED, TEXTS, VECTORS, lay_out

CASES = sorted(RECORDED["cases"])


def open_encoder(folder: Path) -> OnnxEncoder:
    model = models.resolve(str(folder))
    return OnnxEncoder(model, model.recipe)


def check(encoder: OnnxEncoder, name: str) -> None:
    for part, prompt in (("query", encoder.recipe.query_prompt), ("document", encoder.recipe.document_prompt)):
        expected = VECTORS[f"{name}.{part}"]
        scale = max(1.0, float(np.abs(expected).max()))
        together = encoder.encode(TEXTS, prompt)
        np.testing.assert_allclose(together, expected, rtol=0, atol=3e-6 * scale, err_msg=f"{part}, one batch")
        alone = np.concatenate([encoder.encode([text], prompt) for text in TEXTS])
        np.testing.assert_allclose(alone, expected, rtol=0, atol=3e-6 * scale, err_msg=f"{part}, one by one")


@pytest.mark.parametrize("name", CASES)
def test_the_vectors_are_those_of_sentence_transformers(name: str, tmp_path: Path) -> None:
    encoder = open_encoder(lay_out(name, tmp_path))
    check(encoder, name)
    limit = RECORDED["cases"][name]["max_seq_length"]
    assert encoder.recipe.max_tokens == min(limit, 48 if name != "roberta" else 49)


@pytest.mark.parametrize("name", [name for name in CASES if RECORDED["cases"][name]["base"] == "gpt2"])
def test_a_graph_that_cannot_be_changed_is_pooled_in_numpy(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "LARGEST", 1000)
    encoder = open_encoder(lay_out(name, tmp_path))
    assert not encoder._graph.inside
    check(encoder, name)


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith(("pooling-", "prompts-left"))])
def test_weights_that_do_not_fit_into_one_message_are_handed_over_apart(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = open_encoder(lay_out(name, tmp_path))
    monkeypatch.setattr(graphs, "LARGEST", 1000)
    encoder = open_encoder(tmp_path)
    assert encoder._graph.arrays
    assert len(encoder._graph.message or b"") < len(small._graph.message or b"") / 2
    check(encoder, name)


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("similarity") or name == "normalised"])
def test_the_metric_orders_documents_as_its_similarity_does(name: str, tmp_path: Path) -> None:
    encoder = open_encoder(lay_out(name, tmp_path))
    case = RECORDED["cases"][name]
    assert encoder.recipe.metric == {"dot": "ip", "euclidean": "l2", "cosine": "cosine"}[case["similarity"]]
    asked, rows = encoder.encode(TEXTS[:2]).astype(np.float64), encoder.encode(TEXTS).astype(np.float64)
    near = {
        "l2": -np.sqrt(np.square(asked[:, None] - rows[None]).sum(axis=2)),
        "ip": asked @ rows.T,
        "cosine": (asked @ rows.T) / np.linalg.norm(asked, axis=1)[:, None] / np.linalg.norm(rows, axis=1),
    }[encoder.recipe.metric]
    np.testing.assert_allclose(near, case["scores"], rtol=2e-5, atol=1e-3 if name == "similarity-euclidean" else 1e-6)


def test_without_a_declared_function_vectors_are_compared_by_cosine(tmp_path: Path) -> None:
    lay_out("pooling-mean", tmp_path)
    (tmp_path / "config_sentence_transformers.json").unlink()
    assert models.resolve(str(tmp_path)).recipe.metric == "cosine"


def test_positions_bound_the_limit_though_sentence_transformers_would_fail(tmp_path: Path) -> None:
    lay_out("roberta", tmp_path)
    for declared in (None, 512, int(1e30)):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": declared}))
        encoder = open_encoder(tmp_path)
        assert encoder.recipe.max_tokens == 49, "50 positions, the first of which is pad_token_id + 1"
        check(encoder, "roberta")


def test_the_fixtures_tell_the_cases_apart() -> None:
    """A case whose vectors equal another's would show nothing."""
    apart = [
        ("limit", "pooling-mean"), ("limit-tokenizer", "limit-bert-config"), ("cut-left", "limit"), ("lower-case", "pooling-mean"),
        ("prompts-left-out", "prompts"), ("pooling-weightedmean", "pooling-mean"), ("pooling-max", "pooling-mean"),
        ("pooling-lasttoken", "pooling-cls"), ("prompts", "pooling-mean"), ("normalised", "pooling-mean"),
    ]  # fmt: skip
    for one, other in apart:
        a, b = VECTORS[f"{one}.query"], VECTORS[f"{other}.query"]
        assert a.shape != b.shape or np.abs(a - b).max() > 1e-2, (one, other)
    assert VECTORS["truncated.query"].shape == (len(TEXTS), 5)
    assert np.linalg.norm(VECTORS["truncated-normalised.query"], axis=1).max() < 1, "cut after the norm, as saved"
    assert sum(p.stat().st_size for p in FIXTURES.rglob("*") if p.is_file()) < 300_000


def test_what_was_decided_is_said(tmp_path: Path) -> None:
    lay_out("prompts-left-out", tmp_path)
    model = models.resolve(str(tmp_path))
    note = model.notes[0]
    for part in (
        "mean+weightedmean+cls+lasttoken pooling", "not normalised", "48 tokens", "compared by cosine",
        "query prompt 'query : '", "document prompt 'passage : '", "prompts not pooled", "modules.json", "1_Pooling/config.json",
    ):  # fmt: skip
        assert part in note, part
    lay_out("lower-case", tmp_path / "b")
    assert "lower case" in models.resolve(str(tmp_path / "b")).notes[0]
    lay_out("truncated", tmp_path / "c")
    assert "cut to 5 components" in models.resolve(str(tmp_path / "c")).notes[0]


def test_named_recipes_keep_the_models_input(tmp_path: Path) -> None:
    own = models.resolve(str(lay_out("prompts", tmp_path))).recipe
    found = recipes.choose("mean-256", own)
    assert (found.max_tokens, found.query_prompt, found.document_prompt) == (48, "query : ", "passage : ")


@pytest.mark.parametrize("name", ["pooling-mean", "dense", "dense-sigmoid-norm"])
@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_weights_of_other_precisions(name: str, kind: str, tmp_path: Path) -> None:
    """Rounded weights give the vectors of the rounded weights."""
    import ml_dtypes
    from safetensors.numpy import load_file, save_file

    lay_out(name, tmp_path / "exact")
    lay_out(name, tmp_path / "rounded")
    dtype = ml_dtypes.bfloat16 if kind == "bfloat16" else np.dtype(kind)
    for path in (tmp_path / "rounded").rglob("*.safetensors"):
        rounded = {key: value.astype(dtype) for key, value in load_file(path).items()}
        save_file(rounded, path)
        save_file(
            {k: v.astype(np.float32) for k, v in rounded.items()},
            tmp_path / "exact" / path.relative_to(tmp_path / "rounded"),
        )
    found, expected = (open_encoder(tmp_path / folder).encode(TEXTS) for folder in ("rounded", "exact"))
    np.testing.assert_array_equal(found, expected)
    assert np.abs(found - VECTORS[f"{name}.query"]).max() < 0.5
