"""From the vectors of a text's tokens to one vector, as sentence-transformers defines each mode.

A mode is a weighted sum over tokens, one token taken out, or the largest of each component. What NumPy computes here from the mask
alone (weights, places) is fed to the graph, so that the graph needs four nodes for any combination of modes; where it cannot be
changed, ``outside`` does the same in NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.errors import require

MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
"""In sentence-transformers' order, which is that of the parts of a vector where old files declare several."""

OWN = "model"
"""The graph pools itself."""

PLACES = ("cls", "lasttoken")
OPSET = 11
"""The first with GatherND."""

Array = npt.NDArray[Any]
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Pooling:
    """Modes whose vectors stand one after the other."""

    modes: tuple[str, ...]

    @property
    def plain(self) -> bool:
        """Whether sums with the weights 0 and 1 are needed."""
        return "mean" in self.modes or "mean_sqrt_len_tokens" in self.modes

    def feeds(self, kept: Array, first: Array) -> dict[str, Array]:
        """What a batch needs, by the name of the graph's input.

        Args:
            kept: 1 where a token is pooled, (batch, tokens).
            first: where each text begins, (batch,).

        Returns:
            pool.weights, float32 (batch, sums, tokens); pool.places, int64 (batch, places, 2); pool.absent, float32
            (batch, tokens, 1); each only where a mode needs it.
        """
        feeds: dict[str, Array] = {}
        sums = [kept] if self.plain else []
        if "weightedmean" in self.modes:
            sums.append(kept * (np.arange(1, kept.shape[1] + 1) - first[:, None]))
        if sums:
            feeds["pool.weights"] = np.stack(sums, axis=1).astype(np.float32)
        columns = [_place(mode, kept) for mode in self.modes if mode in PLACES]
        if columns:
            at = np.stack(columns, axis=1)
            feeds["pool.places"] = np.stack([np.broadcast_to(np.arange(len(kept))[:, None], at.shape), at], axis=2)
        if "max" in self.modes:
            feeds["pool.absent"] = np.where(kept, np.float32(0), np.float32(-np.inf))[:, :, None]
        return feeds

    def outputs(self) -> list[str]:
        """Names of the graph's outputs that ``finish`` takes."""
        names = ["pool.sums"] if self.plain or "weightedmean" in self.modes else []
        names += ["pool.taken"] if any(mode in PLACES for mode in self.modes) else []
        return [*names, "pool.largest"] if "max" in self.modes else names

    def append(self, graph: Any, hidden: str, opset: int) -> None:
        """Add the nodes to an onnx GraphProto, and make their results its only outputs.

        Only (batch, dim) then leaves the device instead of (batch, tokens, dim).
        """
        helper = require("onnx").helper
        float32, int64 = 1, 7
        graph.node.append(helper.make_node("Cast", [hidden], ["pool.hidden"], name="pool.cast", to=float32))
        taken = self.outputs()
        if "pool.sums" in taken:
            graph.input.append(helper.make_tensor_value_info("pool.weights", float32, ["batch", None, "tokens"]))
            graph.node.append(
                helper.make_node("MatMul", ["pool.weights", "pool.hidden"], ["pool.sums"], name="pool.product")
            )
        if "pool.taken" in taken:
            graph.input.append(helper.make_tensor_value_info("pool.places", int64, ["batch", None, 2]))
            graph.node.append(
                helper.make_node("GatherND", ["pool.hidden", "pool.places"], ["pool.taken"], name="pool.gather")
            )
        if "pool.largest" in taken:
            graph.input.append(helper.make_tensor_value_info("pool.absent", float32, ["batch", "tokens", 1]))
            graph.node.append(helper.make_node("Add", ["pool.hidden", "pool.absent"], ["pool.real"], name="pool.add"))
            graph.node.append(_largest(graph, helper, opset))
        del graph.output[:]
        graph.output.extend(helper.make_tensor_value_info(name, float32, None) for name in taken)

    def outside(self, hidden: Array, feeds: dict[str, Array]) -> dict[str, Vectors]:
        """What the nodes of ``append`` give, in NumPy.

        Args:
            hidden: (batch, tokens, dim), of any floating type.
            feeds: those of ``feeds``.
        """
        hidden = hidden.astype(np.float32, copy=False)
        found: dict[str, Vectors] = {}
        if "pool.weights" in feeds:
            found["pool.sums"] = feeds["pool.weights"] @ hidden
        if "pool.places" in feeds:
            found["pool.taken"] = hidden[feeds["pool.places"][..., 0], feeds["pool.places"][..., 1]]
        if "pool.absent" in feeds:
            found["pool.largest"] = (hidden + feeds["pool.absent"]).max(axis=1)
        return found

    def finish(self, found: dict[str, Vectors], kept: Array, first: Array) -> Vectors:
        """Vectors, float32 (batch, modes x dim), from ``outputs`` or ``outside``; ``kept`` and ``first`` as in ``feeds``."""
        counts = kept.sum(axis=1, keepdims=True).astype(np.float32)
        parts: list[Vectors] = []
        taken = 0
        for mode in self.modes:
            if mode == "max":
                # the largest of nothing has no number
                parts.append(np.where(counts > 0, found["pool.largest"], np.float32(0)))
            elif mode in PLACES:
                part = found["pool.taken"][:, taken]
                # nothing is left of a text that is all prompt: zero for the last token, as in sentence-transformers
                parts.append(part * (counts > 0) if mode == "lasttoken" else part)
                taken += 1
            elif mode == "weightedmean":
                weights = (kept * (np.arange(1, kept.shape[1] + 1) - first[:, None])).sum(axis=1, keepdims=True)
                parts.append(found["pool.sums"][:, -1] / np.maximum(weights, 1).astype(np.float32))
            else:
                divisor = np.maximum(counts, 1)
                parts.append(found["pool.sums"][:, 0] / (divisor if mode == "mean" else np.sqrt(divisor)))
        return np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]


def _place(mode: str, kept: Array) -> Array:
    """Where the token stands that a mode takes, (batch,)."""
    last = kept.shape[1] - 1 - kept[:, ::-1].argmax(axis=1)
    place: Array = kept.argmax(axis=1) if mode == "cls" else np.where(kept.any(axis=1), last, 0)
    return place


def _largest(graph: Any, helper: Any, opset: int) -> Any:
    if opset < 18:  # from 18 on the axes are an input
        return helper.make_node("ReduceMax", ["pool.real"], ["pool.largest"], name="pool.max", axes=[1], keepdims=0)
    graph.initializer.append(helper.make_tensor("pool.axes", 7, [1], [1]))
    return helper.make_node("ReduceMax", ["pool.real", "pool.axes"], ["pool.largest"], name="pool.max", keepdims=0)
