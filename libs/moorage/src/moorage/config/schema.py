"""What the models say about the tree: which keys a section has, and what stands under each."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic.fields import FieldInfo

from moorage.config.section import Section

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """What stands under a key: a section, a list, a map with free keys, or, with none of them, a scalar."""

    section: type[Section] | None = None
    list_of: Shape | None = None
    map_of: Shape | None = None


SCALAR = Shape()


def shape_of(annotation: Any) -> Shape:
    """The shape that a field's annotation stands for."""
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is Annotated:
        return shape_of(arguments[0])
    if origin in {typing.Union, types.UnionType}:
        present = [argument for argument in arguments if argument is not type(None)]
        return shape_of(present[0]) if len(present) == 1 else SCALAR
    if origin is tuple:
        return Shape(list_of=shape_of(arguments[0]))
    if origin is dict:
        return Shape(map_of=shape_of(arguments[1]))
    if annotation is Any:
        return Shape(map_of=SCALAR)
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return Shape(section=annotation)
    return SCALAR


def fields_of(section: type[Section]) -> dict[str, Shape]:
    """The keys of a section, in the order of the model, and what stands under each."""
    return {key: shape_of(field.annotation) for key, field in keyed_fields(section).items()}


def keyed_fields(section: type[Section]) -> dict[str, FieldInfo]:
    """The fields of a section by their keys, which may be words that Python keeps for itself (`from`)."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


def field_at(root: type[Section], location: Location) -> FieldInfo | None:
    """The model's field that a location leads to; None when there is none."""
    section = section_at(root, location[:-1])
    return keyed_fields(section).get(str(location[-1])) if section is not None else None


def section_at(root: type[Section], location: Location) -> type[Section] | None:
    """The section that a location leads to; None when something else stands there."""
    shape = Shape(section=root)
    for step in location:
        if shape.section is not None:
            shape = fields_of(shape.section).get(str(step), SCALAR)
        else:
            shape = shape.list_of or shape.map_of or SCALAR
    return shape.section


def dotted(location: Location) -> str:
    """A location as a person writes it: `health.http[0].uri`."""
    text = ""
    for step in location:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


def has_mark(field: FieldInfo, mark: str) -> bool:
    """Whether a field's values, or those of a list or an alternative in it, have this mark."""
    return mark in field.metadata or _is_marked(field.annotation, mark)


def _is_marked(annotation: Any, mark: str) -> bool:
    if typing.get_origin(annotation) is Annotated and mark in annotation.__metadata__:
        return True
    return any(_is_marked(argument, mark) for argument in typing.get_args(annotation))


def every_key(section: type[Section], prefix: str = "") -> Iterator[str]:
    """Each key of a section and of the sections in it, dotted; an item of a list is `key[]`."""
    for name, shape in fields_of(section).items():
        key = f"{prefix}{name}"
        yield key
        if shape.section is not None:
            yield from every_key(shape.section, f"{key}.")
        elif shape.list_of is not None and shape.list_of.section is not None:
            yield from every_key(shape.list_of.section, f"{key}[].")


def nearest(name: str, known: typing.Iterable[str]) -> str | None:
    """The known name that `name` was probably meant to be, if one comes near."""
    found = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.7)
    return found[0] if found else None
