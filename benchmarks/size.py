"""Size of the product: JSON lines on stdout.

    python -m benchmarks.size [--checkout FOLDER]

Files, lines and statements of the product, statements without docstrings and imports; then a line for each
package: its files and lines, without those of packages inside it. Exits 1 where a package but training has
over 25 files or 4,000 lines. `--checkout`: count another checkout, say of an earlier commit. A second.
"""

import argparse
import ast
import json
import sys
from collections import defaultdict
from pathlib import Path

from benchmarks._flags import begin
from benchmarks._yardstick import CHECKOUT

FOLDERS = ("tamis", "assets", "resources", "sensors")
MOST_FILES, MOST_LINES = 25, 4_000
LARGER = "tamis/training"


def statements(tree: ast.Module) -> tuple[int, int]:
    """Return how many statements a module has, and how many without docstrings and imports."""
    every = [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    left_out = [node for node in every if isinstance(node, ast.Import | ast.ImportFrom) or is_text(node)]
    return len(every), len(every) - len(left_out)


def is_text(node: ast.stmt) -> bool:
    """Return whether a statement is a text and nothing else: a docstring, also of a constant."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def product(checkout: Path) -> list[Path]:
    """Return the files of the product, each once: links are left out."""
    found = [path for name in FOLDERS for path in (checkout / name).rglob("*.py") if not path.is_symlink()]
    return sorted([*found, checkout / "definitions.py"])


def main() -> int:
    """Count a checkout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--checkout", type=Path, default=CHECKOUT)
    checkout = begin(parser).checkout.resolve()
    packages: dict[str, list[int]] = defaultdict(list)
    every, plain = 0, 0
    for path in product(checkout):
        text = path.read_text()
        packages[path.parent.relative_to(checkout).as_posix()].append(len(text.splitlines()))
        counted = statements(ast.parse(text))
        every, plain = every + counted[0], plain + counted[1]
    files, lines = sum(map(len, packages.values())), sum(map(sum, packages.values()))
    print(
        json.dumps({"files": files, "lines": lines, "statements": every, "without_imports_and_texts": plain})
    )
    failed = False
    for name, sizes in sorted(packages.items()):
        too_large = name != LARGER and (len(sizes) > MOST_FILES or sum(sizes) > MOST_LINES)
        failed |= too_large
        print(json.dumps({"package": name, "files": len(sizes), "lines": sum(sizes), "too_large": too_large}))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
