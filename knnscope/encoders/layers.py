"""What sentence-transformers puts after the pooling: dense layers, norms, and cutting to the first components. In NumPy: it is small."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.encoders.declared import declared_config
from knnscope.encoders.recipes import Recipe
from knnscope.encoders.tensors import load
from knnscope.errors import KnnscopeError

Vectors = npt.NDArray[np.float32]
EPSILON = np.float32(1e-5)
ACTIVATIONS: dict[str, Callable[[Vectors], Vectors]] = {
    "Identity": lambda x: x,
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, np.float32(0)),
    "Sigmoid": lambda x: np.float32(0.5) * (np.tanh(np.float32(0.5) * x) + np.float32(1)),
}


@dataclass(frozen=True, slots=True)
class Dense:
    """A product, an activation, and the input added again where ``residual`` says how."""

    weight: Vectors
    bias: Vectors | None
    activation: Callable[[Vectors], Vectors]
    residual: Vectors | None

    def __call__(self, x: Vectors) -> Vectors:
        """(batch, in) to (batch, out)."""
        product = x @ self.weight.T
        out = self.activation(product if self.bias is None else product + self.bias)
        return out if self.residual is None else out + (x @ self.residual.T if self.residual.size else x)


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer normalisation."""

    scale: Vectors
    shift: Vectors

    def __call__(self, x: Vectors) -> Vectors:
        """The same shape."""
        centred = x - x.mean(axis=1, keepdims=True)
        spread = np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + EPSILON)
        normed: Vectors = centred / spread * self.scale + self.shift
        return normed


def normalise(x: Vectors) -> Vectors:
    """Each vector divided by its norm."""
    unit: Vectors = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.float32(1e-12))
    return unit


class Chain:
    """The layers of a recipe, in their order.

    sha256: of all that decides them.
    """

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self._steps: list[Callable[[Vectors], Vectors]] = []
        self._where = folder
        parts = []
        for name in recipe.layers:
            self._steps.append(normalise if name == "normalise" else _load(folder / name))
            if name != "normalise":
                parts.append((folder / name / "model.safetensors").read_bytes())
                parts.append(json.dumps(declared_config(folder / name), sort_keys=True).encode())
        if recipe.normalise:
            self._steps.append(normalise)
        self._truncate_dim = recipe.truncate_dim
        self.sha256 = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()

    def __call__(self, x: Vectors) -> Vectors:
        """float32 (batch, dim) to (batch, out).

        Raises:
            KnnscopeError: a layer of another width.
        """
        try:
            for step in self._steps:
                x = step(x)
        except ValueError as error:
            raise KnnscopeError(f"{self._where}: its layers do not fit vectors of {x.shape[1]} components") from error
        return np.ascontiguousarray(x[:, : self._truncate_dim], dtype=np.float32)


def _load(folder: Path) -> Callable[[Vectors], Vectors]:
    """A dense or a norm layer, by the tensors that its file holds.

    Raises:
        KnnscopeError: no safetensors, or a layer of an unknown type.
    """
    path = folder / "model.safetensors"
    if not path.is_file():
        raise KnnscopeError(
            f"{folder}: no model.safetensors there (a pickle is never read): save the model as safetensors"
        )
    tensors = load(path)
    config = declared_config(folder)
    if "norm.weight" in tensors and "norm.bias" in tensors:
        return Norm(tensors["norm.weight"], tensors["norm.bias"])
    weight, bias = tensors.get("linear.weight"), tensors.get("linear.bias")
    if weight is None or weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
        raise KnnscopeError(f"{path}: no linear.weight of two dimensions with a bias that fits")
    if config.get("bias") is True and bias is None:
        raise KnnscopeError(f"{path}: config.json says that there is a bias, but there is no linear.bias")
    return Dense(weight, bias, _activation(config, folder), _residual(config, tensors, path))


def _activation(config: dict[str, Any], folder: Path) -> Callable[[Vectors], Vectors]:
    declared = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    name = declared.rpartition(".")[2] if isinstance(declared, str) else str(declared)
    if name not in ACTIVATIONS:
        raise KnnscopeError(f"{folder}: activation {name[:40]} is not supported: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def _residual(config: dict[str, Any], tensors: dict[str, Vectors], path: Path) -> Vectors | None:
    """None: nothing is added; empty: the input itself; else what it is multiplied by."""
    if not config.get("use_residual"):
        return None
    width, depth = tensors["linear.weight"].shape
    if width == depth:
        return np.empty((0, 0), np.float32)
    if tensors.get("residual.weight", np.empty(0)).shape != (width, depth):
        raise KnnscopeError(f"{path}: config.json asks for a residual, but there is no residual.weight that fits")
    return tensors["residual.weight"]
