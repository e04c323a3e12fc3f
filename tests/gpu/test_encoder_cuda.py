"""The encoder on a GPU: the same vectors, and where its nodes ran."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from knnscope import environment
from knnscope.encoders import devices, models, recipes
from knnscope.encoders.onnx_encoder import OnnxEncoder, plan

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
TEXTS: list[str] = json.loads((FIXTURES / "texts.json").read_text("utf-8"))
EXPECTED = np.load(FIXTURES / "minilm_vectors.npy")


@pytest.fixture(scope="module")
def encoder() -> OnnxEncoder:
    model = models.resolve(models.DEFAULT)
    return OnnxEncoder(model, model.recipe, "cuda")


@pytest.mark.parametrize("budget", [300, 65536])
def test_equal_to_sentence_transformers(encoder: OnnxEncoder, budget: int) -> None:
    tokens = encoder.tokenizer(TEXTS)
    found = np.empty_like(EXPECTED)
    for batch in plan([len(t) for t in tokens], budget):
        found[batch] = encoder.encode_tokens([tokens[i] for i in batch])
    np.testing.assert_allclose(found, EXPECTED, rtol=0, atol=1e-5)


def test_the_products_ran_on_the_gpu(encoder: OnnxEncoder) -> None:
    encoder.encode(["a text"])
    assert encoder.placement is not None
    on_gpu = encoder.placement.nodes["CUDAExecutionProvider"]
    assert sum(count for op, count in on_gpu.items() if "MatMul" in op or "Gemm" in op) >= 30
    strayed = encoder.placement.nodes.get("CPUExecutionProvider", {})
    assert not any("MatMul" in op for op in strayed)


@pytest.mark.parametrize("name", ["own", "notebook"])
def test_two_devices_side_by_side(name: str) -> None:
    model = models.resolve(models.DEFAULT)
    recipe = recipes.choose(name, model.recipe)
    runs, vectors = devices.time_devices(model, recipe, ["cpu", "cuda"], TEXTS * 20)
    assert [run.device for run in runs] == ["cpu", "cuda"]
    scale = np.abs(vectors[0]).max()
    assert runs[1].difference <= 1e-5 * max(scale, 1)


def test_info_sees_the_gpu() -> None:
    (gpu, *_) = environment.gpus()
    assert gpu["name"].startswith("NVIDIA")
    assert gpu["memory_mib"] > 1000
    assert environment.cuda_driver_version() is not None
