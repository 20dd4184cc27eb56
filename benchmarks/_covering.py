"""A plugin of pytest: coverage notes each line under the test that ran it, and how long each test takes.

Under coverage with the patches of pyproject.toml, the fixtures that a test sets up and its forked commands
count as its own; other processes are under no test. usage: coverage run -m pytest -p benchmarks._covering;
TAMIS_SECONDS names the file for node ids and seconds, a line each.
"""

import functools
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import coverage
import pytest


class CoveredServer:
    """A server of forked commands which notes what they run under the test that runs now."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.test = ""

    def Process(self, target: Any, args: tuple[Any, ...]) -> Any:  # noqa: N802 as multiprocessing has it
        """Return the process, in the context of the test."""
        return self.server.Process(target=in_context, args=(self.test, target, args))


def in_context(test: str, target: Any, args: tuple[Any, ...]) -> None:
    """Run in the forked process, whose coverage began with the fork."""
    note_under(test)
    target(*args)


def note_under(test: str) -> None:
    """Note the lines that follow under this test, where coverage measures this process."""
    if current := coverage.Coverage.current():
        current.switch_context(test)


@functools.cache
def covered_server() -> CoveredServer:
    """Return the server, once: it takes the place of that of tests/forked.py."""
    forked = sys.modules["forked"]
    forked.SERVER = CoveredServer(forked.SERVER)  # type: ignore[attr-defined]
    return forked.SERVER


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Give each test, with its fixtures, a context of its own."""
    note_under(item.nodeid)
    if "forked" in sys.modules:
        covered_server().test = item.nodeid
    began = time.monotonic()
    try:
        return (yield)
    finally:
        if place := os.environ.get("TAMIS_SECONDS"):
            with open(place, "a", encoding="utf-8") as file:
                file.write(f"{time.monotonic() - began:.3f} {item.nodeid}\n")
        note_under("")
