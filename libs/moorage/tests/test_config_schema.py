"""The JSON Schema of the configuration: it is one, and it says what the loader says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from moorage.config import ConfigurationError, parse
from moorage.config.configuration import Configuration
from moorage.config.effective import effective
from moorage.config.embedded import embedded_default
from moorage.config.jsonschema import json_schema

ROOT = Path(__file__).parents[3]
DOCUMENTS = sorted([*(ROOT / "docs" / "examples").glob("*.yml"), *(ROOT / "deploy").rglob("config*.yml")])
SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def problems(document: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(document)]


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_configuration_of_the_project_is_valid(path: Path) -> None:
    assert problems(yaml.safe_load(path.read_text(encoding="utf-8"))) == []


def test_the_embedded_default_is_valid() -> None:
    assert problems(yaml.safe_load(embedded_default(Path("/srv")))) == []


def test_what_a_configuration_comes_to_is_valid_again() -> None:
    document = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": "/srv"}, "delete": {"enabled": True}},
        "http": {"draintimeout": "90s", "headers": {"X-A": ["b"]}, "limits": {"manifestsize": "2MiB"}},
        "health": {"tcp": [{"addr": "a:1", "interval": "5s"}]},
        "redis": {"addrs": ["a:1", "b:2"], "password": "x"},
    }
    assert problems(document) == []
    config = parse(yaml.safe_dump(document), {})
    assert isinstance(config, Configuration)
    assert problems(effective(config)) == []


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"htp": {}}, "$"),
        ({"log": {"level": ["debug"]}}, "$.log.level"),
        ({"http": {"adr": ":5000"}}, "$.http"),
        ({"health": {"tcp": {"addr": "a:1"}}}, "$.health.tcp"),
        ({"health": {"http": [{"uri": "http://a", "interval": []}]}}, "$.health.http[0].interval"),
        ({"version": 0.2}, "$.version"),
        ({"auth": {"token": {"realm": "https://a", "service": "b", "jwks": "/c"}}}, "$.auth.token"),
    ],
)
def test_what_the_schema_refuses_the_loader_refuses(change: dict[str, Any], where: str) -> None:
    document = {"version": 0.1, "storage": "inmemory", **change}
    assert [each.partition(": ")[0] for each in problems(document)] == [where]
    with pytest.raises(ConfigurationError):
        parse(yaml.safe_dump(document), {})


@pytest.mark.parametrize(
    "change",
    [
        {"version": "0.1"},
        {"redis": {"addrs": "a:1", "protocol": 3}},
        {"redis": {"addr": "a:1", "protocol": "3"}},
        {"log": {"fields": None, "level": None, "hooks": None}},
        {"http": {"headers": {"X-A": "b"}, "debug": None, "trustedproxies": "10.0.0.0/8"}},
        {"auth": {"token": {"server": {"htpasswd": "/a", "key": "/b"}}}},
        {"validation": {"manifests": {"urls": {"allow": ["^https://"]}}}},
        {"storage": {"inmemory": None, "delete": {"enabled": True}}},
    ],
    ids=str,
)
def test_what_the_loader_takes_the_schema_takes(change: dict[str, Any]) -> None:
    document = {"version": 0.1, "storage": "inmemory", **change}
    parse(yaml.safe_dump(document), {})
    assert problems(document) == []


def test_editors_are_told_what_is_own_and_what_is_refused() -> None:
    properties = SCHEMA["properties"]
    assert properties["services"]["x-moorage"] is True
    assert "x-moorage" not in properties["log"]
    assert properties["proxy"]["deprecated"] is True
    assert "pull-through cache" in properties["proxy"]["description"]
    assert properties["storage"]["properties"]["azure"]["deprecated"] is True
