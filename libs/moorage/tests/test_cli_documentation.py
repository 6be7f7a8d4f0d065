"""docs/cli.md against the commands: every verb, every option, every status."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from moorage.cli import failures
from moorage.cli.app import app as moorage_app
from moorage.cli.registry import app as registry_app

PAGE = (Path(__file__).parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")
HEADING = re.compile(r"^#{2,3} `([^`]+)`$", re.M)
ROW = re.compile(r"^\| ((?:`--?[a-z-]+`(?:, )?)+) \| .+ \|$", re.M)


def sections() -> dict[str, str]:
    """The text below each heading that is a command, by the command without its arguments."""
    found = list(HEADING.finditer(PAGE))
    ends = [*(match.start() for match in found[1:]), len(PAGE)]
    return {
        re.sub(r" \[?[A-Z]+\]?$", "", match[1]): PAGE[match.end() : end]
        for match, end in zip(found, ends, strict=True)
    }


def commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """A command and the verbs below it, by what is typed; groups of verbs are left out, but for the first."""
    children = getattr(command, "commands", None)
    if children is None or " " not in name:
        yield name, command
    for verb, child in sorted((children or {}).items()):
        yield from commands(f"{name} {verb}", child)


COMMANDS = dict(commands("moorage", typer.main.get_command(moorage_app)))
COMMANDS |= dict(commands("registry", typer.main.get_command(registry_app)))
SECTIONS = sections()

# `serve` prints the access log alone, and the schema is JSON.
WITHOUT_JSON = {"moorage", "registry", "moorage serve", "registry serve", "moorage config schema"}


def test_every_verb_has_its_section_and_there_is_no_other() -> None:
    assert set(SECTIONS) == set(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_section_lists_the_options_of_its_verb(name: str) -> None:
    said = {tuple(re.findall(r"`([^`]+)`", row)) for row in ROW.findall(SECTIONS[name])}
    there = {
        tuple(parameter.opts)
        for parameter in COMMANDS[name].params
        if parameter.param_type_name == "option" and not parameter.hidden
    }
    assert said - {("--help", "-h")} == there


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_section_names_the_arguments_of_its_verb(name: str) -> None:
    (heading,) = [
        match[1]
        for match in HEADING.finditer(PAGE)
        if match[1].startswith(name) and re.sub(r" \[?[A-Z]+\]?$", "", match[1]) == name
    ]
    arguments = [each for each in COMMANDS[name].params if each.param_type_name == "argument"]
    assert len(arguments) == (heading != name)
    for argument in arguments:
        assert f"[{heading.rpartition(' ')[2].strip('[]')}]" in heading or argument.required


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - WITHOUT_JSON))
def test_every_verb_speaks_json(name: str) -> None:
    assert any("--json" in parameter.opts for parameter in COMMANDS[name].params)


def test_every_status_is_explained() -> None:
    assert set(re.findall(r"^\| `(\d)` \|", PAGE, re.M)) == {"0", str(failures.FAILURE), str(failures.USAGE)}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_verb_says_in_one_line_what_it_does(name: str) -> None:
    help_text = COMMANDS[name].help or ""
    assert help_text.strip().partition("\n")[0].endswith((".", "JSON", "health:"))
