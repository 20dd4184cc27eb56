"""Find constants that change a result and no digest of a method: mutants of module-level constants.

    python -m benchmarks.digest_mutants [--count 100] [--seed 1] [--golden wide-0.1 ...] [--group 10]

Draws constants of the package, but of the modules that no digest follows, and changes each. Where no digest
of `tests/graph/test_graph_code_versions.py` changes, no value of a golden may: such constants are changed
together, a group at a time, in a copy of the checkout, and the goldens are built there. A group that changes
a value, or whose project cannot be built, is halved until a single constant is left: without a project there
is no value, so such a constant is only counted. What commands answer is no result. Exit code 1 where a
constant changes a value and no digest.
"""

import argparse
import ast
import json
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks._flags import at_least, begin
from benchmarks._mutant_tests import CHECKOUT, ENCODER, copy_checkout

GOLDENS = ("demo-0.1", "mixed-0.1", "wide-0.1")
DIGESTS = """
import json, sys
sys.path[:0] = [".", "tests/graph"]
from test_graph_code_versions import METHODS, digest_of
print(json.dumps({method: digest_of(method) for method in METHODS}))
"""
CHECK = f"""
import sys, tempfile
from pathlib import Path
sys.path[:0] = ["tests/golden"]
import golden_projects
cache = next((one for one in Path({str(ENCODER)!r}).glob("encoder-*") if one.is_dir()), None)
with tempfile.TemporaryDirectory() as scratch:
    print(golden_projects.check(sys.argv[1], Path(scratch) / "project", cache))
"""
NOT_BUILT = "not built"
NO_RESULTS = ("  answers.", "  what to do")
"""Lines of a report of differences: of the words of commands, and the advice at its end."""


@dataclass(frozen=True, kw_only=True)
class Constant:
    """A value in the assignment of a module: where it stands, and what it is changed to."""

    file: str
    name: str
    line: int
    begin: int
    end: int
    was: str
    now: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.name}: {self.was} -> {self.now}"


def constants(checkout: Path, without: frozenset[str]) -> list[Constant]:
    """Every number, text and truth value within the assignments of the package's modules."""
    found = []
    for path in sorted((checkout / "tamis").rglob("*.py")):
        module = ".".join(path.relative_to(checkout).with_suffix("").parts).removesuffix(".__init__")
        for statement in () if module in without else ast.parse(path.read_text()).body:
            if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
                continue
            target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
            for node in ast.walk(statement.value):
                if not isinstance(node, ast.Constant) or ast.unparse(target) == "__all__":
                    continue
                now = mutated(node.value)
                if now is not None and node.lineno == node.end_lineno:
                    found.append(
                        Constant(
                            file=path.relative_to(checkout).as_posix(),
                            name=ast.unparse(target),
                            line=node.lineno,
                            begin=node.col_offset,
                            end=node.end_col_offset or 0,
                            was=ast.unparse(node),
                            now=now,
                        )
                    )
    return found


def mutated(value: object) -> str | None:
    """Another value than that of a constant; None for one that is not changed."""
    if isinstance(value, bool):
        return repr(not value)
    if isinstance(value, int):
        return repr(value + 1)
    if isinstance(value, float):
        return repr(value * 1.25 + 0.01)
    return repr(f"{value}x") if isinstance(value, str) else None


def make(copy: Path, chosen: list[Constant], originals: dict[str, str]) -> None:
    """Write the package of the copy with these constants changed, and no others."""
    for file, text in originals.items():
        lines = text.encode().split(b"\n")
        # The last of a line first, so that places before it stay.
        for one in sorted(
            (one for one in chosen if one.file == file), key=lambda one: (one.line, -one.begin)
        ):
            line = lines[one.line - 1]
            lines[one.line - 1] = line[: one.begin] + one.now.encode() + line[one.end :]
        (copy / file).write_bytes(b"\n".join(lines))


def digests(copy: Path) -> dict[str, str]:
    """The digest of every method."""
    printed = subprocess.check_output([sys.executable, "-c", DIGESTS], cwd=copy, text=True)
    return dict(json.loads(printed))


def differing(copy: Path, goldens: list[str]) -> str:
    """The first value of the goldens that differs in the copy, or why it cannot be built; "" for none."""
    for golden in goldens:
        command = [sys.executable, "-c", CHECK, golden]
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
        if done.returncode:
            return f"{golden}: {NOT_BUILT}: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
        named = [line for line in done.stdout.splitlines() if line.startswith("  ") and line[2] != " "]
        values = [line for line in named if not line.startswith(NO_RESULTS)]
        if values:
            return f"{golden}: {values[0].strip()}"
    return ""


def guilty(
    copy: Path, chosen: list[Constant], originals: dict[str, str], goldens: list[str]
) -> list[tuple[Constant, str]]:
    """Those of the constants that change a value, with the value."""
    make(copy, chosen, originals)
    said = differing(copy, goldens)
    print(f"{len(chosen)} at once: {said or 'nothing differs'}", file=sys.stderr, flush=True)
    if not said or len(chosen) == 1:
        return [(one, said) for one in chosen if said]
    half = len(chosen) // 2
    return [
        found for part in (chosen[:half], chosen[half:]) for found in guilty(copy, part, originals, goldens)
    ]


def main() -> int:
    """Draw constants, and print what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=at_least(1), default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--group", type=at_least(1), default=10, help="constants that are changed together")
    parser.add_argument("--golden", nargs="+", choices=GOLDENS, default=list(GOLDENS))
    flags = begin(parser)
    sys.path.insert(0, str(CHECKOUT / "tests" / "graph"))
    from test_graph_code_versions import WITHOUT_RESULTS

    drawn = constants(CHECKOUT, frozenset(WITHOUT_RESULTS))
    chosen = random.Random(flags.seed).sample(drawn, min(flags.count, len(drawn)))
    with tempfile.TemporaryDirectory(prefix="tamis-digests-") as scratch:
        copy = Path(scratch) / "checkout"
        copy_checkout(CHECKOUT, copy)
        originals = {one.file: (CHECKOUT / one.file).read_text() for one in chosen}
        before, silent = digests(copy), []
        for one in chosen:
            make(copy, [one], originals)
            if digests(copy) == before:
                silent.append(one)
        print(f"{len(silent)} of {len(chosen)} change no digest", file=sys.stderr, flush=True)
        found: list[tuple[Constant, str]] = []
        for start in range(0, len(silent), flags.group):
            found += guilty(copy, silent[start : start + flags.group], originals, flags.golden)
    stopped = [(one, value) for one, value in found if NOT_BUILT in value]
    wrong = [(one, value) for one, value in found if NOT_BUILT not in value]
    said = {
        "constants": len(drawn),
        "drawn": len(chosen),
        "change_a_digest": len(chosen) - len(silent),
        "change_neither": len(silent) - len(found),
        "stop_the_project": {str(one): value for one, value in stopped},
        "change_a_value_alone": {str(one): value for one, value in wrong},
        "goldens": flags.golden,
    }
    print(json.dumps(said, indent=1))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
