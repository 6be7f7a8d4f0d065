"""What one write operation does to one object: its steps, which the OSD takes all together or not at all.

Each function gives a step; `Pool.write` carries out a list of them. The first step that fails decides the
operation's error, which is noted with each step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

# Adds itself to a write operation of an I/O context; both are librados' own types, which have no type hints.
Step = Callable[[Any, Any], None]

# From rados/librados.h.
_CREATE_EXCLUSIVE = 1
_CREATE_IDEMPOTENT = 0
_COMPARE_EQUAL = 1


def create_new() -> Step:
    """Create the object; FileExistsError if it is there."""
    return lambda _, operation: operation.new(_CREATE_EXCLUSIVE)


def create() -> Step:
    """Create the object if it is not there. Writing does so too, comparing does not."""
    return lambda _, operation: operation.new(_CREATE_IDEMPOTENT)


def expect_entry(key: str, value: str) -> Step:
    """Go on only if the omap has this value; the empty one stands for a missing key as well.

    Otherwise OSError ECANCELED, or FileNotFoundError when the object is not there.
    """
    return lambda _, operation: operation.omap_cmp(key, value, _COMPARE_EQUAL)


def expect_version(version: int) -> Step:
    """Go on only if the object's last change has this version; otherwise OSError ERANGE or EOVERFLOW."""
    return lambda _, operation: operation.assert_version(version)


def set_entries(entries: Mapping[str, str]) -> Step:
    """Set keys of the omap; creates the object."""
    keys = tuple(entries)
    values = tuple(value.encode() for value in entries.values())
    return lambda context, operation: context.set_omap(operation, keys, values)


def remove_entry(key: str) -> Step:
    """Remove a key of the omap, there or not."""
    return lambda context, operation: context.remove_omap_keys(operation, (key,))


def set_attribute(name: str, value: bytes) -> Step:
    """Set an extended attribute; creates the object."""
    return lambda _, operation: operation.set_xattr(name, value)


def write(data: bytes, offset: int) -> Step:
    """Write bytes at an offset; creates the object."""
    return lambda _, operation: operation.write(data, offset)


def truncate(size: int) -> Step:
    """Cut the object, or lengthen it with zeros, to a size in bytes."""
    return lambda _, operation: operation.truncate(size)


def remove() -> Step:
    """Remove the object; FileNotFoundError when it is not there."""
    return lambda _, operation: operation.remove()


def call(class_name: str, method: str, argument: bytes) -> Step:
    """Have the OSD run a method of an object class, with its argument encoded."""
    return lambda _, operation: operation.execute(class_name, method, argument)
