"""How texts become vectors, by name: what surrounds the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from knnscope.errors import unknown_name


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything between a text and its vector that is not the model's graph.

    pooling: modes of ``pooling.MODES`` joined by "+", whose vectors stand one after the other; "model": the graph pools itself.
    normalise: divide each vector by its norm, after ``layers``.
    max_tokens: longer texts are cut, special tokens counted in.
    pad_to: pad every text to this many tokens; None pads to the longest of its batch.
    metric: what the vectors are meant to be compared with.
    layers: what stands between pooling and ``normalise``: folders of dense and norm layers, or "normalise".
    query_prompt, document_prompt: put before each query, each document.
    pool_prompt: whether a prompt's tokens are pooled with the others.
    lower_case: texts are lower-cased first.
    truncate_dim: only so many components are kept, at the very end; None keeps all.
    """

    name: str
    pooling: str
    normalise: bool
    max_tokens: int
    pad_to: int | None
    metric: str
    layers: tuple[str, ...] = ()
    query_prompt: str = ""
    document_prompt: str = ""
    pool_prompt: bool = True
    lower_case: bool = False
    truncate_dim: int | None = None

    def as_dict(self) -> dict[str, object]:
        """Plain values for records and digests."""
        return asdict(self)


MEAN_256 = Recipe("mean-256", "mean", normalise=True, max_tokens=256, pad_to=None, metric="cosine")
MEAN_512 = Recipe("mean-512", "mean", normalise=True, max_tokens=512, pad_to=None, metric="cosine")
NOTEBOOK = Recipe("notebook", "cls", normalise=False, max_tokens=128, pad_to=128, metric="l2")
"""The study's own: first token, padded to 128, not normalised, searched by Euclidean distance."""

RECIPES = {recipe.name: recipe for recipe in (MEAN_256, MEAN_512, NOTEBOOK)}


def choose(name: str | None, own: Recipe) -> Recipe:
    """The named recipe, or the model's own. What belongs to the model's input, prompts and lower case, stays the model's.

    Raises:
        KnnscopeError: no such recipe.
    """
    if name is None or name in ("own", own.name):
        return own
    if name not in RECIPES:
        raise unknown_name("recipe", name, [*RECIPES, "own"])
    found = RECIPES[name]
    return replace(
        found,
        max_tokens=min(found.max_tokens, own.max_tokens) if found.pad_to is None else found.max_tokens,
        query_prompt=own.query_prompt,
        document_prompt=own.document_prompt,
        pool_prompt=own.pool_prompt,
        lower_case=own.lower_case,
    )


def with_prompts(recipe: Recipe, known: Mapping[str, str], query: str | None, document: str | None) -> Recipe:
    """The recipe with other prompts: each a name of ``known``, words of one's own, or "none"; None leaves the recipe's.

    Raises:
        KnnscopeError: a single word that is no known name, which would be a slip of the fingers.
    """
    query_prompt = recipe.query_prompt if query is None else _prompt(query, known)
    document_prompt = recipe.document_prompt if document is None else _prompt(document, known)
    return replace(recipe, query_prompt=query_prompt, document_prompt=document_prompt)


def _prompt(chosen: str, known: Mapping[str, str]) -> str:
    if chosen in known:
        return known[chosen]
    if chosen in ("", "none"):
        return ""
    if chosen.replace("-", "_").isidentifier():
        raise unknown_name("prompt", chosen, [*known, "none"], "(words of your own end with a space or a colon)")
    return writable(chosen)


def writable(text: str) -> str:
    """The text with lone surrogates, which no file can hold, as question marks, as the tokenizer reads them."""
    return text.encode("utf-8", "replace").decode("utf-8")


def told(recipe: Recipe) -> str:
    """The recipe in words, as it is shown."""
    parts = [
        "pooling inside the graph" if recipe.pooling == "model" else f"{recipe.pooling} pooling",
        *(f"then {'normalised' if step == 'normalise' else step}" for step in recipe.layers),
        "normalised" if recipe.normalise else "not normalised",
        f"{recipe.max_tokens} tokens",
    ]
    parts += ["lower case"] if recipe.lower_case else []
    parts += [f"cut to {recipe.truncate_dim} components"] if recipe.truncate_dim else []
    parts.append(f"compared by {recipe.metric}")
    for part, prompt in (("query", recipe.query_prompt), ("document", recipe.document_prompt)):
        parts += [f"{part} prompt {prompt!r}"] if prompt else []
    if recipe.query_prompt or recipe.document_prompt:
        parts += [] if recipe.pool_prompt else ["prompts not pooled"]
    else:
        parts.append("no prompts")
    return ", ".join(parts)
