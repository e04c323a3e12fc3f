"""flashlib's flash_knn: Triton kernels that never write the score matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from flashlib.primitives.knn import flash_knn

from knnscope.records import Capabilities, Neighbors
from knnscope.search.device import is_device
from knnscope.search.engine import Array
from knnscope.search.engines.torch import as_torch
from knnscope.search.ranges import Range
from knnscope.search.rounding import Formula


class FlashlibEngine:
    """Squared distances of float32 rows; the products inside go through the tensor cores as TF32, Triton's default."""

    capabilities = Capabilities(
        metrics=frozenset({"l2"}),
        dtypes=frozenset({"float32", "float16", "int8", "uint8"}),
        devices=frozenset({"cuda"}),
    )

    def formula(self, metric: str, dtype: str, queries: int, dim: int) -> Formula:  # noqa: ARG002
        """Expanded, products in TF32."""
        return Formula("expanded", "tf32")

    def build(self, vectors: Array, metric: str) -> FlashlibIndex:  # noqa: ARG002
        """Copy the rows to the GPU."""
        return FlashlibIndex(vectors)


class FlashlibIndex:
    """Rows in GPU memory."""

    def __init__(self, vectors: Array) -> None:
        rows = vectors.astype(np.float32, order="C")
        self.range = Range(rows, "l2")
        self._rows = torch.from_numpy(rows).cuda()

    def search(self, queries: Any, k: int) -> Neighbors:
        """One call to flash_knn; distances are its own."""
        with torch.inference_mode():
            values, ids = flash_knn(as_torch(queries, "cuda").float().contiguous(), self._rows, k)
            ids = ids.long()
        if is_device(queries):
            return Neighbors(ids, values)
        return Neighbors(ids.cpu().numpy(), values.cpu().numpy())
