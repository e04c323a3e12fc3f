"""The notebook says what its source says, is small, and runs as its cells say."""

from __future__ import annotations

import ast
import json
import re

from notebooks import __main__ as program
from notebooks import running, source


def test_the_notebook_agrees_with_its_source() -> None:
    """``python -m notebooks build`` makes it."""
    kept = json.loads(source.TARGET.read_text("utf-8"))
    assert source.sources(kept) == source.sources(source.notebook())
    assert kept["nbformat"] == 4


def test_it_is_small() -> None:
    assert source.TARGET.stat().st_size < 5_000_000


def test_no_cell_of_it_ended_in_an_error() -> None:
    kept = json.loads(source.TARGET.read_text("utf-8"))
    assert [o["evalue"] for c in kept["cells"] for o in c.get("outputs", []) if o["output_type"] == "error"] == []


def test_every_cell_of_code_is_python() -> None:
    for kind, text in source.sources(source.notebook()):
        if kind == "code":
            ast.parse(text)


def test_cells_are_told_apart() -> None:
    made = source.cells("# of the file\n\n# %% [markdown]\n# # Title\n#\n# text\n\n# %%\na = 1\n\na\n")
    assert source.sources({"cells": made}) == [("markdown", "# Title\n\ntext"), ("code", "a = 1\n\na")]
    assert len({cell["id"] for cell in made}) == len(made)


def test_running_keeps_what_is_printed_and_what_a_cell_ends_in() -> None:
    made = {"cells": source.cells("# %%\na = 2\nprint(a)\na + 1\n# %%\nprint(a)\n")}
    assert running.run(made) is None
    first, second = made["cells"]
    assert [o["output_type"] for o in first["outputs"]] == ["stream", "execute_result"]
    assert first["outputs"][0]["text"] == ["2\n"]
    assert first["outputs"][1]["data"]["text/plain"] == ["3"]
    assert [o["output_type"] for o in second["outputs"]] == ["stream"]


def test_outputs_stay_where_only_words_changed() -> None:
    before = source.notebook()
    before["cells"] = source.cells("# %% [markdown]\n# old\n# %%\nprint(1)\n")
    assert running.run(before) is None
    words = {**before, "cells": source.cells("# %% [markdown]\n# new\n# %% [markdown]\n# more\n# %%\nprint(1)\n")}
    kept = program.with_outputs(words, before)
    assert source.sources(kept) == source.sources(words)
    assert kept["cells"][2]["outputs"][0]["text"] == ["1\n"]
    code = {**before, "cells": source.cells("# %% [markdown]\n# old\n# %%\nprint(2)\n")}
    assert program.with_outputs(code, before)["cells"][1]["outputs"] == []


def test_running_ends_at_an_error_and_says_where() -> None:
    made = {"cells": source.cells("# %%\na = 2\n# %%\nprint('x')\n1 / 0\n# %%\na\n")}
    assert running.run(made) == "cell 2: ZeroDivisionError: division by zero"
    assert [o["output_type"] for o in made["cells"][1]["outputs"]] == ["stream", "error"]
    assert made["cells"][2]["outputs"] == []


def test_it_names_no_folder_of_a_machine() -> None:
    assert not re.search(r"/(work|root|home|tmp)/", source.TARGET.read_text("utf-8"))
