"""BERT-style safetensors to an ONNX graph with nothing but ``onnx``.

Architecture: Devlin et al. 2019 (https://arxiv.org/abs/1810.04805); tensor names as Hugging Face saves BertModel.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.encoders.declared import position_offset
from knnscope.encoders.tensors import Weights, load
from knnscope.errors import KnnscopeError, require

LAYER = re.compile(r"encoder\.layer\.(\d{1,4})\.")
SMALL = 1 << 10  # bytes below which a weight stays in the graph
OPSET = 20  # the first with Gelu
TYPES = ("bert", "roberta", "xlm-roberta", "camembert", "data2vec-text", "electra")
"""Architectures that have BERT's tensors and mean the same by them, but for the first position."""


def read_weights(path: Path) -> Weights:
    """Tensors of a safetensors file as float32, with any common prefix ("bert.") taken off.

    Raises:
        KnnscopeError: damaged, or no BERT-style encoder.
    """
    tensors = load(path)
    key = next((k for k in tensors if k.endswith("embeddings.word_embeddings.weight")), None)
    if key is None:
        raise KnnscopeError(
            f"{path}: no tensor embeddings.word_embeddings.weight: only BERT-style encoders are built from safetensors, give model.onnx instead"
        )
    prefix = key.removesuffix("embeddings.word_embeddings.weight")
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


class _Graph:
    """Nodes and weights as they are added."""

    def __init__(self, weights: Weights, where: Path, apart: Weights | None) -> None:
        self.onnx = require("onnx")
        self._apart = apart
        self._weights = weights
        self._where = where
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._made: set[str] = set()

    def tensor(self, name: str) -> npt.NDArray[Any]:
        if name not in self._weights:
            raise KnnscopeError(f"{self._where}: no tensor {name}: not a BERT-style encoder, give model.onnx instead")
        return self._weights[name]

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        if name not in self._made:
            self._made.add(name)
            value = np.ascontiguousarray(value)
            if self._apart is None or value.nbytes < SMALL:
                self.initializers.append(self.onnx.numpy_helper.from_array(value, name))
            else:
                self._apart[name] = value
                self.initializers.append(self._absent(name, value))
        return name

    def _absent(self, name: str, value: npt.NDArray[Any]) -> Any:
        """A weight by its shape alone, float32: whoever opens the graph gives its values."""
        tensor = self.onnx.TensorProto(name=name, data_type=1, dims=value.shape, data_location=1)
        tensor.external_data.add(key="location", value="handed over apart")
        return tensor

    def weight(self, name: str) -> str:
        return self.constant(name, self.tensor(name))

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(self.onnx.helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def norm(self, x: str, name: str, epsilon: float, output: str) -> str:
        scale, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.add("LayerNormalization", [x, scale, bias], output, axis=-1, epsilon=epsilon)

    def dense(self, x: str, name: str, output: str) -> str:
        return self.product(x, f"{name}.T", self.tensor(f"{name}.weight").T, self.tensor(f"{name}.bias"), output)

    def product(self, x: str, name: str, weight: npt.NDArray[Any], bias: npt.NDArray[Any], output: str) -> str:
        product = self.add("MatMul", [x, self.constant(name, weight)], f"{output}.product")
        return self.add("Add", [product, self.constant(f"{name}.bias", bias)], output)


def build(weights: Weights, config: dict[str, Any], where: Path, apart: Weights | None = None) -> Any:
    """An onnx ModelProto: input_ids and attention_mask (int64, batch x tokens) to last_hidden_state (float32).

    Token types are all zero, as for single texts; query, key and value are one matrix product. With ``apart``, the weights go
    there by their name in the graph instead of into it, where a message of 2 GB would not hold them.

    Raises:
        KnnscopeError: a tensor is missing, or the configuration is not one this graph can hold.
    """
    heads, epsilon = _shape(config, where)
    g = _Graph(weights, where, apart)
    vocabulary, width = g.tensor("embeddings.word_embeddings.weight").shape
    positions = g.tensor("embeddings.position_embeddings.weight")
    if (claimed := config.get("max_position_embeddings", len(positions))) != len(positions):
        raise KnnscopeError(f"{where}: {len(positions)} positions, but its config.json says {claimed}")
    positions = positions[position_offset(config) :]
    if width % heads:
        raise KnnscopeError(f"{where}: {width} hidden units do not divide into {heads} heads")
    first_type = g.tensor("embeddings.token_type_embeddings.weight")[0]

    words = g.add("Gather", [g.weight("embeddings.word_embeddings.weight"), "input_ids"], "words")
    shape = g.add("Shape", ["input_ids"], "tokens", start=1, end=2)
    zero, one = (g.constant(n, np.array([v], np.int64)) for n, v in (("zero", 0), ("one", 1)))
    places = g.add("Slice", [g.constant("positions", positions + first_type), zero, shape, zero, one], "places")
    x = g.norm(g.add("Add", [words, places], "embedded"), "embeddings.LayerNorm", epsilon, "embeddings")

    helper = g.onnx.helper
    float_mask = g.add("Cast", ["attention_mask"], "float_mask", to=1)
    absent = g.add("Sub", [g.constant("float_one", np.array([1], np.float32)), float_mask], "absent")
    penalty = g.add("Mul", [absent, g.constant("lowest", np.array([-1e9], np.float32))], "penalty")
    bias = g.add("Unsqueeze", [penalty, g.constant("mask_axes", np.array([1, 2], np.int64))], "mask_bias")
    layers = 1 + max((int(found[1]) for n in weights if (found := LAYER.match(n))), default=-1)
    for i in range(layers):
        x = _layer(g, x, i, Sizes(heads, width, epsilon), bias)
    g.add("Identity", [x], "last_hidden_state")
    ids = [helper.make_tensor_value_info(n, 7, ["batch", "tokens"]) for n in ("input_ids", "attention_mask")]
    out = helper.make_tensor_value_info("last_hidden_state", 1, ["batch", "tokens", width])
    graph = helper.make_graph(g.nodes, f"bert-{layers}x{width}-{vocabulary}", ids, [out], g.initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)


def _shape(config: dict[str, Any], where: Path) -> tuple[int, float]:
    if (model_type := config.get("model_type", "bert")) not in TYPES:
        raise KnnscopeError(
            f"{where}: a model of type {str(model_type)[:40]} is not built from safetensors, give model.onnx instead"
        )
    heads = config.get("num_attention_heads")
    if isinstance(heads, bool) or not isinstance(heads, int) or heads < 1:
        raise KnnscopeError(f"{where}: no config.json beside it that gives num_attention_heads")
    if config.get("hidden_act", "gelu") != "gelu" or config.get("position_embedding_type", "absolute") != "absolute":
        raise KnnscopeError(
            f"{where}: only gelu and absolute positions are built from safetensors, give model.onnx instead"
        )
    epsilon = config.get("layer_norm_eps", 1e-12)
    if isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or not 0 <= epsilon < 1:
        raise KnnscopeError(f"{where}: its config.json says layer_norm_eps {str(epsilon)[:40]!r}, no small number")
    return heads, float(epsilon)


class Sizes(NamedTuple):
    """Heads and hidden units of a layer, and what its norms add to a variance."""

    heads: int
    width: int
    epsilon: float


def _layer(g: _Graph, x: str, i: int, sizes: Sizes, mask: str) -> str:
    heads, width, epsilon = sizes
    name, size = f"encoder.layer.{i}", width // heads
    parts = [f"{name}.attention.self.{p}" for p in ("query", "key", "value")]
    # the scale 1/sqrt(size) goes into the query's weights
    scale = [np.float32(1 / math.sqrt(size)), np.float32(1), np.float32(1)]
    weight = np.concatenate([g.tensor(f"{p}.weight") * s for p, s in zip(parts, scale, strict=True)]).T
    bias = np.concatenate([g.tensor(f"{p}.bias") * s for p, s in zip(parts, scale, strict=True)])
    packed = g.product(x, f"{name}.qkv", weight, bias, f"l{i}.qkv")
    g.nodes.append(
        g.onnx.helper.make_node(
            "Split", [packed], [f"l{i}.{p}" for p in "qkv"], name=f"l{i}.split", axis=2, num_outputs=3
        )
    )
    by_head = g.constant("by_head", np.array([0, 0, heads, size], np.int64))
    split = {p: g.add("Reshape", [f"l{i}.{p}", by_head], f"l{i}.{p}.heads") for p in "qkv"}
    query = g.add("Transpose", [split["q"]], f"l{i}.q.t", perm=[0, 2, 1, 3])
    key = g.add("Transpose", [split["k"]], f"l{i}.k.t", perm=[0, 2, 3, 1])
    value = g.add("Transpose", [split["v"]], f"l{i}.v.t", perm=[0, 2, 1, 3])
    scores = g.add("Add", [g.add("MatMul", [query, key], f"l{i}.qk"), mask], f"l{i}.scores")
    attention = g.add("MatMul", [g.add("Softmax", [scores], f"l{i}.softmax", axis=-1), value], f"l{i}.mixed")
    joined = g.add("Transpose", [attention], f"l{i}.mixed.t", perm=[0, 2, 1, 3])
    flat = g.add("Reshape", [joined, g.constant("flat", np.array([0, 0, width], np.int64))], f"l{i}.flat")
    out = g.dense(flat, f"{name}.attention.output.dense", f"l{i}.attended")
    x = g.norm(g.add("Add", [out, x], f"l{i}.residual"), f"{name}.attention.output.LayerNorm", epsilon, f"l{i}.norm")
    wide = g.add("Gelu", [g.dense(x, f"{name}.intermediate.dense", f"l{i}.wide")], f"l{i}.gelu")
    out = g.dense(wide, f"{name}.output.dense", f"l{i}.narrow")
    return g.norm(g.add("Add", [out, x], f"l{i}.residual2"), f"{name}.output.LayerNorm", epsilon, f"l{i}.out")
