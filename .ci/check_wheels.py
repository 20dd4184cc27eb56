"""Check that what users install, in its newest versions and with every extra but `dev`, has wheels.

    python .ci/check_wheels.py [uv]

Asks uv to resolve pyproject.toml without source distributions, for each Python and platform; prints a line
for each and exits with 1 where one fails. What has no wheel is built by pip, which needs a compiler: `BUILT`
names the packages that are known to be; an entry that is no longer needed fails, too.
"""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
LINUX_X86, LINUX_ARM, MACOS = "x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin"
# Dagster admits watchdog below 7, of which no release has a wheel for this one.
BUILT = {("3.14", MACOS): ("watchdog",)}


def resolved(uv: str, python: str, platform: str, built: tuple[str, ...] = ()) -> str:
    """Return why uv cannot resolve it, "" where it can; packages of `built` may be source distributions."""
    extras = set(tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]) - {"dev"}
    command = [uv, "pip", "compile", "--quiet", "--only-binary", ":all:", "--python-version", python]
    command += ["--python-platform", platform, *(f"--extra={extra}" for extra in sorted(extras))]
    command += [f"--no-binary={package}" for package in built]
    done = subprocess.run(
        [*command, PYPROJECT],
        env=os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0"},
        capture_output=True,
        text=True,
    )
    return done.stderr.strip() if done.returncode else ""


def main(uv: str) -> int:
    failed = 0
    for python in PYTHONS:
        for platform in (LINUX_X86, LINUX_ARM, MACOS):
            why, built = resolved(uv, python, platform), BUILT.get((python, platform), ())
            said = "wheels alone"
            if built and not why:
                why = f"{', '.join(built)} has wheels now: remove the entry from BUILT in .ci/check_wheels.py"
            elif built:
                why, said = resolved(uv, python, platform, built), f"wheels, and {', '.join(built)} to build"
            failed += bool(why)
            print(f"Python {python}, {platform}: {why or said}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:] or ["uv"]))
