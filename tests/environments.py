"""Virtual environments for tests: with this environment's libraries, or without some of them; made in a second, since nothing is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

LIBRARIES = Path(np.__file__).resolve().parents[1]
LEFT = ("knnscope", "__", "_distutils")
"""How names begin that are not taken over: this package, and what links to a checkout of it."""


def bare(folder: Path) -> Path:
    """A virtual environment without any library."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder


def furnished(empty: Path, folder: Path, *without: str) -> Path:
    """A copy of one that is empty, with the libraries of this environment, all but these and knnscope."""
    shutil.copytree(empty, folder, symlinks=True)
    for path in LIBRARIES.iterdir():
        name = path.name.partition("-")[0].partition(".")[0].removesuffix("_cpu")
        if name not in without and not path.name.startswith(LEFT) and path.suffix != ".pth":
            (packages(folder) / path.name).symlink_to(path)
    return folder


def packages(folder: Path) -> Path:
    """Where its libraries lie."""
    (site,) = folder.glob("lib/python*/site-packages")
    return site
