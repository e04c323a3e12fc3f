"""Writes the JSON schemas of the records beside this file: python -m knnscope.analysis.schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from knnscope.analysis.measurement import Measurement, RungMeasurement
from knnscope.store import write_json

FILES: dict[str, type[msgspec.Struct]] = {"measurement.schema.json": Measurement, "rung.schema.json": RungMeasurement}


def of(record: type[msgspec.Struct]) -> dict[str, Any]:
    """The schema of a record."""
    found: dict[str, Any] = json.loads(json.dumps(msgspec.json.schema(record)))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def main() -> None:
    """Write all."""
    for name, record in FILES.items():
        write_json(Path(__file__).with_name(name), of(record))


if __name__ == "__main__":
    main()
