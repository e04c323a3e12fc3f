"""Texts to vectors through ONNX Runtime."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.encoders import bert_graph
from knnscope.encoders.models import Model
from knnscope.encoders.recipes import Recipe
from knnscope.errors import KnnscopeError, install_line, require

FORMAT = "2"
"""Part of the cache's key: to be raised whenever the same text would give other bits."""

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
TOKENS_ON_GPU = 65_536
TOKENS_A_CORE, MOST_TOKENS_ON_CPU = 512, 4096
"""Tokens of a batch, padding counted in: enough for every core, few enough that activations stay in the cache.

Measured with all-MiniLM-L6-v2: on 2 cores 1,024 tokens took 216 us of CPU time a token and 8,192 took 449; on 16 cores
4,096 gave 2,058 texts/s, 1,024 gave 1,667 and 16,384 gave 1,752.
"""

FED = {"input_ids", "attention_mask", "token_type_ids"}
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the graph's nodes ran: provider to operator counts, read from a profiled first run."""

    nodes: dict[str, dict[str, int]]

    def strayed(self, provider: str) -> str | None:
        """Which nodes of a session for ``provider`` ran elsewhere, in words."""
        others = {p: ops for p, ops in self.nodes.items() if p != provider}
        if not others:
            return None
        total = sum(sum(ops.values()) for ops in self.nodes.values())
        parts = [
            f"{sum(ops.values())} of {total} nodes ran on {p.removesuffix('ExecutionProvider')} ({', '.join(sorted(ops))})"
            for p, ops in others.items()
        ]
        return "; ".join(parts)


class Tokenizer:
    """tokenizer.json with its own padding and truncation overridden by the recipe's."""

    def __init__(self, path: Path, max_tokens: int) -> None:
        tokenizers = require("tokenizers")
        self._path = path
        try:
            self._inner = tokenizers.Tokenizer.from_file(str(path))
        except BaseException as error:
            _pass_on(error)
            raise KnnscopeError(f"{path}: no tokenizer file, or a damaged one ({str(error)[:120]})") from error
        self._inner.no_padding()
        self._inner.enable_truncation(max_length=max_tokens)

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, special tokens in; a lone surrogate is read as a question mark."""
        clean = [t.encode("utf-8", "replace").decode("utf-8") for t in texts]
        try:
            return [e.ids for e in self._inner.encode_batch_fast(clean)]
        except BaseException as error:
            _pass_on(error)
            raise KnnscopeError(f"{self._path}: cannot split a text into tokens ({str(error)[:120]})") from error


def _pass_on(error: BaseException) -> None:
    """Raise what is not the tokenizer's: it raises plain Exception for any malformed file, and a panic of Rust is no Exception."""
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        raise error


class OnnxEncoder:
    """One session on one device."""

    def __init__(self, model: Model, recipe: Recipe, device: str = "cpu", threads: int | None = None) -> None:
        # since 1.32 it calls home unless this is set before it is imported
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        runtime = require("onnxruntime", "cpu" if device == "cpu" else "cuda13")
        if device not in PROVIDERS:
            raise KnnscopeError(f"no device {device!r}: cpu or cuda")
        if device == "cuda" and PROVIDERS["cuda"] not in runtime.get_available_providers():
            raise KnnscopeError(
                f"this ONNX Runtime is built without CUDA: pip uninstall onnxruntime, then {install_line('cuda13')} (or cuda12)"
            )
        most = model.config.get("max_position_embeddings")
        if isinstance(most, int) and max(recipe.max_tokens, recipe.pad_to or 0) > most > 0:
            raise KnnscopeError(
                f"recipe {recipe.name}: {recipe.max_tokens} tokens, but {model.name} has {most} positions: choose another recipe"
            )
        self.model, self.recipe, self.device = model, recipe, device
        self.tokenizer = Tokenizer(model.tokenizer, recipe.max_tokens)
        start = time.perf_counter()
        self.threads = threads or len(os.sched_getaffinity(0))
        graph = self._graph()
        self._graph_sha256 = hashlib.sha256(graph).hexdigest()
        self._profile = tempfile.TemporaryDirectory() if device == "cuda" else None
        try:
            self._session = self._open(runtime, graph)
        except BaseException:
            self._end_profile()
            raise
        self._inputs = {i.name for i in self._session.get_inputs()}
        if "input_ids" not in self._inputs or self._inputs - FED:
            wanted = ", ".join(sorted(self._inputs))
            raise KnnscopeError(
                f"{model.weights}: takes {wanted}; an encoder takes input_ids, attention_mask and at most token_type_ids"
            )
        self.load_seconds = time.perf_counter() - start
        self.placement: Placement | None = None

    def _open(self, runtime: Any, graph: bytes) -> Any:
        options = runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        # spinning threads burn CPU time for nothing
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers: list[Any] = [PROVIDERS["cpu"]]
        if self._profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(self._profile.name) / "run")
            providers.insert(0, (PROVIDERS["cuda"], {"use_tf32": "0"}))  # TF32 keeps 10 bits of 23
        try:
            # no fallback: it would print, and go on with the CPU without a word in the result
            session = runtime.InferenceSession(graph, options, providers=providers, enable_fallback=0)
        except Exception as error:
            # ONNX Runtime raises a family of its own types without a common base
            if found := re.search(r"CUDA failure \d+: [^;]*", str(error)):
                raise KnnscopeError(
                    f"CUDA cannot be used ({found[0].strip()}): knnscope info shows what hides it"
                ) from error
            reason = str(error).strip().splitlines()[0][:200]
            raise KnnscopeError(f"{self.model.weights}: ONNX Runtime cannot run it ({reason})") from error
        if session.get_providers()[0] != PROVIDERS[self.device]:
            raise KnnscopeError(
                "the CUDA session fell back to the CPU as a whole: the driver, CUDA or cuDNN libraries do not load; "
                "knnscope info shows what hides them"
            )
        return session

    def _end_profile(self) -> None:
        if self._profile is not None:
            self._profile.cleanup()

    def _graph(self) -> bytes:
        onnx = require("onnx")
        where = self.model.weights
        if where.suffix == ".onnx":
            try:
                graph = onnx.load(str(where))
            except Exception as error:
                # protobuf's errors and onnx's own have no common base
                raise KnnscopeError(
                    f"{where}: no ONNX model, or a damaged one ({str(error).splitlines()[0][:120]})"
                ) from error
        else:
            graph = bert_graph.build(bert_graph.read_weights(where), self.model.config, where)
        data: bytes = bert_graph.with_pooling(graph, self.recipe.pooling, where).SerializeToString()
        return data

    @property
    def key(self) -> str:
        """Digest of all that decides the vectors: the graph with its weights, tokenizer, recipe, device, format."""
        recipe = {k: v for k, v in self.recipe.as_dict().items() if k not in ("name", "metric")}
        tokenizer = hashlib.sha256(self.model.tokenizer.read_bytes()).hexdigest()
        parts = [FORMAT, self._graph_sha256, tokenizer, recipe, self.device]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def strayed(self) -> str | None:
        """Which nodes of a CUDA session ran elsewhere, in words, once something was encoded."""
        return self.placement.strayed(PROVIDERS[self.device]) if self.placement else None

    @property
    def token_budget(self) -> int:
        """Tokens that a batch may hold on this device."""
        return TOKENS_ON_GPU if self.device == "cuda" else min(TOKENS_A_CORE * self.threads, MOST_TOKENS_ON_CPU)

    @cached_property
    def dim(self) -> int:
        """Components of a vector, found by encoding an empty text."""
        return int(self.encode([""]).shape[1])

    def encode_tokens(self, tokens: Sequence[Sequence[int]]) -> Vectors:
        """Vectors of one batch of token ids.

        Returns:
            float32, (texts, dim).
        """
        width = self.recipe.pad_to or max(len(t) for t in tokens)
        ids = np.zeros((len(tokens), width), dtype=np.int64)
        mask = np.zeros_like(ids)
        for i, row in enumerate(tokens):
            ids[i, : len(row)] = row
            mask[i, : len(row)] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        try:
            pooled: Vectors = self._session.run(["pooled"], {k: v for k, v in feed.items() if k in self._inputs})[0]
        except Exception as error:
            # ONNX Runtime raises a family of its own types without a common base
            reason = str(error).strip().splitlines()[0][:200]
            raise KnnscopeError(
                f"{self.model.weights}: cannot encode {len(tokens)} texts of up to {width} tokens ({reason}): do tokenizer and model belong together?"
            ) from error
        if self._profile is not None and self.placement is None:
            self.placement = _read_profile(Path(self._session.end_profiling()))
            self._end_profile()
        if self.recipe.pooling == "mean":
            pooled /= np.maximum(mask.sum(axis=1, keepdims=True), 1).astype(np.float32)
        if self.recipe.normalise:
            pooled /= np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), np.float32(1e-12))
        if not np.isfinite(pooled).all():
            raise KnnscopeError(f"{self.model.weights}: gives vectors that are not finite: the weights are damaged")
        return pooled

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors of a few texts, in one batch."""
        return self.encode_tokens(self.tokenizer(texts))


def _read_profile(path: Path) -> Placement:
    counts: dict[str, Counter[str]] = {}
    for event in json.loads(path.read_text("utf-8")):
        details = event.get("args", {}) if isinstance(event, dict) else {}
        if event.get("cat") == "Node" and "provider" in details:
            counts.setdefault(details["provider"], Counter())[details.get("op_name", "?")] += 1
    return Placement({p: dict(c) for p, c in counts.items()})


def plan(lengths: Sequence[int], budget: int) -> list[npt.NDArray[np.intp]]:
    """Batches of row numbers, longest texts first, each within ``budget`` tokens with its padding.

    Sorted by length, texts of a batch need almost no padding. The plan depends on the lengths alone, so that a resumed run
    makes the same batches and with them the same bits.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable")
    batches, start = [], 0
    while start < len(order):
        count = max(1, budget // max(1, lengths[order[start]]))
        batches.append(order[start : start + count])
        start += count
    return batches
