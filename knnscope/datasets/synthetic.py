"""Seeded vectors of any size, made block by block: row i is the same whatever the number of rows.

Distributions, and why they are here:
text: clustered, power-law spectrum, non-zero mean, norms about 10, as text encoders without normalisation give.
isotropic: no structure, the hardest case for any bound; norms about 10.
near-duplicate: copies of few rows, moved by 0 to 1e-3 of their norm: distances far below the norms.
large-norm: ``text`` moved by 1,000: the expanded form |x|^2 - 2 x.q + |q|^2 cancels in float32.
ties: small whole numbers, so that many distances are equal to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from knnscope.errors import KnnscopeError, unknown_name
from knnscope.progress import bar
from knnscope.records import VectorDataset, Vectors
from knnscope.store import not_ours, whole_file

BLOCK = 4096
MAX_DIM = 1 << 13
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Synthetic:
    """A data set by its recipe; ``queries`` are further draws, never rows of the documents."""

    distribution: str
    rows: int = 75_000
    dim: int = 384
    seed: int = 0
    queries: int = 1_000

    @property
    def name(self) -> str:
        """The specification that makes the same data."""
        return f"synthetic:{self.distribution},rows={self.rows},dim={self.dim},seed={self.seed},queries={self.queries}"

    @property
    def file_name(self) -> str:
        """The file that its rows are written to where none is named."""
        return f"{self.distribution}-{self.rows}x{self.dim}-{self.seed}.npy"


def parse(spec: str) -> Synthetic:
    """Read ``synthetic:DISTRIBUTION[,rows=N][,dim=N][,seed=N][,queries=N]``.

    Raises:
        KnnscopeError: an unknown distribution or setting, or a value out of range.
    """
    distribution, *settings = spec.removeprefix("synthetic:").split(",")
    if distribution not in DISTRIBUTIONS:
        raise unknown_name("synthetic distribution", distribution, DISTRIBUTIONS)
    chosen: dict[str, int] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in ("rows", "dim", "seed", "queries"):
            raise unknown_name("setting", key, ("rows", "dim", "seed", "queries"), f"(in {spec})")
        digits = value.replace("_", "")
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 12:
            raise KnnscopeError(f"{spec}: {key} must be a whole number from 0 up, in digits, found {value!r}")
        chosen[key] = int(digits)
    made = Synthetic(distribution, **chosen)
    if made.rows < 1 or not 1 <= made.dim <= MAX_DIM:
        raise KnnscopeError(f"{spec}: at least one row, and 1 to {MAX_DIM:,} dimensions")
    return made


def blocks(recipe: Synthetic, rows: int, stream: int = 0) -> Iterator[Floats]:
    """Blocks of float32 rows, shape (at most 4,096, dim); ``stream`` 0 are documents, 1 queries."""
    shape = np.random.default_rng([recipe.seed, 1])
    draw = DISTRIBUTIONS[recipe.distribution](recipe.dim, shape)
    for number, start in enumerate(range(0, rows, BLOCK)):
        random = np.random.default_rng([recipe.seed, 2 + stream, number])
        yield draw(random, BLOCK)[: rows - start]


def materialise(recipe: Synthetic) -> VectorDataset:
    """All rows in memory.

    Raises:
        KnnscopeError: more than the memory holds.
    """
    try:
        documents = np.empty((recipe.rows, recipe.dim), np.float32)
        queries = np.empty((recipe.queries, recipe.dim), np.float32)
        with bar(recipe.rows + recipe.queries, f"make {recipe.distribution}", "row") as progress:
            for values, stream in ((documents, 0), (queries, 1)):
                for number, block in enumerate(blocks(recipe, len(values), stream)):
                    values[number * BLOCK : number * BLOCK + len(block)] = block
                    progress.update(len(block))
    except MemoryError as error:
        raise KnnscopeError(
            f"{recipe.name}: does not fit into memory: write it with knnscope data get, and search the file"
        ) from error
    return VectorDataset(recipe.name, Vectors(documents), Vectors(queries) if recipe.queries else None)


def write(recipe: Synthetic, path: Path) -> list[tuple[Path, int]]:
    """The rows as a .npy file, and the queries, if any, as NAME-queries.npy beside it; memory for a block is all that it takes.

    Returns:
        The files, and how many rows each has.

    Raises:
        KnnscopeError: the name ends in something else than .npy, queries are there without rows, or the file cannot be written.
    """
    if path.suffix != ".npy":
        raise KnnscopeError(f"{path}: file name must end in .npy")
    targets = [(path, recipe.rows, 0)]
    if recipe.queries:
        beside = path.with_name(f"{path.stem}-queries.npy")
        if beside.exists() and not path.exists():  # rows are written first
            raise not_ours(beside)
        targets.append((beside, recipe.queries, 1))
    for target, rows, stream in targets:
        with whole_file(target, follow=True) as file, bar(rows, target.name, "row", scale=True) as progress:
            header = {"descr": "<f4", "fortran_order": False, "shape": (rows, recipe.dim)}
            np.lib.format.write_array_header_2_0(file, header)
            for block in blocks(recipe, rows, stream):
                file.write(np.ascontiguousarray(block, dtype="<f4").data)
                progress.update(len(block))
    return [(target, rows) for target, rows, _ in targets]


Draw = Callable[[np.random.Generator, int], Floats]


def _coloured(dim: int, exponent: float, random: np.random.Generator) -> Floats:
    """A matrix A with A A^T of power-law eigenvalues (trace 1) in a random orientation."""
    spectrum = (np.arange(dim) + 3.0) ** -exponent
    rotation, _ = np.linalg.qr(random.standard_normal((dim, dim)))
    return np.asarray(rotation * np.sqrt(spectrum / spectrum.sum()), dtype=np.float32)


def _text(dim: int, random: np.random.Generator, clusters: int = 1000) -> Draw:
    between, within = _coloured(dim, 0.9, random), _coloured(dim, 0.6, random)
    centres = random.standard_normal((clusters, dim), dtype=np.float32) @ between.T
    mean = random.standard_normal(dim).astype(np.float32)
    mean *= np.float32(0.6) / np.linalg.norm(mean)
    loud = random.choice(dim, min(4, dim), replace=False)  # a few components stick out, as in real encoders
    mean[loud] += np.float32(0.5) * random.choice(np.array([-1, 1], np.float32), len(loud))
    weights = (np.arange(clusters) + 10.0) ** -0.7
    weights /= weights.sum()

    def draw(block: np.random.Generator, count: int) -> Floats:
        spread = np.exp(0.25 * block.standard_normal((count, 1))).astype(np.float32)
        noise = block.standard_normal((count, dim), dtype=np.float32) @ within.T
        rows = (
            mean
            + np.float32(0.6) * centres[block.choice(clusters, count, p=weights)]
            + np.float32(0.55) * spread * noise
        )
        norms = np.float32(10) * (1 + 0.06 * block.standard_normal((count, 1), dtype=np.float32))
        return np.asarray(rows * (norms / np.linalg.norm(rows, axis=1, keepdims=True)), dtype=np.float32)

    return draw


def _isotropic(dim: int, _: np.random.Generator) -> Draw:
    scale = np.float32(10 / np.sqrt(dim))
    return lambda block, count: block.standard_normal((count, dim), dtype=np.float32) * scale


def _near_duplicate(dim: int, random: np.random.Generator) -> Draw:
    originals = _text(dim, random)(random, 1500)

    def draw(block: np.random.Generator, count: int) -> Floats:
        size = 10.0 ** block.uniform(-6, -2, (count, 1)) / np.sqrt(dim)
        size[block.random(count) < 0.2] = 0
        moved = size.astype(np.float32) * block.standard_normal((count, dim), dtype=np.float32)
        return np.asarray(originals[block.integers(0, len(originals), count)] + moved)

    return draw


def _large_norm(dim: int, random: np.random.Generator) -> Draw:
    inner = _text(dim, random)
    offset = random.standard_normal(dim).astype(np.float32)
    offset *= np.float32(1000) / np.linalg.norm(offset)
    return lambda block, count: inner(block, count) + offset


def _ties(dim: int, _: np.random.Generator) -> Draw:
    return lambda block, count: block.integers(-1, 2, (count, dim)).astype(np.float32)


DISTRIBUTIONS: dict[str, Callable[[int, np.random.Generator], Draw]] = {
    "text": _text,
    "isotropic": _isotropic,
    "near-duplicate": _near_duplicate,
    "large-norm": _large_norm,
    "ties": _ties,
}
