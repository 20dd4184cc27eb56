"""Plug-ins as their files declare them, read as syntax trees: nothing of a plug-in is run.

A plug-in's digest covers its file and the modules next to it that it imports. That of an installed plug-in
covers the files that its distribution's RECORD lists.
"""

import ast
import csv
import hashlib
import importlib.metadata
import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from tamis.plugins.declaration import Declaration, Kind, PluginError, declare
from tamis.plugins.imports import Module, imported_modules, module_of, names_in

PACKAGE = "tamis.plugins"
ENTRY_POINTS: Mapping[Kind, str] = {"score": "tamis.scores", "sampler": "tamis.samplers"}
"""Group of the entry points of installed plug-ins, by kind."""
PLUGINS = "plugins"
"""Key of a stage's settings with the plug-ins that its step runs, as `Plugin.to_json` gives them."""
LITERALS = "write it as a literal: Tamis reads plug-ins without running them"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The file of a plug-in, called `shown` in messages.

    `digest`: of all that the plug-in is made of. `modules`: those that the file imports from its folder or
    the project's, by name. `module`: of an installed plug-in its import name, "" for a file of the project.
    `distribution`: name and version of the package that brings it.
    """

    file: Path
    shown: str
    digest: str
    modules: Mapping[str, Module] = field(default_factory=dict)
    module: str = ""
    distribution: str = ""


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A declared function: its name in the file, the line of its decorator, and where the file is."""

    declaration: Declaration
    function: str
    line: int
    origin: Origin

    @property
    def name(self) -> str:
        """The name under which tamis.toml knows it."""
        return self.declaration.name

    @property
    def title(self) -> str:
        """The plug-in as messages call it: `plug-in length (scores.py)`."""
        return f"plug-in {self.name} ({self.origin.shown})"

    @property
    def code_version(self) -> tuple[str, str]:
        """The declared version, and the digest of the code."""
        return self.declaration.version, self.origin.digest

    def to_json(self) -> dict[str, str]:
        """Return what manifests say of the plug-in: its code version, where its code is, and its meaning."""
        declaration, origin = self.declaration, self.origin
        return {
            "kind": declaration.kind,
            "name": self.name,
            "version": declaration.version,
            "digest": origin.digest,
            "file": origin.shown,
            "meaning": declaration.meaning,
            "citation": declaration.citation,
        }

    @property
    def fingerprint(self) -> str:
        """Identifier of the code that an answer is of, 32 hex digits."""
        parts = "\0".join((self.declaration.kind, self.name, *self.code_version))
        return hashlib.sha256(parts.encode()).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class Plugins:
    """The plug-ins of a project: those of its files, and the installed ones that its settings name."""

    known: tuple[Plugin, ...] = ()

    def get(self, kind: Kind, name: str) -> Plugin | None:
        """Return the plug-in of this kind and name, None without one."""
        return next((one for one in self.known if (one.declaration.kind, one.name) == (kind, name)), None)

    def names(self, kind: Kind) -> list[str]:
        """Return the names of the plug-ins of a kind, sorted."""
        return sorted(one.name for one in self.known if one.declaration.kind == kind)


class PluginSearch:
    """Plug-ins by name, those of files first; keeps the installed ones that were asked for."""

    def __init__(self, of_files: Plugins) -> None:
        self.plugins = of_files

    def find(self, kind: Kind, name: str) -> Plugin | None:
        """Return the plug-in of this kind and name, None without one; raises as `installed_plugin`."""
        plugin = self.plugins.get(kind, name)
        if plugin is None and (plugin := installed_plugin(kind, name)) is not None:
            self.plugins = Plugins(known=(*self.plugins.known, plugin))
        return plugin


def plugins_of_files(root: Path, files: Iterable[str]) -> Plugins:
    """Return the plug-ins of files, whose paths are relative to the folder of the project.

    Raises `PluginError` where a file cannot be read or declares none, an argument is no literal or not valid,
    or two plug-ins of one kind have the same name.
    """
    known: dict[tuple[Kind, str], Plugin] = {}
    for name in dict.fromkeys(files):
        path = root / name
        origin = Origin(file=path, shown=name, digest="")
        tree = _tree(origin)
        modules = imported_modules(names_in(tree), (path.parent, root))
        origin = Origin(file=path, shown=name, digest=_digest_of_files(path, modules), modules=modules)
        own = [*_declared(tree, origin)]
        if not own:
            raise PluginError(
                f"{name}: no function has the decorator @score or @sampler of {PACKAGE}; put one above a "
                "function of the module, or take the file out of plugins in [project]"
            )
        for plugin in own:
            other = known.setdefault((plugin.declaration.kind, plugin.name), plugin)
            if other is not plugin:
                raise PluginError(
                    f"{name}, line {plugin.line}: {other.origin.shown}, line {other.line}, declares a "
                    f"{plugin.declaration.kind} with the name {plugin.name!r}, too; rename one of them"
                )
    return Plugins(known=tuple(known.values()))


def installed_plugin(kind: Kind, name: str) -> Plugin | None:
    """Return the plug-in of this name that an installed package brings, None without one.

    Raises `PluginError` where two packages bring it, or its declaration cannot be read.
    """
    points = importlib.metadata.entry_points(group=ENTRY_POINTS[kind], name=name)
    if not points:
        return None
    owners = sorted({one.dist.name for one in points if one.dist is not None})
    if len(owners) > 1:
        raise PluginError(
            f"the packages {' and '.join(owners)} both bring a {kind} with the name {name!r}; uninstall one"
        )
    point = next(iter(points))
    assert point.dist is not None
    shown = f"{point.dist.name} {point.dist.version}"
    path, listed = _installed_file(point.dist, point.module)
    if path is None:
        raise PluginError(f"{kind} {name} of {shown}: the file of its module {point.module} is not there")
    origin = Origin(file=path, shown=f"{shown}, {path.name}", digest="")
    tree = _tree(origin)
    record = point.dist.read_text("RECORD") or ""
    package = point.module.rpartition(".")[0]
    modules = {} if listed else imported_modules(names_in(tree, package), _roots(path, point.module))
    digest = _digest_of_record(record) if listed else _digest_of_files(path, modules)
    origin = Origin(file=path, shown=origin.shown, digest=digest, module=point.module, distribution=shown)
    for plugin in _declared(tree, origin):
        if plugin.function == point.attr and plugin.declaration.kind == kind:
            if plugin.name != name:
                raise PluginError(
                    f"{origin.shown}, line {plugin.line}: the entry point calls the {kind} {name!r}, its "
                    f"decorator {plugin.name!r}; give both the same name"
                )
            return plugin
    raise PluginError(
        f"{kind} {name} of {shown}: {point.module} has no function {point.attr!r} with the decorator @{kind} "
        f"of {PACKAGE}"
    )


def installed_names(kind: Kind) -> list[str]:
    """Return the names of the installed plug-ins of a kind, sorted."""
    return sorted(importlib.metadata.entry_points(group=ENTRY_POINTS[kind]).names)


def digest_of(content: bytes, modules: Mapping[str, bytes]) -> str:
    """Return the digest of a file's bytes and of those of the modules that it imports, by name, 64 hex."""
    parts = [content, *(part for name in sorted(modules) for part in (name.encode(), modules[name]))]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def _digest_of_files(file: Path, modules: Mapping[str, Module]) -> str:
    contents = {name: content_of(one.path) if one.path else b"" for name, one in modules.items()}
    return digest_of(content_of(file), contents)


def content_of(file: Path) -> bytes:
    """Return the bytes of a file, none where it cannot be read."""
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _tree(origin: Origin) -> ast.Module:
    try:
        return ast.parse(origin.file.read_bytes(), filename=origin.shown)
    except OSError as error:
        raise PluginError(f"{origin.shown} cannot be read: {error.strerror or error}") from error
    except SyntaxError as error:
        raise PluginError(f"{origin.shown}, line {error.lineno or 1}: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise PluginError(f"{origin.shown} is no Python: {error or type(error).__name__}") from error


def _declared(tree: ast.Module, origin: Origin) -> Iterator[Plugin]:
    """Yield the plug-ins of a module; raises `PluginError` with file and line."""
    names = _names_of_decorators(tree)
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        for decorator in node.decorator_list:
            call = decorator if isinstance(decorator, ast.Call) else None
            kind = names.get(_dotted(call.func if call else decorator))
            if kind is None:
                continue
            place = f"{origin.shown}, line {decorator.lineno}"
            if not isinstance(node, ast.FunctionDef):
                raise PluginError(f"{place}: @{kind} belongs above a function (def), not above {node.name}")
            if call is None:
                raise PluginError(f'{place}: @{kind} needs arguments, such as name="length", version="1"')
            try:
                declaration = declare(kind, dict(_arguments(call, kind)))
            except PluginError as error:
                raise PluginError(f"{place}: @{kind}: {error}") from error
            yield Plugin(declaration=declaration, function=node.name, line=decorator.lineno, origin=origin)


def _arguments(call: ast.Call, kind: Kind) -> Iterator[tuple[str, Any]]:
    if call.args:
        raise PluginError("its arguments are given by name")
    for keyword in call.keywords:
        if keyword.arg is None:
            raise PluginError(f"** cannot be read; {LITERALS}")
        try:
            yield keyword.arg, ast.literal_eval(keyword.value)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
            written = ast.unparse(keyword.value)
            raise PluginError(f"{keyword.arg} = {written[:80]} cannot be read; {LITERALS}") from error


def _names_of_decorators(tree: ast.Module) -> dict[str, Kind]:
    """Return the kind of plug-in by the dotted names under which a module has the decorators."""
    heads: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level:
            heads |= {(one.asname or one.name): f"{node.module}.{one.name}" for one in node.names}
        elif isinstance(node, ast.Import):
            heads |= {one.asname or one.name: one.name for one in node.names}
    return {
        (head if full == f"{PACKAGE}.{kind}" else f"{head}.{kind}"): kind
        for head, full in heads.items()
        for kind in get_args(Kind)
        if full in (f"{PACKAGE}.{kind}", PACKAGE)
    }


def _dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            return f"{_dotted(value)}.{name}"
    return ""


def _installed_file(dist: importlib.metadata.Distribution, module: str) -> tuple[Path | None, bool]:
    """Return the file of a module without importing it, and whether the distribution's RECORD lists it.

    An editable installation lists none: the file is where its finder says that the package is.
    """
    place = module.replace(".", "/")
    names = {f"{place}.py", f"{place}/__init__.py"}
    for file in dist.files or ():
        if PurePosixPath(file).as_posix() in names:
            path = Path(str(dist.locate_file(file)))
            return (path if path.is_file() else None), True
    head, *rest = module.split(".")
    spec = importlib.util.find_spec(head)
    folders = [Path(one) for one in (spec.submodule_search_locations or [])] if spec else []
    if not rest:
        return (Path(spec.origin) if spec and spec.origin else None), False
    known = next((one for folder in folders if (one := module_of(".".join(rest), [folder]))), None)
    return (known.path if known else None), False


def _roots(file: Path, module: str) -> tuple[Path, ...]:
    """Return the folder in which the top package of a module is."""
    depth = module.count(".") + (file.name == "__init__.py")
    return (file.parents[depth],)


def _digest_of_record(record: str) -> str:
    """Return the digest of the files that a RECORD lists with their digests, but for its own records.

    An installation writes where it came from into those, and when.
    """
    rows = csv.reader(record.splitlines())
    kept = sorted([row[0], row[1]] for row in rows if len(row) > 1 and row[1] and ".dist-info/" not in row[0])
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest()
