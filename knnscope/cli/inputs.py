"""Arguments that name data: a data set, an encoder, rows and queries, a metric."""

from __future__ import annotations

import argparse

from knnscope.api.workload import EncoderOptions
from knnscope.cli.options import number, positive
from knnscope.datasets.beir import Selection
from knnscope.datasets.registry import DatasetOptions
from knnscope.encoders.models import DEFAULT, MODELS
from knnscope.encoders.recipes import RECIPES
from knnscope.search.definition import METRICS


def add_dataset(parser: argparse.ArgumentParser, optional: bool = False) -> None:
    """The data set and which part of it."""
    parser.add_argument(
        "dataset",
        metavar="DATASET",
        nargs="?" if optional else None,
        help="a name (knnscope data list), a BEIR folder or a zip of one, a table of texts (.jsonl .csv .parquet), or a file of vectors "
        "(.npy .fbin .hdf5 .parquet ...; FILE#NAME names a column or array)",
    )
    parser.add_argument("--limit", type=positive, metavar="N", help="only the first N documents")
    parser.add_argument(
        "--subset",
        choices=("all", "relevant"),
        default="all",
        help="all documents (default), or only the relevant: those that judgements name",
    )
    parser.add_argument(
        "--split", metavar="NAME", help="judgements to use: test, dev, train (default: the first there is)"
    )
    parser.add_argument(
        "--wordnet", metavar="DIR", help="of wordnet: the folder with its data.noun, data.verb, data.adj, data.adv"
    )
    parser.add_argument(
        "--lemmas", action="store_true", help="of wordnet: put the words themselves before their definition"
    )


def dataset_options(args: argparse.Namespace) -> DatasetOptions:
    """The record of what ``add_dataset`` read."""
    return DatasetOptions(Selection(args.subset, args.limit, args.split), args.wordnet, args.lemmas)


def add_encoder(parser: argparse.ArgumentParser, devices: str | None = "cpu or cuda", usual: str | None = None) -> None:
    """The encoder, its recipe and, unless the command means another one by it, its device."""
    usual = usual or f"(default: the one that made the vectors, else {DEFAULT})"
    parser.add_argument("--encoder", metavar="NAME|DIR", help=f"{', '.join(MODELS)}, or a folder {usual}")
    parser.add_argument(
        "--weights", metavar="FILE", help="which of a folder's files, such as onnx/model_quantized.onnx"
    )
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help=f"how texts become vectors: own (as the model's files say), {', '.join(RECIPES)} (default: own)",
    )
    for part, plural, example in (("query", "queries", "query"), ("document", "documents", "passage")):
        parser.add_argument(
            f"--{part}-prompt",
            metavar="PROMPT",
            help=f"put before {plural}: a name of the model's prompts, words such as '{example}: ', or none (default: the model's)",
        )
    if devices:
        parser.add_argument(
            "--device", default="cpu", metavar="DEVICE", help=f"where the encoder runs: {devices} (default: cpu)"
        )


def encoder_options(args: argparse.Namespace, device: str | None = None) -> EncoderOptions:
    """The record of what ``add_encoder`` read; ``device`` where the command's own option means another."""
    return EncoderOptions(
        args.encoder, device or args.device, args.recipe, args.weights, args.query_prompt, args.document_prompt
    )


def add_base(parser: argparse.ArgumentParser) -> None:
    """Rows, queries, metric, ids, and with what they are searched: what ``truth`` and ``verify`` have in common."""
    parser.add_argument(
        "base",
        metavar="BASE",
        help="a file of vectors, larger than memory where it is .npy or of the bin and vecs families; or any data set of vectors",
    )
    parser.add_argument("--queries", metavar="FILE", help="a file of vectors (default: the base's own)")
    add_metric(parser)
    parser.add_argument(
        "--ids",
        metavar="FILE",
        help="what rows are called: an .npy of whole numbers, or a text with one a line (default: 0, 1 ...)",
    )
    parser.add_argument(
        "--memory",
        type=positive,
        metavar="MIB",
        help="what may be used: rows are taken in blocks (default: half of what is free)",
    )
    parser.add_argument("--threads", metavar="N", help="threads that search (default: all cores)")


def threads_number(text: str | None) -> int | None:
    """What ``--threads`` of ``add_base`` gives.

    Raises:
        KnnscopeError: it is no number.
    """
    return None if text is None else number(text, "--threads")


def add_metric(parser: argparse.ArgumentParser) -> None:
    """The metric."""
    parser.add_argument(
        "--metric", choices=METRICS, help="how near two vectors are (default: what the model or the file says, else l2)"
    )
