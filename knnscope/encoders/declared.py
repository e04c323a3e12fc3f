"""What a model's own configuration files say of its use, as sentence-transformers saves and reads them.

Read: modules.json, the pooling's config.json, sentence_bert_config.json, tokenizer_config.json, config.json and
config_sentence_transformers.json. Each may be absent; one that is there and odd is an error, since a guess would give other vectors
than the authors'. Nothing here is trusted: sizes are bounded, and no path leaves the folder.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from knnscope.encoders.pooling import MODES, OWN
from knnscope.encoders.recipes import Recipe, told, writable
from knnscope.errors import KnnscopeError

DEFAULT_TOKENS = 512
LARGEST_FILE = 1 << 24
NO_LIMIT = 1 << 20
"""Token limits above it mean that there is none: tokenizers without one are saved with 1e30."""

OLD_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
METRICS = {"cosine": "cosine", "dot": "ip", "euclidean": "l2"}
LIMIT_FILES = [
    f"sentence_{module_type}_config.json"
    for module_type in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
]
OFFSET_TYPES = (
    "roberta", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm", "camembert", "data2vec-text", "mpnet", "longformer", "xmod", "ibert",
)  # fmt: skip
"""Architectures whose first token has the position pad_token_id + 1."""

RELATIVE_TYPES = ("t5", "mt5", "umt5")
"""Architectures whose n_positions bounds nothing."""


@dataclass(frozen=True, slots=True)
class Declared:
    """The decisions of a folder.

    base: the folder of the transformer: weights, tokenizer, config.json.
    recipe: what surrounds it; prompts: all that the model names.
    assumed: the folder does not say how to pool.
    padding_side, truncation_side: "left" or "right", as the tokenizer has it.
    notes: the decisions in words, then what cannot be obeyed.
    """

    base: Path
    config: dict[str, Any]
    recipe: Recipe
    prompts: dict[str, str] = field(default_factory=dict)
    assumed: bool = False
    padding_side: str = "right"
    truncation_side: str = "right"
    notes: tuple[str, ...] = ()


def read(folder: Path, name: str) -> Declared:
    """What the files of a folder declare; where they are silent, mean pooling, normalised, 512 tokens, cosine.

    Raises:
        KnnscopeError: a file is damaged or odd, or asks for what is not supported here.
    """
    read_files: list[str] = []
    general = _optional(folder / "config_sentence_transformers.json", read_files)
    module_type = general.get("model_type", "SentenceTransformer")
    if module_type != "SentenceTransformer":
        raise KnnscopeError(
            f"{folder}: a {module_type}, but an encoder of one vector a text (SentenceTransformer) is needed"
        )
    modules = _modules(folder, read_files)
    base = _inside(folder, modules[0][1]) if modules else folder
    config = declared_config(base)
    pooling, pool_prompt = _find_pooling(folder, modules, read_files)
    steps = [step for name, path in modules[1:] if (step := _step(folder, name, path))]
    if not modules and (folder / "2_Normalize").exists():
        steps = ["normalise"]
    normalise = steps[-1:] == ["normalise"]
    assumed = pooling is None
    query, document, prompts = _prompts(general, folder / "config_sentence_transformers.json")
    metric, remark = _metric(general.get("similarity_fn_name"), name)
    limit, lower_case = _limit(base, config, read_files)
    recipe = Recipe(
        name,
        pooling or "mean",
        normalise=normalise or assumed,
        max_tokens=limit,
        pad_to=None,
        metric=metric,
        layers=tuple(steps[:-1] if normalise else steps),
        query_prompt=query,
        document_prompt=document,
        pool_prompt=pool_prompt,
        lower_case=lower_case,
        truncate_dim=_whole(general.get("truncate_dim"), folder / "config_sentence_transformers.json", "truncate_dim"),
    )
    how = f"as {' and '.join(read_files)} say{'s' if len(read_files) == 1 else ''}" if read_files else ""
    silent = "pooling assumed, since the folder does not say" if assumed else ""
    note = f"{name}: {told(recipe)}; {'; '.join(part for part in (how, silent) if part)}"
    padding, truncation = _sides(base / "tokenizer_config.json")
    return Declared(base, config, recipe, prompts, assumed, padding, truncation, (note, *remark))


def declared_config(base: Path) -> dict[str, Any]:
    """config.json of a folder; empty where there is none."""
    return _optional(base / "config.json", [])


def positions(config: dict[str, Any], where: Path) -> int | None:
    """How many tokens the model has positions for; None where config.json does not say."""
    key = "max_position_embeddings" if "max_position_embeddings" in config else "n_positions"
    if config.get(key) == -1 or config.get("model_type") in RELATIVE_TYPES:  # -1: XLNet's word for none
        return None
    most = _whole(config.get(key), where, key)
    return None if most is None else max(1, most - position_offset(config))


def position_offset(config: dict[str, Any]) -> int:
    """The position of a text's first token."""
    return pad_id(config, 1) + 1 if config.get("model_type") in OFFSET_TYPES else 0


def pad_id(config: dict[str, Any], default: int = 0) -> int:
    """The token that fills up a batch."""
    value = config.get("pad_token_id")
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31 else default


def _modules(folder: Path, told_by: list[str]) -> list[tuple[str, str]]:
    """Class name and path of each module of modules.json, in their order; nothing where there is no such file."""
    path = folder / "modules.json"
    if not path.is_file():
        return []
    value = _parse(path)
    if not isinstance(value, list) or not all(isinstance(module, dict) for module in value):
        raise KnnscopeError(f"{path}: a list of modules was expected")
    found = []
    for module in value:
        module_type, place = module.get("type"), module.get("path", "")
        if not isinstance(module_type, str) or not isinstance(place, str):
            raise KnnscopeError(f"{path}: each module has a type and a path, both words")
        found.append((module_type.rpartition(".")[2], place))
    names = [module_type for module_type, _ in found]
    if names and names[0] != "Transformer":
        raise KnnscopeError(f"{path}: begins with the module {names[0]}: only a Transformer is supported")
    if found:
        told_by.append("modules.json")
    return found


def _find_pooling(folder: Path, modules: list[tuple[str, str]], told_by: list[str]) -> tuple[str | None, bool]:
    """Modes joined by "+", and whether prompts are pooled; None where nothing is said."""
    places = [place for module_type, place in modules if module_type == "Pooling"]
    if modules and not places:
        return OWN, True
    if len(places) > 1 or (modules and modules[1][0] != "Pooling"):
        raise KnnscopeError(f"{folder / 'modules.json'}: one Pooling right after the Transformer was expected")
    path = (_inside(folder, places[0]) if places else folder / "1_Pooling") / "config.json"
    if not path.is_file():
        if places:
            raise KnnscopeError(f"{path}: not there, though modules.json names it")
        return None, True
    config = _object(path)
    told_by.append(f"{path.parent.name}/config.json")
    include = config.get("include_prompt", True)
    if not isinstance(include, bool):
        raise KnnscopeError(f"{path}: include_prompt is {include!r}: true or false was expected")
    return _pooling_modes(config, path), include


def _pooling_modes(config: dict[str, Any], path: Path) -> str:
    """The modes of either form: one key with a name or a list of names, or the booleans of before 2026."""
    chosen = config.get("pooling_mode")
    if chosen is None:
        old = {key: value for key, value in config.items() if key.startswith("pooling_mode_")}
        if odd := [key for key, value in old.items() if not isinstance(value, bool)]:
            raise KnnscopeError(f"{path}: {odd[0]} is {old[odd[0]]!r}: true or false was expected")
        chosen = [mode for key, mode in OLD_POOLING.items() if old.get(key)]
        chosen += [key for key, value in old.items() if value and key not in OLD_POOLING]
        if not chosen and not (old or "word_embedding_dimension" in config or "embedding_dimension" in config):
            raise KnnscopeError(f"{path}: pooling undeclared is not supported: {', '.join(MODES)}")
        chosen = chosen or ["mean"]  # as in sentence-transformers
    modes = chosen if isinstance(chosen, list) else [chosen]
    if not modes or (wrong := [mode for mode in modes if mode not in MODES]):
        named = ", ".join(str(mode) for mode in wrong) if modes else "of an empty list"
        raise KnnscopeError(f"{path}: pooling {named[:80]} is not supported: {', '.join(MODES)}")
    return "+".join(modes)


def _step(folder: Path, module_type: str, place: str) -> str | None:
    """What a module after the transformer adds to the recipe's steps."""
    where = _inside(folder, place)
    if module_type in ("Pooling", "Dropout"):
        return None
    if module_type not in ("Normalize", "Dense", "LayerNorm"):
        raise KnnscopeError(
            f"{folder / 'modules.json'}: module {module_type} is not supported: Transformer, Pooling, Dense, LayerNorm, Normalize, Dropout"
        )
    config = _optional(where / "config.json", [])
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in (None, "sentence_embedding"):
            raise KnnscopeError(
                f"{where / 'config.json'}: {key} is {config[key]!r}: only sentence_embedding is supported"
            )
    return "normalise" if module_type == "Normalize" else place


def _prompts(general: dict[str, Any], path: Path) -> tuple[str, str, dict[str, str]]:
    """The queries' and the documents' prompt, and all by name.

    As encode_query and encode_document choose them, an empty one counts as chosen; where none has their name, the default one.
    """
    named = general.get("prompts") or {}
    if not isinstance(named, dict) or not all(isinstance(text, str | None) for text in named.values()):
        raise KnnscopeError(f"{path}: prompts: names with their words were expected")
    prompts = {writable(name): writable(text or "") for name, text in named.items()}
    default = general.get("default_prompt_name")
    if default is not None and default not in ("query", "document") and default not in list(prompts):
        raise KnnscopeError(f"{path}: default_prompt_name is {default!r}, but prompts has no such name")
    query, document = (
        next((prompts[name] for name in (*names, default) if name in list(prompts)), "")
        for names in (("query",), ("document", "passage", "corpus"))
    )
    return query, document, prompts


def _metric(declared: object, name: str) -> tuple[str, tuple[str, ...]]:
    """The metric of a similarity function, cosine where none is declared, and a note where it cannot be obeyed."""
    if declared is None:
        return "cosine", ()
    if isinstance(declared, str) and declared in METRICS:
        return METRICS[declared], ()
    return "cosine", (
        f"{name}: similarity_fn_name is {str(declared)[:40]!r}, which no engine here has: cosine is used, --metric chooses another",
    )


def _limit(base: Path, config: dict[str, Any], told_by: list[str]) -> tuple[int, bool]:
    """Tokens of a text, and whether it is lower-cased: the declared limit, else the tokenizer's, within the positions."""
    path = next((path for file in LIMIT_FILES if (path := base / file).is_file()), base / LIMIT_FILES[0])
    own = _optional(path, told_by)
    lower = own.get("do_lower_case")
    if lower is not None and not isinstance(lower, bool):
        raise KnnscopeError(f"{path}: do_lower_case is {lower!r}: true or false was expected")
    arguments = own.get("processor_kwargs", own.get("tokenizer_args"))
    inner = arguments.get("model_max_length") if isinstance(arguments, dict) else None
    limit = _whole(inner, path, "model_max_length") or _whole(own.get("max_seq_length"), path, "max_seq_length")
    if limit is None:
        source: list[str] = []
        path = base / "tokenizer_config.json"
        limit = _whole(_optional(path, source).get("model_max_length"), path, "model_max_length")
        told_by += source if limit else []
    most = positions(config, base / "config.json")
    return min(limit or most or DEFAULT_TOKENS, most or NO_LIMIT), bool(lower)


def _sides(path: Path) -> tuple[str, str]:
    """Where texts of a batch are filled up, and where long ones are cut."""
    config = _optional(path, [])
    sides = [config.get(key) or "right" for key in ("padding_side", "truncation_side")]
    if odd := [side for side in sides if side not in ("left", "right")]:
        raise KnnscopeError(f"{path}: a side is {str(odd[0])[:40]!r}: left or right was expected")
    return sides[0], sides[1]


def _whole(value: object, path: Path, key: str) -> int | None:
    """A whole number from 1 up; None where it is absent, or so large that it means no limit."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 1 or value % 1 not in (0,):
        if isinstance(value, float) and value > NO_LIMIT:  # infinity has no remainder
            return None
        raise KnnscopeError(f"{path}: {key} is {str(value)[:40]!r}: a whole number from 1 up was expected")
    return None if value > NO_LIMIT else int(value)


def _inside(folder: Path, place: str) -> Path:
    """A folder that modules.json names.

    Raises:
        KnnscopeError: it lies outside of the model's.
    """
    parts = PurePosixPath(place)
    path = folder / place
    try:
        outside = parts.is_absolute() or ".." in parts.parts or not path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # a null byte, a loop of links
        outside = True
    if outside:
        raise KnnscopeError(f"{folder / 'modules.json'}: the path {place[:80]!r} leaves the model's folder")
    return path


def _optional(path: Path, told_by: list[str]) -> dict[str, Any]:
    if not path.is_file():
        return {}
    told_by.append(path.name)
    return _object(path)


def _object(path: Path) -> dict[str, Any]:
    value = _parse(path)
    if not isinstance(value, dict):
        raise KnnscopeError(f"{path}: a JSON object was expected")
    return value


def _parse(path: Path) -> Any:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise KnnscopeError(f"{path}: larger than {LARGEST_FILE:,} bytes, no configuration")
        return json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise KnnscopeError(f"{path}: cannot be read as JSON ({str(error)[:120]})") from error
