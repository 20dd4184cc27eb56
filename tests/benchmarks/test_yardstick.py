"""The yardstick: every benchmark begins with it, and limits are scaled by it within bounds."""

import ast
import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks import _yardstick, yardstick
from benchmarks._yardstick import (
    LEAST_FACTOR,
    MOST_FACTOR,
    REFERENCE,
    YardstickError,
    least_rate,
    machine_of_cpuinfo,
    most_seconds,
    named,
    parsed,
)

CHECKOUT = Path(__file__).resolve().parents[2]
PUBLIC = sorted((CHECKOUT / "benchmarks").glob("[a-z]*.py"))
CPUINFO = """processor\t: 0
cpu family\t: 26
model\t\t: 2
model name\t: AMD EPYC
flags\t\t: fpu avx2 avx512f avx512_bf16 sha_ni

processor\t: 1
model name\t: another
"""


@pytest.fixture
def machine(monkeypatch):
    """Let this machine be the reference with some of its figures changed."""

    def be(**changed: float) -> None:
        figures = asdict(replace(named(REFERENCE), **changed))
        monkeypatch.setattr(_yardstick, "_measured", lambda: figures)

    be()
    return be


def calls(path: Path) -> list[str]:
    """Names of all that a module calls."""
    nodes = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return [node.id if isinstance(node, ast.Name) else getattr(node, "attr", "") for node in nodes]


@pytest.mark.parametrize("path", PUBLIC, ids=lambda path: path.stem)
def test_every_benchmark_prints_the_yardstick(path):
    called = calls(path)
    assert called.count("begin") == 1, "a benchmark parses its flags by benchmarks._flags.begin, once"
    assert not {"parse_args", "parse_known_args"}.intersection(called)


def test_a_run_prints_it_first_with_commit_and_machine():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.yardstick"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    first, *compared = map(json.loads, done.stdout.splitlines())
    assert parsed(first).tokens_per_second > 1_000
    assert min(first["machine"]["cores"], first["machine"]["threads"]) >= 1
    assert {"commit", "modified", "load", "torch"} <= first.keys()
    (reference,) = [found for found in compared if found["reference"] == REFERENCE]
    slower = parsed(first).delay("core") / named(REFERENCE).delay("core")
    assert reference["slower"]["core"] == pytest.approx(slower, rel=1e-3, abs=1e-3)


def test_a_worker_of_a_benchmark_prints_none(monkeypatch, capsys):
    import argparse

    from benchmarks._flags import begin

    monkeypatch.setattr("benchmarks._flags.print_yardstick", lambda: print("yardstick"))
    parser = argparse.ArgumentParser()
    parser.add_argument("--worker")
    for flags, expected in (([], "yardstick\n"), (["--worker", "one"], "")):
        monkeypatch.setattr(sys, "argv", ["name", *flags])
        begin(parser)
        assert capsys.readouterr().out == expected


def test_wrong_flags_end_before_anything_is_measured(monkeypatch, capsys):
    monkeypatch.setattr("benchmarks._flags.print_yardstick", lambda: pytest.fail("measured"))
    monkeypatch.setattr(sys, "argv", ["yardstick", "--recrod", "name"])
    with pytest.raises(SystemExit):
        yardstick.main()


def test_a_limit_on_the_reference_is_the_stated_one(machine):
    assert most_seconds(420.0, "float32").here == pytest.approx(420.0)
    assert least_rate(20_000.0, "core").here == pytest.approx(20_000.0)


@pytest.mark.parametrize(
    ("kind", "slower"),
    [
        ("float32", {"float32_gflops": 0.5}),
        ("bfloat16", {"bfloat16_gflops": 0.5}),
        ("core", {"tokens_per_second": 0.5}),
        ("disk", {"fsync_ms": 2.0}),
        ("process", {"python_ms": 2.0, "numpy_ms": 2.0}),
    ],
)
def test_each_kind_follows_its_component_alone(machine, kind, slower):
    reference = asdict(named(REFERENCE))
    machine(**{name: factor * reference[name] for name, factor in slower.items()})
    for other in ("float32", "bfloat16", "core", "disk", "process"):
        factor = 2.0 if other == kind else 1.0
        assert most_seconds(10.0, other).here == pytest.approx(10.0 * factor)
        assert least_rate(10.0, other).here == pytest.approx(10.0 / factor)


def test_a_start_counts_what_is_imported_too(machine):
    reference = named(REFERENCE)
    machine(numpy_ms=2 * reference.numpy_ms)
    expected = 1 + reference.numpy_ms / (reference.python_ms + reference.numpy_ms)
    assert most_seconds(1.0, "process").here == pytest.approx(expected)


@pytest.mark.parametrize(("factor", "used"), [(100.0, MOST_FACTOR), (0.01, LEAST_FACTOR), (2.5, 2.5)])
def test_a_limit_is_scaled_within_bounds_and_says_so(machine, factor, used):
    machine(fsync_ms=factor * named(REFERENCE).fsync_ms)
    found = most_seconds(10.0, "disk").figures()
    assert found.pop("clamped", False) == (factor != used)
    assert found == {
        "limit_seconds": pytest.approx(10.0 * used),
        "stated_limit_seconds": 10.0,
        "yardstick": f"{REFERENCE}: disk",
        "slower": pytest.approx(factor),
    }


@pytest.mark.parametrize("value", [None, "fast", True, 0, -1.0, float("nan"), float("inf")])
def test_a_yardstick_without_a_speed_is_refused(value):
    figures = asdict(named(REFERENCE)) | {"fsync_ms": value}
    with pytest.raises(YardstickError, match="fsync_ms"):
        parsed(figures)


def test_an_unknown_reference_is_refused_with_the_known_ones():
    with pytest.raises(YardstickError, match=f"no yardstick 'abacus'.*{REFERENCE}"):
        most_seconds(1.0, "core", reference="abacus")


def test_a_yardstick_that_cannot_be_taken_says_why(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    _yardstick._measured.cache_clear()
    with pytest.raises(YardstickError, match="cannot be taken"):
        _yardstick.here()


def test_the_processor_is_that_of_the_first_core():
    assert machine_of_cpuinfo(CPUINFO) == {
        "processor": "AMD EPYC",
        "family": "26/2",
        "flags": ["avx2", "avx512f", "avx512_bf16", "sha_ni"],
    }
    assert machine_of_cpuinfo("")["flags"] == []


def test_a_reference_is_recorded_on_a_quiet_machine_only(tmp_path):
    table = tmp_path / "yardsticks.json"
    figures = asdict(named(REFERENCE))
    about = {"commit": "c", "machine": {"cores": 2}, "python": "3", "torch": "2", "benchmark": "yardstick"}
    with pytest.raises(SystemExit, match=r"the load is 1\.5"):
        yardstick.record("one", {**about, **figures, "load": 1.5}, table)
    for name, load in (("one", 0.0), ("two", 0.9)):
        yardstick.record(name, {**about, **figures, "load": load}, table)
    recorded = json.loads(table.read_text())
    assert [recorded[name]["load"] for name in ("one", "two")] == [0.0, 0.9]
    assert asdict(parsed(recorded["two"]["figures"])) == figures
