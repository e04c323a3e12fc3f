"""What another environment says of itself: ``other`` gives this text to its interpreter, together with what is asked, as JSON. The answer is a line of JSON.

It runs before it is known whether any knnscope is there, so it imports nothing of this package but what the question allows.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from dataclasses import asdict
from typing import Any


def _libraries(needed: list[str]) -> dict[str, Any]:
    """Which of the libraries that knnscope needs are not installed, and the digest of this environment's own knnscope, if it has one."""
    found: dict[str, Any] = {"lacks": [name for name in needed if importlib.util.find_spec(name) is None], "own": None}
    if not found["lacks"] and importlib.util.find_spec("knnscope") is not None:
        from knnscope import environment

        found["own"] = environment.source_digest()
    return found


def _engines(names: list[str], shape: dict[str, Any]) -> dict[str, Any]:
    """What is installed, and of each engine how it is listed, why it cannot be used, and by which formula it computes."""
    from knnscope import environment
    from knnscope.bench import child
    from knnscope.search import catalog

    engines: dict[str, Any] = {}
    for name in names:
        if name not in catalog.ENGINES:
            engines[name] = {"problem": "its knnscope has no engine of this name"}
            continue
        engines[name] = {"entry": asdict(catalog.ENGINES[name]), "problem": catalog.problem(name)}
        if engines[name]["problem"] is None:
            engine = catalog.load(name)
            formulas = [
                engine.formula(shape["metric"], shape["dtype"], batch, shape["dim"]) for batch in shape["batches"]
            ]
            engines[name]["formulas"] = list(map(asdict, formulas))
    return {
        "protocol": getattr(child, "PROTOCOL", 1),
        "environment": environment.collect(catalog.libraries()),
        "engines": engines,
    }


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no part of the answer
    answer.write(json.dumps(_engines(**asked["engines"]) if "engines" in asked else _libraries(**asked["libraries"])))
    answer.close()
