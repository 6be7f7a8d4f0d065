"""`REGISTRY_*` overrides, by distribution's rules."""

from __future__ import annotations

import functools
import operator
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from moorage.config import ConfigurationError, parse

FILESYSTEM = "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: /var/lib/registry\n"
INMEMORY = "version: 0.1\nstorage: inmemory\n"


def problem(text: str, **environ: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, environ)
    return str(caught.value)


def test_a_variable_overrides_the_document() -> None:
    read = parse(FILESYSTEM, {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "/x"})
    assert read.storage.driver_parameters["rootdirectory"] == "/x"


def test_a_variable_sets_a_key_that_the_document_lacks() -> None:
    assert parse(INMEMORY, {"REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED": "true"}).http.debug.prometheus.enabled


def test_a_value_is_read_as_yaml() -> None:
    read = parse(
        INMEMORY,
        {
            "REGISTRY_HTTP_HEADERS": "{X-Content-Type-Options: [nosniff], Via: [a, b]}",
            "REGISTRY_POLICY_REPOSITORY_CLASSES": "[image, plugin]",
            "REGISTRY_HTTP_DRAINTIMEOUT": "1m",
            "REGISTRY_STORAGE_DELETE": "{enabled: yes}",
        },
    )
    assert read.http.headers == {"X-Content-Type-Options": ("nosniff",), "Via": ("a", "b")}
    assert read.policy.repository.classes == ("image", "plugin")
    assert read.http.draintimeout == 60.0
    assert read.storage.delete.enabled


def test_an_empty_value_takes_the_key_away() -> None:
    text = f"{INMEMORY}http: {{host: 'https://a.example'}}\n"
    assert parse(text, {"REGISTRY_HTTP_HOST": ""}).http.host is None


def test_a_parent_is_applied_before_its_children() -> None:
    environ = {
        "REGISTRY_LOG_LEVEL": "debug",
        "REGISTRY_LOG": "{level: error, formatter: json}",
        "REGISTRY_LOG_ACCESSLOG_DISABLED": "true",
    }
    for order in (environ, dict(reversed(environ.items()))):
        log = parse(INMEMORY, order).log
        assert (log.level, log.formatter, log.accesslog.disabled) == ("debug", "json", True)


def test_a_scalar_replaces_the_storage_driver_and_all_that_went_with_it() -> None:
    text = f"{FILESYSTEM}  delete:\n    enabled: true\n"
    storage = parse(text, {"REGISTRY_STORAGE": "inmemory"}).storage
    assert storage.driver_name == "inmemory"
    assert not storage.delete.enabled


def test_a_driver_that_replaces_another_takes_its_parameters_from_the_environment() -> None:
    environ = {"REGISTRY_STORAGE": "filesystem", "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "/x"}
    storage = parse(INMEMORY, environ).storage
    assert (storage.driver_name, storage.driver_parameters["rootdirectory"]) == ("filesystem", "/x")


def test_a_parameter_of_another_driver_makes_two_drivers() -> None:
    assert (
        problem(INMEMORY, REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY="/x")
        == "storage: multiple storage drivers: inmemory, filesystem; name exactly one"
    )


def test_an_unknown_driver_in_the_environment_makes_two_drivers_as_well() -> None:
    assert "multiple storage drivers: filesystem, foo" in problem(FILESYSTEM, REGISTRY_STORAGE_FOO_BAR="1")


def test_a_misspelt_parameter_of_a_driver_is_an_error_and_no_silent_default() -> None:
    assert problem(FILESYSTEM, REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTRY="/x") == (
        "storage.filesystem.rootdirectry: unknown key, did you mean 'rootdirectory'?"
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("REGISTRY_HTTP_ADR", ", did you mean REGISTRY_HTTP_ADDR?"),
        ("REGISTRY_LOGS_LEVEL", ", did you mean REGISTRY_LOG_LEVEL?"),
        ("REGISTRY_PORT", ""),
        ("REGISTRY_PORT_5000_TCP_ADDR", ""),
        ("REGISTRY_SERVICE_HOST", ""),
        ("REGISTRY_HTTP_ADDR_DEEPER", ""),
        ("REGISTRY_HTTP__ADDR", ""),
        ("REGISTRY_", ""),
        ("REGISTRY_http_addr", ", did you mean REGISTRY_HTTP_ADDR?"),
        ("REGISTRY_VERSION", ""),
        ("REGISTRY_LOG_FIELDS_", ""),
    ],
)
def test_a_variable_that_names_nothing_is_a_warning(name: str, hint: str) -> None:
    read = parse(INMEMORY, {name: "tcp://10.0.0.1:5000"})
    assert read == parse(INMEMORY, {}).with_warnings(read.warnings)
    (warning,) = read.warnings
    assert warning == f"{name}: unknown environment variable, ignored{hint}"


def test_a_warning_does_not_show_the_value() -> None:
    assert "hush" not in " ".join(parse(INMEMORY, {"REGISTRY_HTTP_SECRT": "hush"}).warnings)


@pytest.mark.parametrize(
    "name", ["REGISTRY_CONFIGURATION_PATH", "PATH", "XREGISTRY_HTTP_ADDR", "REGISTRYHTTP"]
)
def test_variables_that_are_not_overrides_are_left_alone(name: str) -> None:
    assert parse(INMEMORY, {name: "/etc/docker/registry/config.yml"}).warnings == ()


PLATFORMS = (
    f"{INMEMORY}validation:\n  manifests:\n    indexes:\n      platforms: list\n"
    "      platformlist:\n      - {architecture: amd64, os: linux}\n"
)


def test_an_index_selects_an_item_of_a_list() -> None:
    read = parse(PLATFORMS, {"REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMLIST_0_ARCHITECTURE": "arm64"})
    (platform,) = read.validation.manifests.indexes.platformlist
    assert (platform.architecture, platform.os) == ("arm64", "linux")


def test_an_index_of_the_length_of_the_list_appends() -> None:
    prefix = "REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMLIST_1"
    read = parse(PLATFORMS, {f"{prefix}_ARCHITECTURE": "arm64", f"{prefix}_OS": "linux"})
    assert [each.architecture for each in read.validation.manifests.indexes.platformlist] == [
        "amd64",
        "arm64",
    ]


def test_an_index_past_the_end_is_an_error() -> None:
    name = "REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMLIST_2_OS"
    assert problem(PLATFORMS, **{name: "linux"}) == (
        f"validation.manifests.indexes.platformlist: {name}: the list holds 1, so the next index is 1, not 2"
    )


def test_a_word_where_an_index_belongs_is_an_error() -> None:
    assert problem(INMEMORY, REGISTRY_POLICY_REPOSITORY_CLASSES_FIRST="image") == (
        "policy.repository.classes: REGISTRY_POLICY_REPOSITORY_CLASSES_FIRST: not an index of a list: 'FIRST'"
    )


def test_a_list_grows_from_nothing_past_ten_items() -> None:
    environ = {f"REGISTRY_POLICY_REPOSITORY_CLASSES_{index}": f"class{index}" for index in range(12)}
    read = parse(INMEMORY, environ)
    assert read.policy.repository.classes == tuple(f"class{index}" for index in range(12))


def test_an_index_turns_a_scalar_into_a_list() -> None:
    text = f"{INMEMORY}services: {{blob: {{addr: 'unix:///a'}}}}\n"
    read = parse(text, {"REGISTRY_SERVICES_BLOB_ADDR_1": "unix:///b"})
    assert read.services.blob.addr == ("unix:///a", "unix:///b")


def test_a_map_with_free_keys_matches_them_in_any_case_and_takes_new_ones() -> None:
    text = f"{INMEMORY}http: {{headers: {{X-Frame-Options: [DENY]}}}}\nlog: {{fields: {{Service: a}}}}\n"
    read = parse(
        text,
        {
            "REGISTRY_HTTP_HEADERS_X-FRAME-OPTIONS": "[SAMEORIGIN]",
            "REGISTRY_HTTP_HEADERS_VIA_0": "moorage",
            "REGISTRY_LOG_FIELDS_SERVICE": "b",
            "REGISTRY_LOG_FIELDS_TIER": "7",
            "REGISTRY_LOG_FIELDS_OWNER_TEAM": "infra",
        },
    )
    assert read.http.headers == {"X-Frame-Options": ("SAMEORIGIN",), "via": ("moorage",)}
    assert read.log.fields == {"Service": "b", "tier": 7, "owner": {"team": "infra"}}
    assert read.warnings == ()


def test_distribution_s_own_names_for_the_health_checks_and_events_work() -> None:
    read = parse(
        INMEMORY,
        {
            "REGISTRY_HEALTH_FILECHECKERS_0_FILE": "/run/out-of-rotation",
            "REGISTRY_HEALTH_TCPCHECKERS_0_ADDR": "db.example:6379",
            "REGISTRY_HEALTH_HTTP_0_URI": "http://up.example/",
            "REGISTRY_NOTIFICATIONS_EVENTCONFIG_INCLUDEREFERENCES": "true",
        },
    )
    assert read.health.file[0].file == "/run/out-of-rotation"
    assert read.health.tcp[0].addr == "db.example:6379"
    assert read.health.http[0].uri == "http://up.example/"
    assert read.notifications.events.includereferences


def test_a_wrong_value_is_refused_under_the_key_that_it_stands_for() -> None:
    assert problem(INMEMORY, REGISTRY_HTTP_DRAINTIMEOUT="soon") == (
        "http.draintimeout: not a duration: 'soon'"
    )


def test_a_value_that_is_not_yaml_names_the_key_and_the_variable() -> None:
    assert problem(INMEMORY, REGISTRY_HTTP_HEADERS="{X: [").startswith(
        "http.headers: REGISTRY_HTTP_HEADERS: not YAML: "
    )


def test_a_section_that_is_no_map_is_refused_even_when_a_variable_reaches_into_it() -> None:
    environ = {"REGISTRY_HTTP": "word", "REGISTRY_HTTP_ADDR": ":5000"}
    with pytest.raises(ConfigurationError, match=r"^http: must be a map, not 'word'$"):
        parse(INMEMORY, environ)


@pytest.mark.parametrize(
    "environ",
    [
        {"REGISTRY_AUTH": "htpasswd", "REGISTRY_AUTH_HTPASSWD_PATH": "/etc/htpasswd"},
        {"REGISTRY_AUTH_HTPASSWD": ""},
        {"REGISTRY_AUTH_TOKEN_RELM": "https://auth.example"},
        {"REGISTRY_AUTH_HTPASSWD_REALM": "here"},
        {"REGISTRY_AUTH_TOKEN_REALM": "https://auth.example"},
        {"REGISTRY_AUTH_TOKN_REALM": "https://auth.example"},
        {"REGISTRY_AUTH": "{silly: {realm: a}}"},
        {"REGISTRY_AUTH": ""},
    ],
)
def test_no_variable_about_access_control_leaves_an_open_registry(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(INMEMORY, environ)
    assert caught.value.key.startswith("auth")


# Scalar keys, each with values that are valid under it and what the model then holds.
SCALARS: dict[str, Any] = {
    "log.level": st.sampled_from(["error", "warn", "info", "debug"]),
    "log.formatter": st.sampled_from(["text", "json", "logstash"]),
    "log.accesslog.disabled": st.booleans(),
    "storage.filesystem.rootdirectory": st.from_regex(r"/[a-z0-9._/-]{1,20}", fullmatch=True),
    "storage.filesystem.maxthreads": st.integers(25, 10_000),
    "storage.filesystem.directio": st.booleans(),
    "storage.delete.enabled": st.booleans(),
    "storage.maintenance.readonly.enabled": st.booleans(),
    "storage.cache.blobdescriptorsize": st.integers(-10, 10**9),
    "storage.tag.concurrencylimit": st.integers(0, 512),
    "http.addr": st.integers(0, 65535).map(lambda port: f"127.0.0.1:{port}"),
    "http.relativeurls": st.booleans(),
    "http.prefix": st.from_regex(r"/([a-z0-9]{1,8}/){0,3}", fullmatch=True),
    "http.limits.uploadsize": st.integers(0, 2**50),
    "health.storagedriver.threshold": st.integers(0, 100),
    "validation.disabled": st.booleans(),
    "catalog.maxentries": st.integers(1, 10**6),
    "tags.maxtags": st.integers(1, 10**6),
    "services.insecure": st.booleans(),
    "services.metadata.addr": st.from_regex(r"unix:///[a-z0-9/]{1,30}", fullmatch=True),
}


@given(st.data())
def test_a_variable_says_what_the_same_key_in_the_document_says(data: st.DataObject) -> None:
    keys = data.draw(st.lists(st.sampled_from(sorted(SCALARS)), min_size=1, max_size=6, unique=True))
    values = {key: data.draw(SCALARS[key]) for key in keys}
    document: dict[str, Any] = {"version": "0.1", "storage": {"filesystem": {}}}
    for key, value in values.items():
        *parents, last = key.split(".")
        functools.reduce(lambda node, step: node.setdefault(step, {}), parents, document)[last] = value
    environ = {
        "REGISTRY_" + key.upper().replace(".", "_"): yaml.safe_dump(value) for key, value in values.items()
    }

    from_document = parse(yaml.safe_dump(document), {})
    from_environment = parse("version: 0.1\nstorage: filesystem\n", environ)

    assert from_environment == from_document
    for key, value in values.items():
        assert operator.attrgetter(key)(from_environment) == value


@given(
    name=st.lists(
        st.sampled_from([*"ABC01", "HTTP", "ADDR", "STORAGE", "LOG", "AUTH", "TLS", ""]), max_size=5
    ).map(lambda parts: "_".join(["REGISTRY", *parts])),
    value=st.text(max_size=20),
)
def test_any_variable_is_applied_or_warned_of_or_refused_in_one_line(name: str, value: str) -> None:
    try:
        sentences = parse(INMEMORY, {name: value}).warnings
    except ConfigurationError as error:
        sentences = tuple(str(problem) for problem in error.problems)
    assert all("\n" not in sentence for sentence in sentences)
