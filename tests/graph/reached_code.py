"""The definitions that a function reaches by names, and a digest of them.

Names are followed through constants, decorators, annotations and tables of functions; a class counts whole,
a module whole where it is used as a value, a data file by its bytes. The digest is over the syntax trees of
these definitions in the order of their texts. It stays where code is moved, or only worded differently: left
out are names of modules, imports, docstrings, annotations, texts that are raised or said, and the names of
local variables.
"""

import ast
import copy
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGE = "tamis"
Definition = tuple[str, str]
"""A module, and a name that it defines; "" for the module as a whole."""
SCOPES = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.Lambda,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)
SAID = "say"
CHOICE = "import of "
"""Before the name whose import a definition chooses."""


@dataclass(frozen=True, kw_only=True)
class Module:
    """A module's statements by the name that they define, and what its names import, inside functions too.

    imported: every meaning of a name, where functions or branches import it from different places; the last
        one first.
    choosing: statements that choose, by a condition or an error, what a name is imported from.
    """

    path: Path
    defined: dict[str, list[ast.stmt]]
    imported: dict[str, list[tuple[str, str]]]
    choosing: dict[str, list[ast.stmt]]


class Code:
    """The modules of a checkout, and the meaning of their names."""

    def __init__(self, files: dict[str, Path]) -> None:
        self.files = files
        self._modules: dict[str, Module] = {}

    def module(self, name: str) -> Module:
        """Return the module of that name, parsed once."""
        if name not in self._modules:
            self._modules[name] = parsed(self.files[name])
        return self._modules[name]

    def find(self, module: str, name: str) -> Definition | None:
        """Find the definition, or the whole module, that a name means; None outside the checkout."""
        return next(iter(self.meanings(module, name)), None)

    def meanings(self, module: str, name: str) -> list[Definition]:
        """Return all that a name may mean in the checkout, the likeliest first."""
        here = self.module(module)
        found = [(module, name)] if name in here.defined else []
        for origin, inner in here.imported.get(name, ()):
            whole = f"{origin}.{inner}" if inner else origin
            if whole in self.files:
                found.append((whole, ""))
            elif origin in self.files and inner:
                found += self.meanings(origin, inner)
        return list(dict.fromkeys(found))

    def outside(self, module: str, name: str) -> str | None:
        """Return the whole name of what a name imports from other packages."""
        found = self.module(module).imported.get(name, ())
        return " or ".join(".".join(part for part in one if part) for one in found) or None


@cache
def product() -> Code:
    """Return the code of this checkout."""
    return Code(dict(_files(CHECKOUT / PACKAGE)))


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(path for path in folder.rglob("*.py") if not path.is_symlink()):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def parsed(path: Path) -> Module:
    """Read a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    defined: dict[str, list[ast.stmt]] = {}
    for statement in tree.body:
        for name in _names_defined(statement):
            defined.setdefault(name, []).append(statement)
    for statement in tree.body:
        for name in _names_called(statement) & defined.keys() - _names_defined(statement):
            defined[name].append(statement)
    imported: dict[str, list[tuple[str, str]]] = {}
    for name, meaning in _imports(tree):
        if meaning not in imported.setdefault(name, []):
            imported[name].insert(0, meaning)
    choosing: dict[str, list[ast.stmt]] = {}
    for statement in tree.body:
        if isinstance(statement, ast.If | ast.Try) and not _is_for_types(statement):
            for name in {name for name, _meaning in _imports(statement)}:
                if len(imported[name]) > 1 or name in defined:
                    choosing.setdefault(name, []).append(statement)
    return Module(path=path, defined=defined, imported=imported, choosing=choosing)


def _is_for_types(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.dump(statement.test)


def _imports(tree: ast.AST) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the names that are imported anywhere below, each with its module and its name there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                whole = alias.name if alias.asname else alias.name.partition(".")[0]
                yield alias.asname or whole, (whole, "")
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((alias.asname or alias.name, (node.module, alias.name)) for alias in node.names)


def _names_defined(statement: ast.stmt) -> set[str]:
    """Return the names that a statement of a module gives a value, or whose value it changes."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return set()
    parts = [node for node in ast.walk(statement) if isinstance(node, ast.Subscript | ast.Attribute)]
    changed = {
        node.value.id
        for node in parts
        if isinstance(node.value, ast.Name) and not isinstance(node.ctx, ast.Load)
    }
    return changed | _bound(ast.Module(body=[statement], type_ignores=[])).bound


def _names_called(statement: ast.stmt) -> set[str]:
    """Return the names whose values a statement may change by a call, as `RULES.update(...)` does."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return set()
    calls = [one.value for one in ast.walk(statement) if isinstance(one, ast.Expr)]
    called = [one.func for one in calls if isinstance(one, ast.Call)]
    return {
        one.value.id for one in called if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name)
    }


@dataclass
class _Scope:
    """Names of a function, a comprehension or the body of a class, and the numbers of those renamed."""

    bound: set[str]
    kept: set[str]
    of_class: bool = False
    numbers: dict[str, int] = field(default_factory=dict)


def _bound(node: ast.AST) -> _Scope:
    kept: set[str] = set()
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        every = node.args
        given = [*every.posonlyargs, *every.args, *every.kwonlyargs, every.vararg, every.kwarg]
        kept = {one.arg for one in given if one is not None}
    bound, outer = set(kept), set()
    inner = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        inner = list(node.body)
    while inner:
        one = inner.pop()
        if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load):
            bound.add(one.id)
        elif isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(one.name)
            continue
        elif isinstance(one, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and one.name:
            bound.add(one.name)
        elif isinstance(one, ast.Global | ast.Nonlocal):
            outer |= set(one.names)
        elif isinstance(one, SCOPES):
            # A comprehension's own targets are its own; what `:=` names in it belongs here.
            bound |= {
                inside.target.id
                for inside in ast.walk(one)
                if isinstance(inside, ast.NamedExpr) and isinstance(inside.target, ast.Name)
            }
            continue
        inner += ast.iter_child_nodes(one)
    return _Scope(bound=bound - outer, kept=kept)


class _Reading(ast.NodeTransformer):
    """Rewrites a definition to what counts of it, and notes what it refers to."""

    def __init__(self, code: Code, module: str) -> None:
        self.code, self.module = code, module
        self.references: set[Definition] = set()
        self.files: set[Path] = set()
        self._scopes: list[_Scope] = []
        self._silent = 0
        self._locals = 0

    def visit(self, node: ast.AST) -> Any:
        """Rewrite a node by the rule for its type, or its parts."""
        rule = RULES.get(type(node))
        return rule(self, node) if rule else self.generic_visit(node)

    # Names

    def _scope_of(self, name: str) -> _Scope | None:
        for depth, scope in enumerate(reversed(self._scopes)):
            if name in scope.bound and not (scope.of_class and depth):
                return scope
        return None

    def _local(self, scope: _Scope, name: str) -> str:
        if name in scope.kept or scope.of_class:
            return name
        if name not in scope.numbers:
            self._locals += 1
            scope.numbers[name] = self._locals
        return f"#{scope.numbers[name]}"

    def _renamed(self, name: str) -> str:
        scope = self._scope_of(name)
        return name if scope is None else self._local(scope, name)

    def _name(self, node: ast.Name) -> ast.AST:
        scope = self._scope_of(node.id)
        if scope is not None:
            return ast.Name(id=self._local(scope, node.id), ctx=node.ctx)
        found = self._chosen(node.id)
        if not found:
            return ast.Name(id=self.code.outside(self.module, node.id) or node.id, ctx=node.ctx)
        names = dict.fromkeys(one[1] or one[0].rpartition(".")[2] for one in found)
        return ast.Name(id=f"@{' or '.join(names)}", ctx=node.ctx)

    def _chosen(self, name: str) -> list[Definition]:
        """Return all that a name of the module may mean, followed, and so is what chooses among them."""
        found = self.code.meanings(self.module, name)
        self.references.update(found)
        if name in self.code.module(self.module).choosing:
            self.references.add((self.module, f"{CHOICE}{name}"))
        return found

    def _attribute(self, node: ast.Attribute) -> ast.AST:
        found = self._meant(node)
        if found is None:
            return self.generic_visit(node)
        self.references.add(found)
        return ast.Name(id=f"@{node.attr}", ctx=node.ctx)

    def _meant(self, node: ast.expr) -> Definition | None:
        """Find the definition that a name, or a name of a module, means in the checkout."""
        if isinstance(node, ast.Name):
            return None if self._scope_of(node.id) else self.code.find(self.module, node.id)
        within = self._meant(node.value) if isinstance(node, ast.Attribute) else None
        if within is None or within[1] or not isinstance(node, ast.Attribute):
            return None
        inner = f"{within[0]}.{node.attr}"
        return (inner, "") if inner in self.code.files else self.code.find(within[0], node.attr)

    def _named(self, node: ast.ExceptHandler | ast.MatchAs | ast.MatchStar) -> ast.AST:
        node.name = self._renamed(node.name) if node.name else None
        return self.generic_visit(node)

    def _dropped(self, node: ast.stmt) -> ast.AST:
        return ast.Pass()

    # Scopes

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        node.name = self._renamed(node.name) if self._scopes else f"@{node.name}"
        node.decorator_list = [self.visit(one) for one in node.decorator_list]
        node.args.defaults = [self.visit(one) for one in node.args.defaults]
        node.args.kw_defaults = [one and self.visit(one) for one in node.args.kw_defaults]
        every = node.args
        for one in (*every.posonlyargs, *every.args, *every.kwonlyargs, every.vararg, every.kwarg):
            if one is not None:
                self._annotation(one.annotation)
                one.annotation = None
        self._annotation(node.returns)
        node.returns = None
        self._scopes.append(_bound(node))
        node.body = self._body(node.body)
        self._scopes.pop()
        return node

    def _lambda(self, node: ast.Lambda) -> ast.AST:
        node.args.defaults = [self.visit(one) for one in node.args.defaults]
        node.args.kw_defaults = [one and self.visit(one) for one in node.args.kw_defaults]
        self._scopes.append(_bound(node))
        node.body = self.visit(node.body)
        self._scopes.pop()
        return node

    def _comprehension(self, node: Any) -> ast.AST:
        first, *others = node.generators
        first.iter = self.visit(first.iter)
        self._scopes.append(_bound(node))
        first.target = self.visit(first.target)
        first.ifs = [self.visit(one) for one in first.ifs]
        node.generators = [first, *(self.visit(one) for one in others)]
        if isinstance(node, ast.DictComp):
            node.key, node.value = self.visit(node.key), self.visit(node.value)
        else:
            node.elt = self.visit(node.elt)
        self._scopes.pop()
        return node

    def _class(self, node: ast.ClassDef) -> ast.AST:
        node.name = self._renamed(node.name) if self._scopes else f"@{node.name}"
        node.decorator_list = [self.visit(one) for one in node.decorator_list]
        node.bases = [self.visit(one) for one in node.bases]
        node.keywords = [self.visit(one) for one in node.keywords]
        error = node.name.endswith(("Error", "Warning"))
        self._silent += error
        self._scopes.append(_Scope(bound=_bound(node).bound, kept=set(), of_class=True))
        node.body = self._body(node.body)
        self._scopes.pop()
        self._silent -= error
        return node

    def _body(self, body: list[ast.stmt]) -> list[ast.stmt]:
        plain = [
            one for one in body if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
        ]
        return [self.visit(one) for one in plain] or [ast.Pass()]

    # What counts of it

    def _annotation(self, node: ast.expr | None) -> None:
        """Follow the names of an annotation, those in quotes too."""
        for one in ast.walk(node) if node is not None else ():
            if isinstance(one, ast.Constant) and isinstance(one.value, str):
                try:
                    self.visit(ast.parse(one.value, mode="eval").body)
                except SyntaxError:
                    continue
        if node is not None:
            self.visit(node)

    def _annotated(self, node: ast.AnnAssign) -> ast.AST:
        self._annotation(node.annotation)
        node.annotation = ast.Constant(value=None)
        node.target = self.visit(node.target)
        node.value = self.visit(node.value) if node.value else None
        return node

    def _raise(self, node: ast.Raise) -> ast.AST:
        self._silent += 1
        self.generic_visit(node)
        self._silent -= 1
        return node

    def _call(self, node: ast.Call) -> ast.AST:
        said = isinstance(node.func, ast.Name) and node.func.id == SAID
        self._silent += said
        self.generic_visit(node)
        self._silent -= said
        return node

    def _joined(self, node: ast.JoinedStr) -> ast.AST:
        self.generic_visit(node)
        return ast.Constant(value="") if self._silent else node

    def _constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str):
            folder = self.code.module(self.module).path.parent
            if _is_file_name(node.value) and (folder / node.value).is_file():
                self.files.add(folder / node.value)
            elif node.value in self.code.files:
                self.references.add((node.value, ""))
            if self._silent:
                return ast.Constant(value="")
        return node


RULES: dict[type[ast.AST], Callable[[_Reading, Any], ast.AST]] = {
    ast.Name: _Reading._name,
    ast.Attribute: _Reading._attribute,
    **dict.fromkeys((ast.ExceptHandler, ast.MatchAs, ast.MatchStar), _Reading._named),
    **dict.fromkeys((ast.Global, ast.Nonlocal, ast.Import, ast.ImportFrom), _Reading._dropped),
    **dict.fromkeys((ast.FunctionDef, ast.AsyncFunctionDef), _Reading._function),
    ast.Lambda: _Reading._lambda,
    **dict.fromkeys((ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp), _Reading._comprehension),
    ast.ClassDef: _Reading._class,
    ast.AnnAssign: _Reading._annotated,
    ast.Raise: _Reading._raise,
    ast.Call: _Reading._call,
    ast.JoinedStr: _Reading._joined,
    ast.Constant: _Reading._constant,
}


def _is_file_name(text: str) -> bool:
    return (
        3 < len(text) < 60
        and "." in text
        and "/" not in text
        and "\0" not in text
        and not text.endswith((".py", "."))
    )


@cache
def _read(code: Code, found: Definition) -> tuple[str, frozenset[Definition], frozenset[Path]]:
    """Return what counts of a definition, as text; what it refers to; the files that it reads."""
    module, name = found
    if not name:
        inner = frozenset((module, one) for one in code.module(module).defined)
        return "", inner, frozenset()
    reading = _Reading(code, module)
    dumps, here = [], code.module(module)
    chosen = here.choosing[name.removeprefix(CHOICE)] if name.startswith(CHOICE) else here.defined[name]
    for statement in chosen:
        dumps.append(ast.dump(reading.visit(copy.deepcopy(statement))))
    return "\n".join(dumps), frozenset(reading.references), frozenset(reading.files)


def reached(
    code: Code, roots: Iterable[Definition], without: frozenset[str] = frozenset()
) -> frozenset[Definition]:
    """Return all that these definitions reach, but what is in the modules `without`."""
    waiting, found = list(roots), set()
    while waiting:
        one = waiting.pop()
        if one not in found and one[0] not in without:
            found.add(one)
            waiting += _read(code, one)[1]
    return frozenset(found)


def digest(code: Code, found: Iterable[Definition]) -> str:
    """Return the digest of definitions, and of the files that they read."""
    texts, files = set(), set()
    for one in found:
        text, _references, read = _read(code, one)
        texts.add(text)
        files |= {f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in read}
    return hashlib.sha256("\n".join([*sorted(texts), *sorted(files)]).encode()).hexdigest()[:32]
