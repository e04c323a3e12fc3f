"""A small encoder of Sentence Transformers with random weights, and texts for it: nothing comes from a hub."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

WORDS = 300


def held_to(name: str, tested: str) -> None:
    """The host that is installed is the one that these tests name: who pins another one reads what it changed, and names it.

    Raises:
        AssertionError: it is another.
    """
    assert version(name) == tested, (
        f"these tests are of {name} {tested}: read what {version(name)} changed, then name it"
    )


def layer(more: Sequence[str] = ()) -> StaticEmbedding:
    """The mean of a random vector for each word of ``texts``, or of those that are given."""
    words = ["?", *(f"w{i}" for i in range(1, WORDS)), *more]
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="?"))
    tokenizer.pre_tokenizer = Whitespace()
    weights = np.random.default_rng(7).standard_normal((len(words), 24), dtype=np.float32)
    return StaticEmbedding(tokenizer, embedding_weights=torch.from_numpy(weights))


def encoder(similarity: str = "cosine") -> SentenceTransformer:
    """Of one layer."""
    return SentenceTransformer(modules=[layer()], similarity_fn_name=similarity, device="cpu")


def texts(count: int, seed: int = 0, longest: int = 14) -> list[str]:
    """Of some words each, none twice; by an encoder of random weights no two are equally far from a third."""
    rng = np.random.default_rng(seed)
    made: dict[str, None] = {}
    while len(made) < count:
        made[" ".join(f"w{i}" for i in rng.integers(1, WORDS, rng.integers(4, longest)))] = None
    return list(made)
