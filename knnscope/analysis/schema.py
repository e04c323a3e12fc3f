"""Writes the JSON schemas of the records beside this file: python -m knnscope.analysis.schema."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import msgspec

from knnscope.analysis.measurement import Measurement, RungMeasurement
from knnscope.store import write_json

FILES: dict[str, type[msgspec.Struct]] = {"measurement.schema.json": Measurement, "rung.schema.json": RungMeasurement}


def of(record: type[msgspec.Struct]) -> dict[str, Any]:
    """The schema of a record, whatever Python's version: docstrings have lost their indent since 3.13."""
    found: dict[str, Any] = json.loads(json.dumps(msgspec.json.schema(record)), object_hook=_flush)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def _flush(found: dict[str, Any]) -> dict[str, Any]:
    text = found.get("description")
    return {**found, "description": inspect.cleandoc(text)} if isinstance(text, str) else found


def main() -> None:
    """Write all."""
    for name, record in FILES.items():
        write_json(Path(__file__).with_name(name), of(record))


if __name__ == "__main__":
    main()
