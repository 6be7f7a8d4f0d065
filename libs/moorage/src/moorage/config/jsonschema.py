"""The configuration as a JSON Schema, for editors: `moorage config schema`.

Source: JSON Schema, draft 2020-12. `x-moorage: true` marks what distribution does not have.
"""

from __future__ import annotations

import re
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from moorage.config.configuration import Configuration
from moorage.config.document import SCALAR_FORMS
from moorage.config.effective import shown
from moorage.config.reference import is_own
from moorage.config.refusals import UNSUPPORTED
from moorage.config.schema import Shape, fields_of, keyed_fields
from moorage.config.section import Section
from moorage.config.values import as_list

# With this key, a section may leave out what it must have otherwise.
_INSTEAD = {"auth.token.": "server"}

_NUMBER = re.compile(r"\d+(\.\d+)?", re.ASCII)

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema of the whole document."""
    return {"$schema": _DIALECT, "title": "config.yml of Moorage", **_section(Configuration, "")}


def _section(section: type[Section], prefix: str) -> dict[str, Any]:
    """A section with everything in it written out: what a key means depends on where it stands."""
    generated = section.model_json_schema(by_alias=True, mode="validation")
    shared = generated.get("$defs", {})
    fields = keyed_fields(section)
    properties = {
        key: _property(f"{prefix}{key}", shape, fields[key], generated["properties"][key], shared)
        for key, shape in fields_of(section).items()
    }
    for key, refusal in UNSUPPORTED.items():
        # A driver that is refused whole has no model.
        parent, _, name = key.rpartition(".")
        if prefix and f"{parent}." == prefix and name not in properties:
            properties[name] = {"deprecated": True, "description": refusal.sentence}
    schema: dict[str, Any] = {
        "type": "object",
        "description": (section.__doc__ or "").strip().partition("\n")[0].replace("`", ""),
        "properties": properties,
        "additionalProperties": False,
    }
    required = [key for key, field in fields.items() if field.is_required()]
    if required and prefix in _INSTEAD:
        instead = {"required": [_INSTEAD[prefix]]}
        schema |= {"if": {"not": instead}, "then": {"required": required}}
    elif required:
        schema["required"] = required
    return schema


def _property(
    path: str, shape: Shape, field: FieldInfo, generated: dict[str, Any], shared: dict[str, Any]
) -> dict[str, Any]:
    if shape.section is not None:
        # `key:` with nothing after it is the same as no key.
        forms = ["object", "string", "null"] if path in SCALAR_FORMS else ["object", "null"]
        schema = {**_section(shape.section, f"{path}."), "type": forms}
        if path in SCALAR_FORMS:
            schema.pop("required", None)
    elif shape.list_of is not None and shape.list_of.section is not None:
        schema = {"type": ["array", "null"], "items": _section(shape.list_of.section, f"{path}[].")}
    else:
        schema = _as_written(_resolved(generated, shared), field)
        schema.pop("default", None)
        if field.default is not None and field.default is not PydanticUndefined:
            schema["default"] = shown(field.default, field)
    if is_own(path):
        schema["x-moorage"] = True
    if path in UNSUPPORTED:
        schema["description"] = UNSUPPORTED[path].sentence
        schema["deprecated"] = True
    return schema


def _as_written(schema: Any, field: FieldInfo) -> dict[str, Any]:
    """A value's schema as YAML may have it, where it is not what the model keeps.

    A word that looks like a number is one to YAML, and nothing after a key is the same as no key.
    """
    written = _nullable(_with_numbers(schema))
    if schema.get("type") == "array" and any(
        getattr(each, "func", None) is as_list for each in field.metadata
    ):
        written = {"anyOf": [written, _with_numbers(schema["items"])]}
    return written


def _with_numbers(schema: dict[str, Any]) -> dict[str, Any]:
    words = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if words is None:
        return dict(schema)
    numbers = [float(word) if "." in word else int(word) for word in words if _NUMBER.fullmatch(word)]
    return {"enum": [*words, *numbers]}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    kinds = schema.get("type")
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], None]}
    return {**schema, "type": [kinds, "null"]} if isinstance(kinds, str) else schema


def _resolved(schema: Any, shared: dict[str, Any]) -> Any:
    """A schema without references and titles."""
    if isinstance(schema, list):
        return [_resolved(each, shared) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _resolved(shared[schema["$ref"].rpartition("/")[2]], shared)
    return {key: _resolved(value, shared) for key, value in schema.items() if key != "title"}
