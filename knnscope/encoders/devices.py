"""The same texts on several devices, timed side by side, first run and steady state apart."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from knnscope.encoders.embed import WINDOW
from knnscope.encoders.models import Model
from knnscope.encoders.onnx_encoder import OnnxEncoder, plan
from knnscope.encoders.recipes import Recipe
from knnscope.progress import bar


@dataclass(frozen=True, slots=True)
class DeviceRun:
    """One device's figures, nothing from a cache.

    load_s: session creation. first_batch_s: the first batch, with what the device sets up in it. steady_s, steady_texts:
    all later batches, tokenisation counted in. difference: largest component difference to the first device.
    """

    device: str
    threads: int
    texts: int
    tokens: int
    batches: int
    load_s: float
    first_batch_s: float
    steady_s: float
    steady_texts: int
    wall_s: float
    cpu_s: float
    difference: float
    placement: dict[str, dict[str, int]]
    strayed: str | None

    @property
    def texts_per_s(self) -> float:
        """Steady rate."""
        return self.steady_texts / self.steady_s if self.steady_s else 0.0

    def as_dict(self) -> dict[str, object]:
        """Plain values, with the rate."""
        return {**asdict(self), "texts_per_s": round(self.texts_per_s, 1)}


def time_devices(
    model: Model, recipe: Recipe, devices: Sequence[str], texts: Sequence[str]
) -> tuple[list[DeviceRun], list[npt.NDArray[np.float32]]]:
    """Encode all texts, as documents, on each device in turn.

    Returns:
        Figures and vectors, float32, (texts, dim), in the order of ``devices``.
    """
    runs: list[DeviceRun] = []
    results: list[npt.NDArray[np.float32]] = []
    for device in devices:
        encoder = OnnxEncoder(model, recipe, device)
        run, vectors = _time(encoder, texts, results[0] if results else None)
        runs.append(run)
        results.append(vectors)
    return runs, results


def _time(
    encoder: OnnxEncoder, texts: Sequence[str], reference: npt.NDArray[np.float32] | None
) -> tuple[DeviceRun, npt.NDArray[np.float32]]:
    start, cpu = time.perf_counter(), time.process_time()
    prompt = encoder.recipe.document_prompt
    skip = encoder.skipped(prompt)
    vectors: npt.NDArray[np.float32] | None = None
    first_s, first_texts, tokens_seen, batches, spent = 0.0, 0, 0, 0, time.perf_counter()
    with bar(len(texts), f"encode on {encoder.device}", "text") as progress:
        for offset in range(0, len(texts), WINDOW):
            tokens = encoder.tokens(texts[offset : offset + WINDOW], prompt)
            for batch in plan([len(t) for t in tokens], encoder.token_budget):
                if not batches:
                    spent = time.perf_counter()
                found = encoder.encode_tokens([tokens[i] for i in batch], skip)
                if vectors is None:
                    vectors = np.empty((len(texts), found.shape[1]), np.float32)
                    first_s, first_texts = time.perf_counter() - spent, len(batch)
                vectors[batch + offset] = found
                tokens_seen += sum(len(tokens[i]) for i in batch)
                batches += 1
                progress.update(len(batch))
    assert vectors is not None
    wall, used = time.perf_counter() - start, time.process_time() - cpu
    run = DeviceRun(
        device=encoder.device,
        threads=encoder.threads,
        texts=len(texts),
        tokens=tokens_seen,
        batches=batches,
        load_s=encoder.load_seconds,
        first_batch_s=first_s,
        steady_s=wall - first_s,
        steady_texts=len(texts) - first_texts,
        wall_s=wall,
        cpu_s=used,
        difference=0.0 if reference is None else float(np.abs(vectors - reference).max()),
        placement=encoder.placement.nodes if encoder.placement else {},
        strayed=encoder.strayed,
    )
    return run, vectors
