"""Makes the notebook from its source, runs it, or both.

python -m notebooks build                  examples/from_seconds_to_microseconds.ipynb; outputs stay where no code changed
python -m notebooks run OUT [--jupyter]    run all cells and write OUT; with --jupyter by a kernel of Jupyter's
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from knnscope.progress import bar
from notebooks import running, source


def main(argv: list[str]) -> int:
    """Exit code 1 if a cell fails."""
    if argv[:1] == ["build"] and len(argv) == 1:
        made = source.notebook()
        if source.TARGET.exists():
            made = with_outputs(made, json.loads(source.TARGET.read_text("utf-8")))
        source.TARGET.write_text(_text(made), "utf-8")
        return 0
    if argv[:1] == ["run"] and len(argv) in (2, 3) and argv[2:] in ([], ["--jupyter"]):
        made = source.notebook()
        failed = _by_jupyter(made) if argv[2:] else running.run(made)
        Path(argv[1]).parent.mkdir(parents=True, exist_ok=True)
        Path(argv[1]).write_text(_text(made), "utf-8")
        print(failed or f"{argv[1]}: every cell ran")
        return 1 if failed else 0
    print(__doc__, file=sys.stderr)
    return 2


def with_outputs(made: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """What came of the cells before, where no code changed: texts may have."""
    now, then = ([cell for cell in book["cells"] if cell["cell_type"] == "code"] for book in (made, before))
    if [cell["source"] for cell in now] != [cell["source"] for cell in then]:
        return made
    came = {cell["id"]: {**old, "id": cell["id"]} for cell, old in zip(now, then, strict=True)}
    return {**before, "cells": [came.get(cell["id"], cell) for cell in made["cells"]]}


def _by_jupyter(made: dict[str, Any]) -> str | None:
    """Run it by nbclient; only this needs it."""
    import nbclient
    import nbformat

    book = nbformat.reads(_text(made), as_version=4)
    codes = sum(cell["cell_type"] == "code" for cell in made["cells"])
    try:
        with bar(codes, "run the notebook", "cell") as progress:
            nbclient.NotebookClient(
                book,
                timeout=600,
                resources={"metadata": {"path": str(source.SOURCE.parent)}},
                extra_arguments=["--IPKernelApp.log_level=ERROR"],  # it warns of its own ports, which it chose
                on_cell_executed=lambda **_: progress.update(),
            ).execute()
    except nbclient.exceptions.CellExecutionError as error:
        return str(error)
    except nbclient.exceptions.CellTimeoutError as error:
        return str(error).splitlines()[0]
    finally:
        made.update(json.loads(nbformat.writes(book)))
    return None


def _text(made: dict[str, Any]) -> str:
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
