"""Whole columns of texts through an encoder and its cache."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from knnscope.encoders.onnx_encoder import OnnxEncoder, plan
from knnscope.encoders.vector_cache import VectorCache
from knnscope.progress import bar, skip
from knnscope.store import home

WINDOW = 16_384
"""Texts tokenised at once; within a window batches are sorted by length."""

Vectors = npt.NDArray[np.float32]


@dataclass(slots=True)
class Work:
    """What a run did: texts seen, found in the cache, encoded now; tokens and seconds of the encoding."""

    texts: int = 0
    cached: int = 0
    encoded: int = 0
    tokens: int = 0
    seconds: float = 0.0


def digest(text: str, prompt: str = "") -> bytes:
    """20 bytes that stand for a text with a prompt before it."""
    head, body = (part.encode("utf-8", "surrogatepass") for part in (prompt, text))
    if not head:
        return hashlib.blake2b(body, digest_size=20).digest()
    # the prompt's own bytes are told from the text's: how a prompt is pooled depends on where it ends
    return hashlib.blake2b(len(head).to_bytes(8, "little") + head + body, digest_size=20, person=b"prompt").digest()


def open_cache(encoder: OnnxEncoder) -> VectorCache:
    """The cache file of this encoder."""
    return VectorCache(home() / "vectors" / f"{encoder.key}.sqlite", encoder.dim)


def fill(cache: VectorCache, encoder: OnnxEncoder, texts: Sequence[str], what: str, prompt: str = "") -> Work:
    """Encode what the cache lacks. Each batch is committed whole: a killed run goes on after its last batch.

    The batches of a window are planned from all its texts, cached or not, so a resumed run makes the same batches and
    the same bits. A text that stands twice is encoded once.

    Args:
        cache: where vectors go.
        encoder: makes them.
        texts: any sequence; a window at a time is held as tokens.
        what: label of the progress bar.
        prompt: put before each text.
    """
    work = Work()
    with bar(len(texts), what, "text") as progress:
        for start in range(0, len(texts), WINDOW):
            window = texts[start : start + WINDOW]
            work.texts += len(window)
            unique = {digest(t, prompt): t for t in window}
            digests = list(unique)
            with contextlib.ExitStack() as held:
                have = cache.have(digests)
                if not have.all():
                    held.enter_context(cache.writing(digests))
                    have = cache.have(digests)  # somebody may have encoded them meanwhile
                work.cached += int(have.sum())
                skip(progress, len(window) - int((~have).sum()))
                if not have.all():
                    for count, tokens, seconds in _encode_window(cache, encoder, unique, have, prompt):
                        work.encoded += count
                        work.tokens += tokens
                        work.seconds += seconds
                        progress.update(count)
    return work


def _encode_window(
    cache: VectorCache, encoder: OnnxEncoder, texts: dict[bytes, str], have: npt.NDArray[np.bool_], prompt: str
) -> Iterator[tuple[int, int, float]]:
    """Texts, tokens and seconds of each batch, after it is in the cache."""
    start = time.perf_counter()
    digests = list(texts)
    tokens = encoder.tokens(list(texts.values()), prompt)
    skip = encoder.skipped(prompt)
    for batch in plan([len(t) for t in tokens], encoder.token_budget):
        missing = [int(i) for i in batch if not have[i]]
        if missing:
            vectors = encoder.encode_tokens([tokens[i] for i in missing], *([skip] if skip else []))
            cache.add([digests[i] for i in missing], vectors)
            now = time.perf_counter()
            yield len(missing), sum(len(tokens[i]) for i in missing), now - start
            start = now


def read(cache: VectorCache, texts: Sequence[str], prompt: str = "") -> Vectors:
    """Vectors of texts that are all in the cache with this prompt, (texts, dim)."""
    values = np.empty((len(texts), cache.dim), dtype=np.float32)
    for start, block in read_blocks(cache, texts, prompt):
        values[start : start + len(block)] = block
    return values


def read_blocks(cache: VectorCache, texts: Sequence[str], prompt: str = "") -> Iterator[tuple[int, Vectors]]:
    """The same, block by block, for a file larger than memory."""
    for start in range(0, len(texts), WINDOW):
        window = texts[start : start + WINDOW]
        block = np.empty((len(window), cache.dim), dtype=np.float32)
        cache.read([digest(t, prompt) for t in window], block)
        yield start, block
