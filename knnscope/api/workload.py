"""From a data set's name to vectors that can be searched: what every command starts with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.datasets import registry
from knnscope.encoders import embed, models, recipes
from knnscope.encoders.onnx_encoder import OnnxEncoder
from knnscope.errors import KnnscopeError
from knnscope.records import EncodedBy, TextDataset, VectorDataset, Vectors


@dataclass(frozen=True, slots=True)
class EncoderOptions:
    """Which model, where it runs, and the recipe (None: the model's own).

    name: None is the one that made the vectors, else the default. weights: which of a folder's files. query_prompt, document_prompt: None
    leaves the model's (``recipes.with_prompts``).
    """

    name: str | None = None
    device: str = "cpu"
    recipe: str | None = None
    weights: str | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None

    def open(self) -> tuple[models.Model, recipes.Recipe]:
        """The model, and the recipe with the chosen prompts.

        Raises:
            KnnscopeError: as ``models.resolve``, ``recipes.choose`` and ``recipes.with_prompts``.
        """
        model = models.resolve(self.name or models.DEFAULT, self.weights)
        chosen = recipes.choose(self.recipe, model.recipe)
        prompts = model.declared.prompts
        return model, recipes.with_prompts(chosen, prompts, self.query_prompt, self.document_prompt)


class Workload:
    """A data set opened for searching; texts are encoded when first needed, from the cache where they can be."""

    def __init__(
        self,
        spec: str | TextDataset | VectorDataset,
        options: registry.DatasetOptions | None = None,
        encoder: EncoderOptions | None = None,
    ) -> None:
        self.dataset, self.notes = registry.load(spec, options) if isinstance(spec, str) else (spec, spec.notes)
        self._options = encoder or EncoderOptions()

    @property
    def texts(self) -> TextDataset:
        """The data set in words.

        Raises:
            KnnscopeError: it holds vectors only.
        """
        if isinstance(self.dataset, VectorDataset):
            raise KnnscopeError(f"{self.dataset.name}: holds vectors, no texts to encode")
        return self.dataset

    @cached_property
    def encoder(self) -> OnnxEncoder:
        """The encoder of the options; for vectors that say what made them, that one.

        Raises:
            KnnscopeError: it cannot be had, or the options name another one than made the vectors.
        """
        made = self.dataset.encoded_by if isinstance(self.dataset, VectorDataset) else None
        model, recipe = self._options.open() if made is None else self._again(made)
        encoder = OnnxEncoder(model, recipe, self._options.device)
        if made is not None and made.others not in (None, encoder.others):
            raise KnnscopeError(
                f"{self.dataset.name}: its rows were encoded by {made.name} with another tokenizer, layer or file of weights than is there "
                "now: encode anew: knnscope embed -o"
            )
        self.notes += (*model.notes, *encoder.notes)
        if recipe != model.recipe:
            self.notes += (f"{model.name}: recipe {recipe.name}: {recipes.told(encoder.recipe)}",)
        return encoder

    def _again(self, made: EncodedBy) -> tuple[models.Model, recipes.Recipe]:
        """The encoder that made the vectors: queries may have another prompt, all else is the same."""
        wanted = self._options
        name = str(made.recipe["name"])
        options = replace(
            wanted,
            name=wanted.name or made.name,
            weights=wanted.weights or (made.weights if wanted.name is None else None),
            recipe=wanted.recipe or (name if name in recipes.RECIPES else None),
        )
        model, recipe = options.open()
        query, document = (made.recipe.get(part) for part in ("query_prompt", "document_prompt"))
        if wanted.query_prompt is None and isinstance(query, str):
            recipe = replace(recipe, query_prompt=query)
        if wanted.document_prompt is None and isinstance(document, str):
            recipe = replace(recipe, document_prompt=document)
        now = json.loads(json.dumps(recipe.as_dict()))
        free = ("name", "query_prompt")  # a folder may be renamed
        if model.sha256 != made.sha256 or any(now.get(k) != v for k, v in made.recipe.items() if k not in free):
            raise KnnscopeError(
                f"{self.dataset.name}: its rows were encoded by {made.name}, recipe {name}, with other weights or another "
                f"recipe than {model.name}, {recipe.name}: leave the encoder's options out, or encode anew: knnscope embed -o"
            )
        return model, recipe

    def encoder_facts(self) -> dict[str, object]:
        """What a record says of the encoder, so that it is found again."""
        name = self._options.name or models.DEFAULT
        where = {} if name in models.MODELS else {"encoder_folder": str(Path(name).resolve())}
        about = {**self.encoder.model.as_dict(), "others": self.encoder.others}
        return {**about, **where, "recipe": self.encoder.recipe.as_dict()}

    def words(self, text: str) -> npt.NDArray[np.float32]:
        """A query in words as a (1, dim) array of float32.

        Raises:
            KnnscopeError: vectors that do not say what made them.
        """
        if isinstance(self.dataset, VectorDataset) and self.dataset.encoded_by is None:
            raise KnnscopeError(
                f"{self.dataset.name}: holds vectors, no texts, and does not say what encoded them: give --query-id ROW"
            )
        return self.encoder.encode([text], self.encoder.recipe.query_prompt)

    @property
    def document_texts(self) -> Sequence[str] | None:
        """The texts of the rows, where they are known."""
        return self.dataset.documents.texts

    def query_text(self, row: int) -> str | None:
        """The text of a query, where it is known."""
        asked = self.dataset.queries if self.dataset.queries is not None else self.dataset.documents
        return asked.texts[row] if asked.texts is not None else None

    def said(self) -> tuple[str, ...]:
        """The notes so far, and which nodes of a CUDA session ran on the CPU."""
        if "encoder" in self.__dict__ and self.encoder.strayed:
            return (*self.notes, f"CUDA session: {self.encoder.strayed}")
        return self.notes

    @cached_property
    def documents(self) -> Vectors:
        """The rows to search."""
        if isinstance(self.dataset, VectorDataset):
            return self.dataset.documents
        prompt = self.encoder.recipe.document_prompt
        values = self.encode(self.dataset.documents.texts, "encode documents", prompt)[0]
        return Vectors(values, self.dataset.documents.ids)

    def encode(self, texts: Sequence[str], what: str, prompt: str) -> tuple[npt.NDArray[np.float32], embed.Work]:
        """Vectors of texts with a prompt before each, through the cache: float32, (texts, dim), and what it took.

        Raises:
            KnnscopeError: the cache cannot be read or written.
        """
        cache = embed.open_cache(self.encoder)
        try:
            work = embed.fill(cache, self.encoder, texts, what, prompt)
            return embed.read(cache, texts, prompt), work
        finally:
            cache.close()

    @cached_property
    def queries(self) -> npt.NDArray[Any]:
        """Vectors of all queries, (queries, dim); of texts in float32.

        Raises:
            KnnscopeError: the data set has none.
        """
        if self.dataset.queries is None or not len(self.dataset.queries):
            raise KnnscopeError(f"{self.dataset.name}: holds no queries")
        if isinstance(self.dataset, TextDataset):
            return self._encode_queries(self.dataset.queries.texts, "encode queries")
        return self.dataset.queries.values

    def query_vectors(self, rows: Sequence[int]) -> npt.NDArray[Any]:
        """Vectors of some queries, (rows, dim), in the order of ``rows``; only these are encoded.

        Raises:
            KnnscopeError: a file of vectors without queries.
        """
        if isinstance(self.dataset, TextDataset) and "queries" not in self.__dict__:
            return self._encode_queries([self.dataset.queries.texts[row] for row in rows], "encode queries")
        chosen: npt.NDArray[Any] = self.queries[np.asarray(rows)]
        return chosen

    @property
    def metric(self) -> str:
        """The recipe's metric, or the one the file declares, else l2."""
        if isinstance(self.dataset, VectorDataset):
            return self.dataset.metric or "l2"
        return self.encoder.recipe.metric

    def query_row(self, query_id: str) -> int:
        """Row number of a query by its id (texts) or number (vectors).

        Raises:
            KnnscopeError: no such query.
        """
        ids = self.query_ids
        if ids is None:
            assert isinstance(self.dataset, VectorDataset)
            count = len(self.dataset.queries or self.dataset.documents)
            if not (query_id.isascii() and query_id.isdigit() and len(query_id) < 19 and int(query_id) < count):
                raise KnnscopeError(
                    f"{self.dataset.name}: --query-id {query_id!r}: a row from 0 to {count - 1} was expected"
                )
            return int(query_id)
        for row, known in enumerate(ids):
            if known == query_id:
                return row
        if not len(ids):
            raise KnnscopeError(
                f'{self.dataset.name}: holds no queries: search it with words: knnscope search DATASET "words"'
            )
        raise KnnscopeError(f"{self.dataset.name}: no query with id {query_id!r}: ids look like {', '.join(ids[:3])}")

    @property
    def query_ids(self) -> Sequence[str] | None:
        """Ids of the queries; None where they have row numbers only."""
        if isinstance(self.dataset, TextDataset):
            return self.dataset.queries.ids
        return (self.dataset.queries or self.dataset.documents).ids

    def query_vector(self, row: int) -> npt.NDArray[Any]:
        """One query as a (1, dim) array; a file without queries lends its own rows."""
        if isinstance(self.dataset, VectorDataset):
            return (self.dataset.queries or self.dataset.documents).values[row : row + 1]
        return self._encode_queries([self.dataset.queries.texts[row]], "encode query")

    def _encode_queries(self, texts: Sequence[str], what: str) -> npt.NDArray[np.float32]:
        return self.encode(texts, what, self.encoder.recipe.query_prompt)[0]
