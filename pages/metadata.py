"""python pages/metadata.py FILE...: what wheels and source archives say of themselves is valid, and is what this checkout says.

It runs in an environment of its own, ./dev wheel makes it, and imports nothing of knnscope.
"""

import re
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

from packaging.metadata import Metadata
from trove_classifiers import classifiers

ROOT = Path(__file__).resolve().parents[1]


def held(file: Path) -> dict[str, bytes]:
    """The files in an archive, by their names."""
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as packed:
            return {name: packed.read(name) for name in packed.namelist()}
    with tarfile.open(file) as packed:
        return {m.name: found.read() for m in packed.getmembers() if (found := packed.extractfile(m))}


def wrong(file: Path) -> Iterator[str]:
    """A line for each thing that is not as it should be."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    files = held(file)
    (text,) = (data for name, data in files.items() if re.search(r"(\.dist-info/METADATA|^[^/]+/PKG-INFO)$", name))
    found = Metadata.from_email(text, validate=True)
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.M)
    if not str(found.version) == project["version"] == (cited and cited[1]):
        yield f"the version is {found.version}, in pyproject.toml {project['version']}, in CITATION.cff {cited and cited[1]}"
    yield from (f"no such classifier: {line}" for line in found.classifiers or () if line not in classifiers)
    if str(found.license_expression) != project["license"]:
        yield f"the license is {found.license_expression}"
    if not any(re.search(r"(^|/)LICENSE$", name) for name in files):
        yield "the license's text is not in it"
    if (found.description or "").strip() != (ROOT / "README.md").read_text("utf-8").strip():
        yield "its description is not README.md"
    if not any(name.endswith("knnscope/py.typed") for name in files):
        yield "knnscope/py.typed is not in it: type checkers would not look at it"
    yield from (f"it holds {name}" for name in files if re.search(r"\.pyc$|(^|/)(tests|runs|benchmarks)/", name))


if __name__ == "__main__":
    lines = [f"{Path(name).name}: {line}" for name in sys.argv[1:] for line in wrong(Path(name))]
    sys.exit("\n".join(lines) if lines or len(sys.argv) < 2 else 0)
