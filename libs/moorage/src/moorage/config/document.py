"""The YAML document as a tree of maps, lists and scalars, before any key has a meaning.

What a plain scalar means depends on the key that it stands under: `secret: 0123` is text and `maxthreads: 0123` a
number. So a plain scalar keeps its text, and the models choose.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

Node = Any  # dict[str, Node] | list[Node] | Plain | str | None
Tree = dict[str, Node]


class Plain(str):
    """A plain (unquoted) scalar that YAML resolves to a number or a boolean: its text, and that `value`."""

    __slots__ = ("value",)
    value: bool | int | float

    def __new__(cls, text: str, value: bool | int | float) -> Plain:
        plain = super().__new__(cls, text)
        plain.value = value
        return plain


class DocumentError(ValueError):
    """The text is not a YAML document that a configuration can be read from. `str()` is one line without content."""


def resolved(node: Node) -> Node:
    """A scalar as YAML resolves it: a `Plain` becomes its number or boolean; anything else stays."""
    return node.value if isinstance(node, Plain) else node


def resolved_deep(node: Node) -> Node:
    """The whole of `node` with every scalar resolved, for the parts of a configuration that have free-form keys."""
    if isinstance(node, dict):
        return {key: resolved_deep(value) for key, value in node.items()}
    if isinstance(node, list):
        return [resolved_deep(value) for value in node]
    if isinstance(node, Plain):
        return node.value
    return node


class _Loader(yaml.SafeLoader):
    """YAML as distribution's parser reads it: no dates and no base-60 numbers, and no key twice."""

    yaml_implicit_resolvers = {
        first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_number(self, node: yaml.ScalarNode) -> Node:
        text = str(node.value)
        if ":" in text:
            return text
        value = (
            self.construct_yaml_int(node)
            if node.tag.endswith(":int")
            else self.construct_yaml_float(node)
        )
        return Plain(text, value)

    def construct_boolean(self, node: yaml.ScalarNode) -> Node:
        return Plain(str(node.value), bool(self.construct_yaml_bool(node)))

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be a scalar", key_node.start_mark
                )
            # A key is its text, whatever it would resolve to as a value. `<<` keeps its meaning.
            if key_node.tag != "tag:yaml.org,2002:merge":
                key_node.tag = "tag:yaml.org,2002:str"
                if key_node.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key_node.value!r} stands twice", key_node.start_mark
                    )
                seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_number)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_number)
_Loader.add_constructor("tag:yaml.org,2002:bool", _Loader.construct_boolean)

_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


def read_scalar_or_tree(text: str) -> Node:
    """The YAML value that `text` holds; None for an empty text. Raises DocumentError."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  _Loader is a SafeLoader
    except yaml.MarkedYAMLError as error:
        # The mark's snippet is left out: it may show a secret.
        mark = error.problem_mark or error.context_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = _CONTROL.sub(" ", error.problem or "not well-formed")
        raise DocumentError(f"not YAML: {problem}{where}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DocumentError("not YAML: the text holds characters or values that YAML does not allow") from error


def read_tree(text: str) -> Tree:
    """The document that `text` holds. Raises DocumentError when it is not one map."""
    tree = read_scalar_or_tree(text)
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise DocumentError("not a configuration: the document must be a map of keys")
    return tree
