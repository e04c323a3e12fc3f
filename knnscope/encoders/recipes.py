"""How texts become vectors, by name: what surrounds the model."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from knnscope.errors import unknown_name


@dataclass(frozen=True, slots=True)
class Recipe:
    """Pooling and limits of an encoder.

    pooling: "mean" over the tokens, or "cls", the first token.
    normalise: divide each vector by its norm.
    max_tokens: longer texts are cut, special tokens counted in.
    pad_to: pad every text to this many tokens; None pads to the longest of its batch.
    metric: what the vectors are meant to be compared with.
    """

    name: str
    pooling: str
    normalise: bool
    max_tokens: int
    pad_to: int | None
    metric: str

    def as_dict(self) -> dict[str, object]:
        """Plain values for records and digests."""
        return asdict(self)


MEAN_256 = Recipe("mean-256", "mean", normalise=True, max_tokens=256, pad_to=None, metric="cosine")
MEAN_512 = Recipe("mean-512", "mean", normalise=True, max_tokens=512, pad_to=None, metric="cosine")
NOTEBOOK = Recipe("notebook", "cls", normalise=False, max_tokens=128, pad_to=128, metric="l2")
"""The study's own: first token, padded to 128, not normalised, searched by Euclidean distance."""

RECIPES = {recipe.name: recipe for recipe in (MEAN_256, MEAN_512, NOTEBOOK)}


def choose(name: str | None, own: Recipe) -> Recipe:
    """The named recipe, or the model's own.

    Raises:
        KnnscopeError: no such recipe.
    """
    if name is None or name in ("own", own.name):
        return own
    if name not in RECIPES:
        raise unknown_name("recipe", name, [*RECIPES, "own"])
    found = RECIPES[name]
    return replace(found, max_tokens=min(found.max_tokens, own.max_tokens)) if found.pad_to is None else found
