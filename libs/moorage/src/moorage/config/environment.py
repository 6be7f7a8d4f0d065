"""`REGISTRY_*` variables, which override single keys of the document.

`REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/srv` sets `storage.filesystem.rootdirectory`: underscores
separate the keys, capitals stand for the keys' letters, and the value is read as YAML. A number selects an
item of a list.

Source: distribution's `configuration/parser.go`, whose rules these are, but for two: list indices are sorted
as numbers (there `_10` comes before `_2`), and items that are scalars can be set.
"""

from __future__ import annotations

from collections.abc import Mapping

from moorage.config.configuration import Configuration
from moorage.config.document import (
    DocumentError,
    Node,
    Tree,
    read_node,
    scalar_forms_expanded,
)
from moorage.config.errors import ConfigurationError
from moorage.config.schema import SCALAR, Location, Shape, dotted, fields_of, nearest
from moorage.config.section import Section

PREFIX = "REGISTRY_"

# Where the configuration is read from; the command line reads it.
CONFIGURATION_PATH = "REGISTRY_CONFIGURATION_PATH"

_LONGEST_INDEX = 6  # digits


class _UnknownVariableError(Exception):
    """The variable names nothing that the configuration has."""

    def __init__(self, suggestion: str | None = None) -> None:
        super().__init__(suggestion)
        self.suggestion = suggestion


def override(tree: Tree, environ: Mapping[str, str]) -> tuple[Tree, tuple[str, ...]]:
    """The tree with every override applied, and a warning for each variable that names nothing.

    The tree that is given is not changed. Raises ConfigurationError for a value that is not YAML and for an
    index that a list does not have; its key is the key that the variable stands for.
    """
    warnings: list[str] = []
    for name in sorted(environ, key=_parents_first):
        if not name.startswith(PREFIX) or name == CONFIGURATION_PATH:
            continue
        try:
            tree = _Override(name, environ[name]).onto(tree)
        except _UnknownVariableError as error:
            warning = f"{name}: unknown environment variable, ignored"
            if error.suggestion is not None and _works(error.suggestion, environ[name], tree):
                warning += f", did you mean {error.suggestion}?"
            warnings.append(warning)
    return tree, tuple(warnings)


def _works(name: str, text: str, tree: Tree) -> bool:
    """Whether a variable of this name would be applied."""
    try:
        _Override(name, text).onto(tree)
    except (_UnknownVariableError, ConfigurationError):
        return False
    return True


def _parents_first(name: str) -> tuple[tuple[int, str], ...]:
    return tuple((int(segment), "") if _is_index(segment) else (0, segment) for segment in name.split("_"))


def _is_index(segment: str) -> bool:
    return segment.isascii() and segment.isdigit() and len(segment) <= _LONGEST_INDEX


class _Override:
    """One variable on its way down the tree."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text

    def onto(self, tree: Tree) -> Tree:
        """The tree with this variable's value where its name leads; raises _UnknownVariableError."""
        segments = tuple(self._name.removeprefix(PREFIX).split("_"))
        if segments[0] == "VERSION":
            # The version says how to read the document, so it cannot come from elsewhere.
            raise _UnknownVariableError
        return scalar_forms_expanded(self._assigned(tree, Shape(section=Configuration), segments, ()))

    def _assigned(self, node: Node, shape: Shape, segments: tuple[str, ...], at: Location) -> Node:
        if not segments:
            return self._value(at)
        if shape.section is not None and (node is None or isinstance(node, dict)):
            return self._in_section(node or {}, shape.section, segments, at)
        if shape.list_of is not None or isinstance(node, list):
            return self._in_list(node, shape.list_of or SCALAR, segments, at)
        if shape.map_of is not None and (node is None or isinstance(node, dict)):
            return self._in_map(node or {}, shape.map_of, segments, at)
        raise _UnknownVariableError

    def _in_section(
        self, node: Tree, section: type[Section], segments: tuple[str, ...], at: Location
    ) -> Node:
        head, rest = segments[0], segments[1:]
        fields = fields_of(section)
        key = head.lower()
        key = section.environment_names.get(key, key)
        if head != head.upper() or key not in fields:
            if not section.open_to_environment or not head:
                raise _UnknownVariableError(self._suggestion(head, fields, segments))
            return self._in_map(node, Shape(map_of=SCALAR), segments, at)
        return {**node, key: self._assigned(node.get(key), fields[key], rest, (*at, key))}

    def _in_map(self, node: Tree, item: Shape, segments: tuple[str, ...], at: Location) -> Node:
        head, rest = segments[0], segments[1:]
        if not head:
            raise _UnknownVariableError
        key = next((known for known in node if known.upper() == head.upper()), head.lower())
        # Whatever stands in a free-form map may be a map itself.
        shape = Shape(map_of=SCALAR) if item == SCALAR and rest else item
        return {**node, key: self._assigned(node.get(key), shape, rest, (*at, key))}

    def _in_list(self, node: Node, item: Shape, segments: tuple[str, ...], at: Location) -> Node:
        head, rest = segments[0], segments[1:]
        items = list(node) if isinstance(node, list) else [] if node is None else [node]
        if not _is_index(head):
            raise ConfigurationError(dotted(at), f"{self._name}: not an index of a list: {head!r}")
        index = int(head)
        if index > len(items):
            raise ConfigurationError(
                dotted(at),
                f"{self._name}: the list holds {len(items)}, so the next index is {len(items)}, not {index}",
            )
        if index == len(items):
            items.append(None)
        items[index] = self._assigned(items[index], item, rest, (*at, index))
        return items

    def _value(self, at: Location) -> Node:
        try:
            return read_node(self._text)
        except DocumentError as error:
            raise ConfigurationError(dotted(at), f"{self._name}: {error}") from error

    def _suggestion(self, head: str, fields: Mapping[str, Shape], segments: tuple[str, ...]) -> str | None:
        near = nearest(head, fields)
        if near is None:
            return None
        before = self._name.removesuffix("_".join(segments))
        return "_".join((f"{before}{near}", *segments[1:])).upper()
