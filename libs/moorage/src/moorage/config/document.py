"""The YAML document as a tree of maps, lists and scalars, before any key has a meaning.

What a plain scalar means depends on the key that it stands under: `secret: 0123` is text and `maxthreads:
0123` a number. So a plain scalar keeps its text, and the models choose.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

Node = Any  # dict[str, Node] | list[Node] | Plain | str | None
Tree = dict[str, Node]


class Plain(str):
    """A plain (unquoted) scalar that YAML resolves to a number or a boolean: its text, and that `value`."""

    __slots__ = ("value",)
    value: bool | int | float

    def __new__(cls, text: str, value: bool | int | float) -> Plain:
        """A scalar that stands as `text` in the document and resolves to `value`."""
        plain = super().__new__(cls, text)
        plain.value = value
        return plain


class DocumentError(ValueError):
    """The text cannot be read as a configuration. `str()` is one line and quotes nothing but a key."""


def resolved(node: Node) -> Node:
    """A scalar as YAML resolves it: a `Plain` becomes its number or boolean; anything else stays."""
    return node.value if isinstance(node, Plain) else node


def resolved_deep(node: Node) -> Node:
    """The whole of `node` with every scalar resolved, for the parts that have free-form keys."""
    if isinstance(node, dict):
        return {key: resolved_deep(value) for key, value in node.items()}
    if isinstance(node, list):
        return [resolved_deep(value) for value in node]
    return resolved(node)


class _Loader(yaml.SafeLoader):
    """YAML as distribution's parser reads it: no dates and no base-60 numbers, and no key twice."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            where = f"in line {key.start_mark.line + 1}"
            if not isinstance(key, yaml.ScalarNode):
                raise DocumentError(f"not a configuration: a key must be a word ({where})")
            if key.tag == _MERGE:
                continue
            # A key is its text, whatever it would resolve to as a value.
            key.tag = "tag:yaml.org,2002:str"
            if key.value in seen:
                raise DocumentError(f"the key {key.value!r} stands twice in one map ({where})")
            seen.add(key.value)
        return node

    def construct_number(self, node: yaml.ScalarNode) -> Node:
        text = str(node.value)
        if ":" in text:
            return text
        whole = node.tag.endswith(":int")
        return Plain(text, self.construct_yaml_int(node) if whole else self.construct_yaml_float(node))

    def construct_boolean(self, node: yaml.ScalarNode) -> Node:
        return Plain(str(node.value), bool(self.construct_yaml_bool(node)))


_MERGE = "tag:yaml.org,2002:merge"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_number)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_number)
_Loader.add_constructor("tag:yaml.org,2002:bool", _Loader.construct_boolean)

# No configuration comes near these; the aliases of a small text can stand for a tree without end.
_MOST_NODES = 100_000
_DEEPEST = 50


def read_node(text: str) -> Node:
    """The YAML value that `text` holds; None for an empty text. Raises DocumentError."""
    try:
        node = yaml.load(text, Loader=_Loader)  # noqa: S506  _Loader is a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise DocumentError(f"not YAML: {_without_content(error.problem)}{where}") from error
    except DocumentError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DocumentError(
            "not YAML: the text holds characters or values that YAML does not allow"
        ) from error
    if _weight(node, 0) > _MOST_NODES:
        raise DocumentError("not a configuration: too many values")
    return node


def read_tree(text: str) -> Tree:
    """The document that `text` holds. Raises DocumentError when it is not one map."""
    tree = read_node(text)
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise DocumentError("not a configuration: the document must be a map of keys")
    return scalar_forms_expanded(tree)


# What PyYAML quotes: group 1 is the name of a token or a piece of syntax.
_QUOTED = re.compile(r"\s*'(?:(<[a-z ]+>|[ ,:?\]}-])|[^']*)'")


def _without_content(problem: str | None) -> str:
    """PyYAML's sentence without what it quotes from the text, which may be a secret (`secret: !key`)."""
    kept = _QUOTED.sub(lambda match: match[0] if match[1] else "", problem or "")
    return re.split(r"[\"\\\x00-\x1f]", kept)[0].strip() or "not well-formed"


def _weight(node: Node, depth: int) -> int:
    """How many values a node stands for, counted no further than matters."""
    if depth > _DEEPEST:
        raise DocumentError("not a configuration: maps and lists too deep in one another")
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    weight = 1
    for child in children:
        weight += _weight(child, depth + 1)
        if weight > _MOST_NODES:
            break
    return weight


# Sections that may be written as one scalar, which is then the only key of the map.
SCALAR_FORMS = ("storage", "auth")


def scalar_forms_expanded(tree: Tree) -> Tree:
    """The tree with `storage: inmemory` written out as `storage: {inmemory: {}}`; `auth: none` likewise."""
    expanded = dict(tree)
    for key in SCALAR_FORMS:
        value = tree.get(key)
        if isinstance(value, str) and value:
            expanded[key] = {str(value): {}}
    return expanded
