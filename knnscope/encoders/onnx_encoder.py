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
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.encoders import bert_graph, graphs, layers, tensors
from knnscope.encoders.declared import pad_id, position_offset, positions
from knnscope.encoders.inputs import Inputs
from knnscope.encoders.models import Model
from knnscope.encoders.pooling import OWN, Pooling
from knnscope.encoders.recipes import Recipe
from knnscope.errors import KnnscopeError, install_line, require
from knnscope.fetch import digest

FORMAT = "3"
"""Part of the cache's key: to be raised whenever the same text would give other bits."""

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
TOKENS_ON_GPU = 65_536
TOKENS_A_CORE, MOST_TOKENS_ON_CPU = 512, 4096
"""Tokens of a batch, padding counted in: enough for every core, few enough that activations stay in the cache.

Measured with all-MiniLM-L6-v2: on 2 cores 1,024 tokens took 216 µs of CPU time a token and 8,192 took 449; on 16 cores
4,096 gave 2,058 texts/s, 1,024 gave 1,667 and 16,384 gave 1,752.
"""

ROOM = 1 << 26
"""Bytes of a graph beside its weights, at most."""

BESIDE = "session.model_external_initializers_file_folder_path"
"""ONNX Runtime's name for the folder of a graph's weights beside it."""

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

    def __init__(self, path: Path, max_tokens: int, lower_case: bool = False, cut: str = "right") -> None:
        tokenizers = require("tokenizers")
        self._path = path
        try:
            self._inner = tokenizers.Tokenizer.from_file(str(path))
            self._inner.no_padding()
            self._inner.enable_truncation(max_length=max_tokens, **({"direction": cut} if cut != "right" else {}))
            if lower_case:
                lower, own = tokenizers.normalizers.Lowercase(), self._inner.normalizer
                self._inner.normalizer = tokenizers.normalizers.Sequence([lower, *([own] if own else [])])
        except BaseException as error:
            _pass_on(error)
            raise KnnscopeError(f"{path}: no tokenizer file, or a damaged one ({str(error)[:120]})") from error

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, special tokens in; a lone surrogate is read as a question mark."""
        clean = [t.encode("utf-8", "replace").decode("utf-8") for t in texts]
        try:
            return [e.ids for e in self._inner.encode_batch_fast(clean)]
        except BaseException as error:
            _pass_on(error)
            raise KnnscopeError(f"{self._path}: cannot split a text into tokens ({str(error)[:120]})") from error

    def prefix(self, prompt: str) -> int:
        """Tokens at the beginning of a text that belong to the prompt before it, as sentence-transformers counts them."""
        ids = self([prompt])[0]
        special = {number for number, token in self._inner.get_added_tokens_decoder().items() if token.special}
        return len(ids) - 1 if ids and ids[-1] in special else len(ids)


def _pass_on(error: BaseException) -> None:
    """Raise what is not the tokenizer's: it raises plain Exception for any malformed file, and a panic of Rust is no Exception."""
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        raise error


class OnnxEncoder:
    """One session on one device.

    recipe: as given, but for what the graph decides; notes: what it decided, in words.
    """

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
        most = positions(model.config, model.declared.base / "config.json")
        if most and max(recipe.max_tokens, recipe.pad_to or 0) > most:
            raise KnnscopeError(
                f"recipe {recipe.name}: {recipe.max_tokens} tokens, but {model.name} has {most} positions: choose another recipe"
            )
        self.model, self.recipe, self.device = model, recipe, device
        self.notes: tuple[str, ...] = ()
        self.tokenizer = self._tokenizer(recipe.max_tokens)
        start = time.perf_counter()
        self.threads = threads or len(os.sched_getaffinity(0))
        self._graph = self._load()
        self._layers = layers.Chain(self.recipe, model.folder)
        self._profile = tempfile.TemporaryDirectory() if device == "cuda" else None
        try:
            self._session = self._open(runtime)
            with graphs.understood(model.weights):
                self._inputs = Inputs(self._session, model.declared, self._graph.own, model.weights)
        except BaseException:
            self._end_profile()
            raise
        if self._inputs.width and self._inputs.width < recipe.max_tokens:
            self.recipe = replace(self.recipe, max_tokens=self._inputs.width)
            self.tokenizer = self._tokenizer(self._inputs.width)
            self.notes += (
                f"{model.name}: {model.weights.name} takes {self._inputs.width} tokens, longer texts are cut",
            )
        self.load_seconds = time.perf_counter() - start
        self.placement: Placement | None = None

    def _tokenizer(self, max_tokens: int) -> Tokenizer:
        made = Tokenizer(self.model.tokenizer, max_tokens, self.recipe.lower_case, self.model.declared.truncation_side)
        if (special := len(made([""])[0])) >= max_tokens:
            raise KnnscopeError(
                f"{self.model.name}: a limit of {max_tokens} tokens leaves no room for words beside {special} special tokens"
            )
        return made

    def _load(self) -> graphs.Loaded:
        """The graph; where it pools by itself, the recipe says so from then on."""
        where, recipe, declared = self.model.weights, self.recipe, self.model.declared
        apart: tensors.Weights = {}
        if where.suffix == ".onnx":
            graph = graphs.read(where)
        else:
            weights = bert_graph.read_weights(where)
            large = sum(weight.nbytes for weight in weights.values()) > graphs.LARGEST - ROOM
            graph = bert_graph.build(weights, self.model.config, where, apart if large else None)
        assumed = declared.assumed and recipe.name == declared.recipe.name
        with graphs.understood(where):
            loaded = graphs.prepare(graph, recipe.pooling, where, assumed, apart)
        if loaded.own and not recipe.pool_prompt and (recipe.query_prompt or recipe.document_prompt):
            raise KnnscopeError(
                f"{where}: pools inside the graph, but the prompts are not to be pooled: take a graph that gives tokens"
            )
        if loaded.own and recipe.pooling != OWN:
            # what the graph gives is left as it is where nobody asked for more
            self.recipe = replace(recipe, pooling=OWN, normalise=recipe.normalise and not assumed, layers=())
            self.notes += (f"{self.model.name}: its graph pools by itself: {loaded.hidden} is taken as it is",)
        elif loaded.own and recipe.layers:
            self.recipe = replace(recipe, layers=())
        return loaded

    def _open(self, runtime: Any) -> Any:
        options = runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        # spinning threads burn CPU time for nothing
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if self._graph.folder is not None:
            options.add_session_config_entry(BESIDE, str(self._graph.folder))
        if self._graph.arrays:
            values = [runtime.OrtValue.ortvalue_from_numpy(array) for array in self._graph.arrays.values()]
            options.add_external_initializers(list(self._graph.arrays), values)
        providers: list[Any] = [PROVIDERS["cpu"]]
        if self._profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(self._profile.name) / "run")
            providers.insert(0, (PROVIDERS["cuda"], {"use_tf32": "0"}))  # TF32 keeps 10 bits of 23
        try:
            # no fallback: it would print, and go on with the CPU without a word in the result
            source = str(self.model.weights) if self._graph.message is None else self._graph.message
            session = runtime.InferenceSession(source, options, providers=providers, enable_fallback=0)
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

    @property
    def key(self) -> str:
        """Digest of all that decides the vectors: graph, weights, tokenizer, layers, recipe, device, format.

        Prompts are in the digest of each text (``embed.digest``), so that another query prompt leaves the documents' vectors valid.
        """
        apart = ("name", "metric", "query_prompt", "document_prompt")
        recipe = {k: v for k, v in self.recipe.as_dict().items() if k not in apart}
        parts = [FORMAT, self._graph.sha256, self._layers.sha256, *self._around, recipe, self.device]
        return _digest(parts)[:32]

    @property
    def others(self) -> str:
        """Digest of the model's files that decide vectors beside the one of ``model.sha256``: tokenizer, config.json, layers, weights beside the graph."""
        config = {k: v for k, v in self.model.config.items() if k != "transformers_version" and not k.startswith("_")}
        return _digest([*self._around, config, self._layers.sha256, self._graph.beside])

    @cached_property
    def _around(self) -> list[Any]:
        declared = self.model.declared
        sides = [
            declared.padding_side,
            declared.truncation_side,
            pad_id(declared.config),
            position_offset(declared.config),
        ]
        return [digest(self.model.tokenizer, "sha256"), sides]

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

    def tokens(self, texts: Sequence[str], prompt: str = "") -> list[list[int]]:
        """Token ids of each text with the prompt before it."""
        return self.tokenizer([prompt + text for text in texts] if prompt else texts)

    def skipped(self, prompt: str) -> int:
        """Tokens of a prompt that are left out of the pooling."""
        return 0 if self.recipe.pool_prompt or not prompt else self.tokenizer.prefix(prompt)

    def encode_tokens(self, tokens: Sequence[Sequence[int]], skip: int = 0) -> Vectors:
        """Vectors of one batch of token ids.

        Args:
            tokens: those of each text.
            skip: so many at the beginning of each are not pooled.

        Returns:
            float32, (texts, dim).
        """
        vectors: Vectors | None = None
        for rows in self._inputs.groups([len(t) for t in tokens]):
            found = self._run([tokens[i] for i in rows], skip)
            if vectors is None:
                vectors = np.empty((len(tokens), found.shape[1]), np.float32)
            vectors[rows] = found
        assert vectors is not None
        return vectors

    def _run(self, tokens: Sequence[Sequence[int]], skip: int) -> Vectors:
        batch = self._inputs.lay_out(tokens, self.recipe.pad_to)
        kept = batch.kept(skip)
        pooling = None if self._graph.own else Pooling(tuple(self.recipe.pooling.split("+")))
        extra = pooling.feeds(kept, batch.first) if pooling else {}
        names = [self._graph.hidden] if self._graph.message is None else pooling.outputs() if pooling else ["pooled"]
        try:
            found = self._session.run(names, {**self._inputs.feed(batch), **(extra if self._graph.inside else {})})
        except Exception as error:
            # ONNX Runtime raises a family of its own types without a common base
            reason, width = str(error).strip().splitlines()[0][:200], batch.ids.shape[1]
            raise KnnscopeError(
                f"{self.model.weights}: cannot encode {len(tokens)} texts of up to {width} tokens ({reason}): do tokenizer and model belong together?"
            ) from error
        if self._profile is not None and self.placement is None:
            self.placement = _read_profile(Path(self._session.end_profiling()))
            self._end_profile()
        rank = 2 if pooling is None else 3
        if not self._graph.inside and (
            found[0].ndim != rank or found[0].shape[: rank - 1] != batch.ids.shape[: rank - 1]
        ):
            raise KnnscopeError(
                f"{self.model.weights}: gives {self._graph.hidden} of shape {found[0].shape} for input_ids of {batch.ids.shape}"
            )
        with np.errstate(all="ignore"):  # what is not finite is told below
            if pooling is None:
                pooled = found[0].astype(np.float32, copy=False)
            elif self._graph.inside:
                pooled = pooling.finish(dict(zip(names, found, strict=True)), kept, batch.first)
            else:
                pooled = pooling.finish(pooling.outside(found[0], extra), kept, batch.first)
            vectors = self._layers(pooled[: len(tokens)])
        if not np.isfinite(vectors).all():
            raise KnnscopeError(f"{self.model.weights}: gives vectors that are not finite: the weights are damaged")
        return vectors

    def encode(self, texts: Sequence[str], prompt: str = "") -> Vectors:
        """Vectors of a few texts with a prompt before each, in one batch."""
        return self.encode_tokens(self.tokens(texts, prompt), self.skipped(prompt))


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


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
