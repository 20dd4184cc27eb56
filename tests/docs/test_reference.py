"""The reference of the API: built from docstrings without a warning, with every public name on it."""

import importlib
import runpy
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
REFERENCE = runpy.run_path(str(CHECKOUT / "docs" / "reference.py"))
PROMISED = ("transport", "coverage", "quality", "selection", "scaling")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    REFERENCE["build"](folder)
    return folder


@pytest.mark.parametrize("package", REFERENCE["PACKAGES"])
def test_every_public_name_is_on_the_page_of_its_package(site, package):
    page = (site / f"{package.replace('.', '/')}.html").read_text()
    module = importlib.import_module(package)
    names = getattr(module, "__all__", [name for name in vars(module) if name.endswith("Error")])
    assert len(names) > 1
    assert [name for name in names if f'id="{name}"' not in page] == []
    assert module.__doc__


def test_the_packages_of_the_public_interface_are_among_them(site):
    index = (site / "index.html").read_text()
    assert {f"tamis.{name}" for name in PROMISED} <= set(REFERENCE["PACKAGES"])
    assert all(f"tamis/{name}.html" in index for name in PROMISED)
    pages = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    wanted = {f"{package.replace('.', '/')}.html" for package in REFERENCE["PACKAGES"]}
    assert pages - wanted <= {"index.html", "tamis.html"}


def test_public_functions_and_classes_say_what_they_are():
    silent = []
    for package in REFERENCE["PACKAGES"]:
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", []):
            value = getattr(module, name)
            if callable(value) and not (value.__doc__ or "").strip():
                silent.append(f"{package}.{name}")
    assert silent == []


def test_an_annotation_that_cannot_be_read_fails_the_build(tmp_path, monkeypatch):
    package = tmp_path / "made_up"
    package.mkdir()
    (package / "__init__.py").write_text('"""Made up."""\n\n\ndef act(on: "Nowhere[int]"):\n    """Act."""\n')
    monkeypatch.syspath_prepend(tmp_path)
    try:
        with pytest.raises(UserWarning, match="Nowhere"):
            REFERENCE["build"](tmp_path / "site", "made_up")
    finally:
        sys.modules.pop("made_up", None)
