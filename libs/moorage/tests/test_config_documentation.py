"""docs/configuration.md against the models: every key, every default, every refusal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from moorage.config import Configuration, ConfigurationError, parse, parse_duration
from moorage.config.middleware import STORAGE_MIDDLEWARE
from moorage.config.reference import is_own
from moorage.config.refusals import UNSUPPORTED
from moorage.config.schema import every_key, field_at, fields_of, section_at
from moorage.config.values import DURATION

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"
ROW = re.compile(
    r"^\| `(?P<key>[a-z0-9.\[\]]+)` \| (?P<type>[^|]+) \| (?P<default>[^|]*)\| (?P<meaning>.*)\|$", re.M
)
ROWS = {match["key"]: match for match in ROW.finditer(PAGE.read_text(encoding="utf-8"))}
# What stands below it is listed once, below the name that it is another one for.
ALIAS = "storage.s3aws"
KEYS = [key for key in every_key(Configuration) if not key.startswith(f"{ALIAS}.")]

# Own, and marked in other words.
UNMARKED = {
    "storage.filesystem.directio",
    *(
        f"storage.rados.{key}"
        for key in ("conffile", "namespace", "connecttimeout", "timeout", "maxinflight")
    ),
    "storage.rados.writerlease",
    "storage.s3.timeout",
}

# Keys of drivers that no model knows, because they are refused whole.
FOREIGN_DRIVERS = {key for key in UNSUPPORTED if key not in KEYS}


def is_item(key: str) -> bool:
    return "[]" in key


def location(key: str) -> tuple[str, ...]:
    return tuple(key.split("."))


def test_the_page_lists_every_key_of_the_models_and_no_other() -> None:
    assert set(ROWS) - FOREIGN_DRIVERS == set(KEYS)
    assert {key.split(".")[0] for key in FOREIGN_DRIVERS} == {"storage"}
    assert set(ROWS) >= FOREIGN_DRIVERS


OPTION = re.compile(r"^\| `(\w+)`: `(\w+)` \| [^|]+ \| ([^|]*) ?\| .*\|$", re.M)


def test_the_page_lists_every_option_of_the_storage_middleware_with_its_default() -> None:
    said = {(name, option): default.strip(" `") for name, option, default in OPTION.findall(PAGE.read_text())}
    known = {(name, key) for name, model in STORAGE_MIDDLEWARE.items() for key in model.model_fields}
    assert set(said) == known - {("cloudfront", "updatefrenquency")}
    for (name, option), default in said.items():
        field = STORAGE_MIDDLEWARE[name].model_fields[option]
        assert (default == "required") == field.is_required()
        if default and not field.is_required():
            assert field.default == (parse_duration(default) if DURATION in field.metadata else default)


def test_no_key_is_listed_twice() -> None:
    listed = [match["key"] for match in ROW.finditer(PAGE.read_text(encoding="utf-8"))]
    assert len(listed) == len(set(listed))


def test_what_the_page_says_is_refused_is_refused_and_nothing_else_is() -> None:
    said = {key for key, row in ROWS.items() if "*refused*" in row["meaning"]}
    assert said >= set(UNSUPPORTED)
    for key in said - set(UNSUPPORTED):
        parents = [".".join(location(key)[:length]) for length in range(1, len(location(key)))]
        assert any(parent in UNSUPPORTED for parent in parents), key


def test_what_is_moorage_s_own_is_marked() -> None:
    own = {key for key, row in ROWS.items() if "**own**" in row["meaning"]}
    assert own == {key for key in KEYS if is_own(key)} - UNMARKED


@pytest.mark.parametrize("key", [key for key in KEYS if not is_item(key)])
def test_the_kind_of_value_is_the_model_s(key: str) -> None:
    said = ROWS[key]["type"]
    field = field_at(Configuration, location(key))
    assert field is not None
    assert (said == "section") == (section_at(Configuration, location(key)) is not None)
    shape = fields_of(section_at(Configuration, location(key)[:-1]) or Configuration)[location(key)[-1]]
    assert said.startswith("list") == (shape.list_of is not None)
    assert said.startswith("map") == (shape.map_of is not None)
    if said == "duration" and field.default is not None:
        assert DURATION in field.metadata


WITH_DEFAULT = [
    (key, row["default"].strip().strip("`")) for key, row in ROWS.items() if row["default"].startswith("`")
]


# What the drivers cannot do without.
REQUIRED = {"rados": "poolname: a", "s3": "bucket: a, region: b"}


TOKEN = "realm: 'https://a.example', service: b, issuer: c, jwks: /d"


def htpasswd(key: str, value: str | None) -> Configuration:
    """The same with users of a file."""
    flow = value
    for step in reversed(key.removeprefix("auth.htpasswd.").split(".")):
        flow = f"{step}: {flow}" if flow == value else f"{step}: {{{flow}}}"
    users = f"realm: a, path: /b, {flow}" if value else "realm: a, path: /b"
    return parse(f"version: 0.1\nstorage: inmemory\nauth: {{htpasswd: {{{users}}}}}\n", {})


def token_server(key: str, value: str | None) -> Configuration:
    """The shortest document with a token server, and with the key when there is a value for it."""
    flow = value
    for step in reversed(key.removeprefix("auth.token.server.").split(".")):
        flow = f"{step}: {flow}" if flow == value else f"{step}: {{{flow}}}"
    server = f"htpasswd: /a, key: /b, {flow}" if value else "htpasswd: /a, key: /b"
    return parse(f"version: 0.1\nstorage: inmemory\nauth: {{token: {{server: {{{server}}}}}}}\n", {})


def document(key: str, value: str | None, driver: str) -> Configuration:
    """The shortest document with this driver, and with the key when there is a value for it."""
    if key.startswith("auth.token.server"):
        return token_server(key, value)
    if key.startswith("auth.htpasswd."):
        return htpasswd(key, value)
    section, *rest = key.split(".")
    if required := REQUIRED.get(driver):
        parameter = f", {rest[1]}: {value}" if value else ""
        return parse(f"version: 0.1\nstorage: {{{driver}: {{{required}{parameter}}}}}\n", {})
    if key.startswith("auth.token."):
        parameter = f", {rest[1]}: {value}" if value else ""
        return parse(f"version: 0.1\nstorage: {driver}\nauth: {{token: {{{TOKEN}{parameter}}}}}\n", {})
    flow = value or ""
    for step in reversed(rest):
        flow = f"{{{step}: {flow}}}"
    if section != "storage":
        return parse(f"version: 0.1\nstorage: {driver}\n" + (f"{section}: {flow}\n" if value else ""), {})
    if rest[0] == driver:
        return parse(f"version: 0.1\nstorage: {flow if value else driver}\n", {})
    return parse(f"version: 0.1\nstorage:\n  {driver}:\n" + (f"  {flow[1:-1]}\n" if value else ""), {})


@pytest.mark.parametrize(("key", "default"), [each for each in WITH_DEFAULT if not is_item(each[0])])
def test_a_default_written_out_changes_nothing(key: str, default: str) -> None:
    if key.startswith("storage.maintenance.uploadpurging."):
        whole = ", ".join(
            f"{location(name)[-1]}: {value}"
            for name, value in WITH_DEFAULT
            if name.startswith("storage.maintenance.uploadpurging.")
        )
        key, default = "storage.maintenance.uploadpurging", f"{{{whole}}}"
    drivers = ("storage.filesystem", "storage.rados", "storage.s3.")
    driver = key.split(".")[1] if key.startswith(drivers) else "inmemory"
    assert document(key, default, driver) == document(key, None, driver)


ITEMS = {
    "log.hooks": "type: mail, disabled: true",
    "notifications.endpoints": "name: a, url: 'https://a.example', disabled: true",
    "health.file": "file: /x",
    "health.http": "uri: 'http://a.example'",
    "health.tcp": "addr: 'a:1'",
    "middleware.registry": "name: a, disabled: true",
    "middleware.repository": "name: a, disabled: true",
    "middleware.storage": "name: a, disabled: true",
    "auth.token.server.rules": "subjects: authenticated, repositories: '**', actions: pull",
    "policy.tags.immutable": "repositories: '**', tags: 'v*'",
    "validation.manifests.indexes.platformlist": "os: linux, architecture: arm64",
}


@pytest.mark.parametrize(
    ("key", "default"),
    [each for each in WITH_DEFAULT if is_item(each[0]) and not each[0].endswith(".disabled")],
)
def test_a_default_written_out_in_an_item_changes_nothing(key: str, default: str) -> None:
    holder, _, name = key.partition("[].")
    flow = default
    for step in reversed(name.split(".")):
        flow = f"{step}: {flow}" if step == name.split(".")[0] else f"{{{step}: {flow}}}"
    with_it = document(holder, f"[{{{ITEMS[holder]}, {flow}}}]", "inmemory")
    assert with_it == document(holder, f"[{{{ITEMS[holder]}}}]", "inmemory")


@pytest.mark.parametrize(
    "key", [key for key, row in ROWS.items() if row["default"].strip() == "required" and is_item(key)]
)
def test_an_item_without_a_required_key_is_refused(key: str) -> None:
    holder, _, name = key.partition("[].")
    rest = ", ".join(part for part in ITEMS[holder].split(", ") if not part.startswith(f"{name}:"))
    with pytest.raises(ConfigurationError) as caught:
        document(holder, f"[{{{rest}}}]", "inmemory")
    assert f"{holder}[0].{name}: is required" in [str(problem) for problem in caught.value.problems]
