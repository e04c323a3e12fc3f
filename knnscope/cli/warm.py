"""knnscope warm."""

from __future__ import annotations

import argparse
from pathlib import Path

from knnscope.certified import warm
from knnscope.certified.cpu.code_cache import UnusableError
from knnscope.compiling import SPENT
from knnscope.errors import KnnscopeError
from knnscope.progress import bar
from knnscope.search import definition
from knnscope.store import check_file
from knnscope.units import duration


class Warm:
    """Compile certified search for this processor now, so that no later process waits for it: for container images.

    Compiled code is kept in KNNSCOPE_HOME (or NUMBA_CACHE_DIR), by version and processor. Another processor compiles anew.

    knnscope warm
    KNNSCOPE_HOME=/opt/knnscope knnscope warm --dtype float32,float16
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--dtype",
            default="float32",
            metavar="T,T...",
            help=f"types of rows to compile for: {', '.join(definition.DTYPES)} (default float32)",
        )

    def run(self, args: argparse.Namespace) -> int:
        """Compile and say where it is kept."""
        types = list(dict.fromkeys(filter(None, args.dtype.split(","))))
        for name in types:
            if name not in definition.DTYPES:
                raise KnnscopeError(f"--dtype {name}: one of {', '.join(definition.DTYPES)} was expected")
        if not types:
            raise KnnscopeError(f"--dtype is empty: {', '.join(definition.DTYPES)}")
        try:
            where = warm.kept()
        except UnusableError as error:
            raise KnnscopeError(f"compiled code cannot be kept: {error}") from error
        refused = KnnscopeError(
            f"{where}: compiled code cannot be written there: set KNNSCOPE_HOME to a folder of your own"
        )
        if not warm.is_kept():  # known before it compiles for seconds
            try:
                check_file(Path(where) / "code")
            except KnnscopeError as error:
                raise refused from error
        with bar(None, "compile", "step") as progress:
            for name in types:
                for what, _ in warm.steps(warm.usual(name)):
                    progress.set_description(f"compile for {name}, {what}", refresh=False)
                    progress.update()
        if not warm.is_kept():
            raise refused
        print(f"compiled, or read compiled, in {duration(SPENT.wall_ns)}: {where}")
        return 0
