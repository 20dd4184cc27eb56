"""Modules of a package without the code of the package itself."""

import sys

import pytest

from tamis.base.partial_packages import without_code_of

NAME = "made_up_package"


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / NAME
    folder.mkdir()
    (folder / "__init__.py").write_text("from made_up_package.part import VALUE\nWHOLE = True\n")
    (folder / "part.py").write_text("from .other import NUMBER\nVALUE = [NUMBER]\n")
    (folder / "other.py").write_text("NUMBER = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
        del sys.modules[name]


@pytest.mark.usefixtures("package")
def test_modules_come_without_the_package_and_stay_when_it_is_imported():
    with without_code_of(NAME):
        import made_up_package.part as part
    assert part.VALUE == [3]
    assert NAME not in sys.modules
    import made_up_package

    assert made_up_package.WHOLE
    assert made_up_package.VALUE is part.VALUE
    with without_code_of(NAME):
        assert sys.modules[NAME] is made_up_package


@pytest.mark.usefixtures("package")
def test_an_error_inside_leaves_no_half_of_the_package():
    with pytest.raises(ImportError), without_code_of(NAME):
        import made_up_package.absent  # noqa: F401
    assert NAME not in sys.modules


def test_a_package_that_is_not_installed_is_left_to_its_import():
    with (
        pytest.raises(ModuleNotFoundError, match="not_installed_here"),
        without_code_of("not_installed_here"),
    ):
        import not_installed_here  # noqa: F401
