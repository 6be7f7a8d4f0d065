"""What several test files of the shared library need."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from moorage.config import Configuration, parse


@pytest.fixture(scope="session")
def configured() -> Callable[[str, str], Configuration]:
    """Reads a configuration with one key set: a dotted key, and its value as YAML."""

    def read(key: str, value: str) -> Configuration:
        section, *rest = key.split(".")
        flow = value
        for step in reversed(rest):
            flow = f"{{{step}: {flow}}}"
        document = f"version: 0.1\n{section}: {flow}\n"
        if section != "storage":
            document += "storage: inmemory\n"
        elif rest[:1] != ["filesystem"]:
            document = f"version: 0.1\nstorage:\n  inmemory:\n  {flow[1:-1]}\n"
        return parse(document, {})

    return read
