"""Write what follows from code and results: python -m pages [--check].

--check writes nothing and exits with 1 where a file is not what it should be.
"""

from __future__ import annotations

import argparse
import sys

from pages import written


def main() -> None:
    """Parse, write or check, name what changed."""
    parser = argparse.ArgumentParser(prog="python -m pages", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit with 1 where a file is stale")
    check = parser.parse_args().check
    found = written.stale() if check else written.write()
    print("\n".join(f"{'stale' if check else 'written'}: {name}" for name in found) or "all is as it should be")
    sys.exit(bool(check and found))


if __name__ == "__main__":
    main()
