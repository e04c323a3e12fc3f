"""PyTorch as most people write it: one matrix product in float32, the expanded form, then topk; on the CPU and on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from knnscope.records import Capabilities, Neighbors
from knnscope.search import definition
from knnscope.search.device import is_device
from knnscope.search.engine import Array, unit_rows
from knnscope.search.engines.numpy import WIDE
from knnscope.search.ranges import Range
from knnscope.search.rounding import Formula


class TorchEngine:
    """|x|^2 - 2 x.q + |q|^2 in full float32 (no TF32)."""

    device = "cpu"
    scores = 1 << 24
    """Scores in memory at once: 64 MiB of float32."""
    capabilities = Capabilities(metrics=frozenset(definition.METRICS), dtypes=frozenset(definition.DTYPES))

    def formula(self, metric: str, dtype: str, queries: int, dim: int) -> Formula:  # noqa: ARG002
        """Expanded, in the rows' own width."""
        return Formula("expanded", "float64" if dtype in WIDE else "float32")

    def build(self, vectors: Array, metric: str) -> TorchIndex:
        """Copy the rows to the device."""
        return TorchIndex(vectors, metric, self.device, self.scores)


class TorchCudaEngine(TorchEngine):
    """The same on the first GPU."""

    device = "cuda"
    scores = 1 << 28
    capabilities = Capabilities(
        metrics=frozenset(definition.METRICS), dtypes=frozenset(definition.DTYPES), devices=frozenset({"cuda"})
    )


class TorchIndex:
    """Rows on the device and their squared norms."""

    def __init__(self, vectors: Array, metric: str, device: str, scores: int) -> None:
        dtype = np.float64 if vectors.dtype.name in WIDE else np.float32
        torch.set_float32_matmul_precision("highest")
        self._metric, self._device = metric, device
        self.how = f"one product of matrices in {dtype.__name__}, written out, then topk"
        rows = unit_rows(vectors, dtype) if metric == "cosine" else vectors.astype(dtype)
        self._rows = torch.from_numpy(np.ascontiguousarray(rows)).to(device)
        self._norms = (self._rows * self._rows).sum(dim=1) if metric == "l2" else None
        self._step = max(1, scores // len(rows))
        self.range = None if metric == "cosine" else Range(rows, metric)

    def search(self, queries: Any, k: int) -> Neighbors:
        """Chunks of queries whose scores fit; host in, host out; device in, device out."""
        with torch.inference_mode():
            asked = as_torch(queries, self._device).to(self._rows.dtype)
            if self._metric == "cosine":
                norms = asked.double().norm(dim=1, keepdim=True)
                asked = (asked / torch.where(norms > 0, torch.where(norms.isinf(), torch.nan, norms), 1.0)).to(
                    self._rows.dtype
                )
            found = [self._some(asked[i : i + self._step], k) for i in range(0, len(asked), self._step)]
            values, ids = (torch.cat(parts) if len(parts) > 1 else parts[0] for parts in zip(*found, strict=True))
        if is_device(queries):
            return Neighbors(ids, values)
        return Neighbors(ids.cpu().numpy(), values.cpu().numpy())

    def _some(self, queries: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        scores = queries @ self._rows.T
        if self._norms is not None:
            scores.mul_(-2).add_(self._norms).add_((queries * queries).sum(dim=1)[:, None]).clamp_(min=0)
        values, ids = torch.topk(scores, k, dim=1, largest=self._metric != "l2")
        return values, ids


def as_torch(array: Any, device: str) -> torch.Tensor:
    """A tensor over the same memory where it lies on that device, else a copy there."""
    if isinstance(array, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(array) if array.flags.writeable else array.copy()).to(device)
    if isinstance(array, torch.Tensor):
        return array.to(device)
    if hasattr(array, "__cuda_array_interface__"):
        return torch.as_tensor(array, device=device)
    return torch.from_dlpack(array).to(device)
