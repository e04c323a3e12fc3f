"""Vectors of a second real encoder, for benchmarks: WordNet's definitions by wordllama's static embeddings, 256 components.

    pip install --no-deps wordllama     # 19 MB, into an environment of its own; or unpack its wheel and name the folder
    python -m benchmarks.static_vectors runs/static75 [--wordnet wn] [--wordllama FOLDER] [--rows 75000]

A text is the mean of its tokens' vectors; its own tokens, none that mark begin and end, as wordllama does it. Weights and tokenizer lie in the wheel; of the
package itself nothing is run. Queries are usage examples, as in the WordNet task.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from knnscope.datasets import wordnet
from knnscope.datasets.beir import Selection

BLOCK = 4096


def encoded(texts: list[str], tokenizer: Any, table: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Means of tokens' vectors, (texts, dim)."""
    found = []
    for first in range(0, len(texts), BLOCK):
        found += [
            table[one.ids].mean(axis=0) if one.ids else np.zeros(table.shape[1], dtype=np.float32)
            for one in tokenizer.encode_batch(texts[first : first + BLOCK], add_special_tokens=False)
        ]
    return np.array(found, dtype=np.float32)


def folder_of(named: Path | None) -> Path:
    """Where wordllama lies."""
    if named is None:
        spec = importlib.util.find_spec("wordllama")
        if spec is None or not spec.submodule_search_locations:
            raise SystemExit("wordllama is not installed: pip install --no-deps wordllama, or --wordllama FOLDER")
        named = Path(next(iter(spec.submodule_search_locations)))
    return named


def main() -> None:
    """Encode and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("to", type=Path)
    parser.add_argument("--wordnet", help="folder of WordNet's data files")
    parser.add_argument("--wordllama", type=Path, help="folder of the unpacked package")
    parser.add_argument("--rows", type=int, default=75_000)
    args = parser.parse_args()
    folder = folder_of(args.wordllama)
    tokenizer = Tokenizer.from_file(str(next((folder / "tokenizers").glob("l2_supercat*.json"))))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    (table,) = load_file(next((folder / "weights").glob("l2_supercat_256.safetensors"))).values()
    task = wordnet.load(wordnet.find_folder(args.wordnet), Selection())
    rows = encoded(list(task.documents.texts[: args.rows]), tokenizer, table.astype(np.float32))
    queries = encoded(list(task.queries.texts[:1000]), tokenizer, table.astype(np.float32))
    (args.to / "queries").mkdir(parents=True)
    np.save(args.to / "vectors.npy", rows)
    np.save(args.to / "queries" / "vectors.npy", queries)
    print(f"{args.to}: {rows.shape[0]:,} rows, {queries.shape[0]:,} queries, {rows.shape[1]} components")


if __name__ == "__main__":
    main()
