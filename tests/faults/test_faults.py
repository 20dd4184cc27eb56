"""The list of faults: each applies to the code of now, and the tests that catch it exist and are fast."""

import ast
from pathlib import Path

import pytest
from catalogue import CHECKOUT, Change, FaultError, read_faults

FAULTS = read_faults()
GUARANTEES = range(1, 12)


def is_slow(node: ast.expr) -> bool:
    """Whether an expression marks as slow what it decorates, or holds such a mark."""
    return "pytest.mark.slow" in ast.unparse(node)


def marks_of_module(tree: ast.Module) -> list[ast.expr]:
    """What `pytestmark` of a module says."""
    assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
    return [one.value for one in assigned if ast.unparse(one.targets[0]) == "pytestmark"]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_each_fault_applies_to_the_code_of_now(fault):
    assert fault.changes
    for change in fault.changes:
        text = change.changed((CHECKOUT / change.file).read_text(encoding="utf-8"))
        compile(text, change.file, "exec")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_tests_that_catch_it_exist_and_are_in_the_fast_suite(fault):
    assert fault.tests
    for test in fault.tests if fault.tried else ():
        file, *names = test.split("::")
        if (CHECKOUT / file).is_dir():
            assert list((CHECKOUT / file).glob("test_*.py")), f"{file} holds no tests"
            continue
        tree = ast.parse((CHECKOUT / file).read_text(encoding="utf-8"))
        marks = marks_of_module(tree)
        assert not any(is_slow(mark) for mark in marks), f"{file} is slow"
        smoke = "pytest.mark.smoke" in [ast.unparse(mark) for mark in marks]
        assert smoke or "end_to_end" not in Path(file).parts, f"{file} is slow: not all of it is smoke"
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        for name in names[:1]:
            found = functions.get(name.partition("[")[0])
            assert found is not None, f"{file} has no test {name}"
            assert not any(is_slow(mark) for mark in found.decorator_list), f"{test} is slow"


def test_every_guarantee_has_a_fault():
    assert {fault.guarantee for fault in FAULTS} == set(GUARANTEES)
    assert len([fault for fault in FAULTS if not fault.needs]) >= 12


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (Change(file="tamis/base/errors.py", old="no such code", new=""), "occurs 0 times"),
        (Change(file="tamis/base/errors.py", old="e", new=""), "not once"),
        (Change(file="tests/conftest.py", old="CORES", new=""), "is not product code"),
    ],
)
def test_a_fault_whose_code_was_rewritten_is_refused(change, problem):
    with pytest.raises(FaultError, match=problem):
        change.changed((CHECKOUT / change.file).read_text(encoding="utf-8"))


def test_a_list_with_a_name_twice_or_a_change_without_effect_is_refused(tmp_path: Path):
    entry = '[[fault]]\nname = "{}"\nguarantee = 1\nmistake = "m"\ntests = ["t"]\n'
    change = '[[fault.change]]\nfile = "tamis/base/errors.py"\nold = "a"\nnew = "{}"\n'
    for text, problem in (
        (2 * (entry.format("one") + change.format("b")), "repeated names one"),
        (entry.format("one") + change.format("a"), "without effect in one"),
    ):
        (tmp_path / "list.toml").write_text(text)
        with pytest.raises(FaultError, match=problem):
            read_faults(tmp_path / "list.toml")
