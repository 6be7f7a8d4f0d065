"""What docs/token-service.md shows is a configuration that the gateway takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from moorage.config import parse

PAGE = Path(__file__).parents[4] / "docs" / "token-service.md"
SECTIONS = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.parametrize("section", SECTIONS, ids=["the first", "immutable tags"])
def test_a_section_of_the_page_is_a_configuration(section: str) -> None:
    config = parse(f"version: 0.1\nstorage: inmemory\n{section}", {})
    assert config.warnings == ()
