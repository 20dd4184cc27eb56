"""YAML with line numbers: every node of the tree knows its line, so that errors can name it.

`yaml.safe_load` forgets positions and lets the second of two equal keys win in silence; here it is an error.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamis.sql.errors import ProjectFileError


@dataclass(frozen=True, kw_only=True)
class Node:
    """A scalar, a list of nodes or a mapping of nodes, with the file and line where it begins."""

    file: Path
    line: int
    value: Any

    def fail(self, problem: str) -> ProjectFileError:
        """The error to raise for a problem at this node."""
        return ProjectFileError(self.file, self.line, problem)

    def fields(self, required: Iterable[str] = (), optional: Iterable[str] = ()) -> "dict[str, Node]":
        """The mapping, with its keys checked; raises `ProjectFileError`."""
        valid = [*required, *optional]
        fields = self.mapping()
        for key, node in fields.items():
            if key not in valid:
                raise node.fail(f"unknown key {key!r}; valid: {', '.join(valid)}")
        for key in required:
            if key not in fields:
                raise self.fail(f"the key {key!r} is missing")
        return fields

    def mapping(self) -> "dict[str, Node]":
        """The mapping with any keys; empty when the value is null; raises `ProjectFileError`."""
        if self.value is None:
            return {}
        if not isinstance(self.value, dict):
            raise self.fail("expected a mapping (key: value)")
        return self.value

    def items(self) -> "list[Node]":
        """The list; empty when the value is null; raises `ProjectFileError`."""
        if self.value is None:
            return []
        if not isinstance(self.value, list):
            raise self.fail("expected a list")
        return self.value

    def text(self) -> str:
        """The scalar as a stripped string; raises `ProjectFileError`."""
        if isinstance(self.value, dict | list) or self.value is None:
            raise self.fail("expected text")
        if isinstance(self.value, bool):
            raise self.fail(
                "expected text, but found a boolean; put yes, no, on, off, true and false in quotes"
            )
        return str(self.value).strip()

    def choice(self, valid: Iterable[str]) -> str:
        """The scalar, one of the valid ones; raises `ProjectFileError`."""
        if (found := self.text()) not in valid:
            raise self.fail(f"{found!r} is not valid; valid: {', '.join(valid)}")
        return found


def read_yaml(file: Path) -> Node:
    """Read a YAML file as a tree of nodes; raises `ProjectFileError` with the line of the mistake."""
    import yaml

    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(file.read_text(encoding="utf-8-sig"))
        root = loader.get_single_node()
        return _convert(loader, root, file) if root else Node(file=file, line=1, value=None)
    except RecursionError as error:
        raise ProjectFileError(
            file, 1, "the YAML is nested too deeply, or an alias contains itself"
        ) from error
    except OSError as error:
        raise ProjectFileError(file, 1, f"the file cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ProjectFileError(file, 1, f"the file is not UTF-8: {error.reason}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        raise ProjectFileError(file, mark.line + 1 if mark else 1, f"not valid YAML: {problem}") from error


def _convert(loader: Any, node: Any, file: Path) -> Node:
    line = node.start_mark.line + 1
    if node.id == "sequence":
        value: Any = [_convert(loader, item, file) for item in node.value]
    elif node.id == "mapping":
        value = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            if key in value:
                raise ProjectFileError(file, key_node.start_mark.line + 1, f"the key {key!r} occurs twice")
            child = _convert(loader, value_node, file)
            # The line of the key, not of the value: a nested value begins a line later.
            value[key] = Node(file=file, line=key_node.start_mark.line + 1, value=child.value)
    else:
        value = loader.construct_object(node)
    return Node(file=file, line=line, value=value)
