"""Print which tests of JUnit reports were skipped, and fail when one is not on the list of allowed skips.

A suite that skips its way to green proves nothing: each skip needs a line in allowed-skips.txt.
usage: python .ci/check_skips.py REPORT.xml ...
"""

import os
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

ALLOWED = Path(__file__).with_name("allowed-skips.txt")


def skipped_tests(report: Path) -> Iterator[str]:
    """`test id: reason` of each test that was skipped or expected to fail."""
    for case in ET.parse(report).iter("testcase"):
        for skip in case.iter("skipped"):
            yield f"{case.get('classname')}::{case.get('name')}: {skip.get('message')}"


def allowed_patterns() -> list[re.Pattern[str]]:
    """Patterns of the list; a line `PATTERN if-absent FOLDER` counts while the folder does not exist."""
    patterns = []
    for line in ALLOWED.read_text(encoding="utf-8").splitlines():
        pattern, _, folder = line.partition(" if-absent ")
        if pattern.strip() and not line.startswith("#") and not _exists(folder.strip()):
            patterns.append(re.compile(pattern.strip()))
    return patterns


def _exists(folder: str) -> bool:
    return bool(folder) and Path(os.path.expandvars(folder)).exists()


def main() -> int:
    """Exit code: 1 when a skip is not allowed."""
    skips = [skip for report in sys.argv[1:] for skip in skipped_tests(Path(report))]
    allowed = allowed_patterns()
    wrong = [skip for skip in skips if not any(pattern.search(skip) for pattern in allowed)]
    for skip in skips:
        print("skipped, not allowed:" if skip in wrong else "skipped, allowed:", skip)
    print(f"{len(skips)} skipped, {len(wrong)} of them not allowed by {ALLOWED.name}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
