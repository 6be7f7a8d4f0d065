"""How the YAML text is read before its keys have a meaning."""

from __future__ import annotations

import pytest

from moorage.config import ConfigurationError, parse

BASE = "version: 0.1\nstorage: inmemory\n"


def problem(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, {})
    return str(caught.value)


@pytest.mark.parametrize("version", ["0.1", "'0.1'", '"0.1"'])
def test_the_version_may_be_a_number_or_a_text(version: str) -> None:
    assert parse(f"version: {version}\nstorage: inmemory\n", {}).version == "0.1"


@pytest.mark.parametrize("version", ["0.2", "0.10", "1", "'0.1.0'", "[0.1]", "true"])
def test_another_version_is_refused(version: str) -> None:
    assert problem(f"version: {version}\nstorage: inmemory\n").startswith("version: unsupported version")


@pytest.mark.parametrize("text", ["storage: inmemory\n", "version:\nstorage: inmemory\n"])
def test_the_version_must_be_there(text: str) -> None:
    assert problem(text) == "version: is required"


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "---\n"])
def test_an_empty_document_lacks_its_version_and_storage(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, {})
    assert [str(each) for each in caught.value.problems] == ["version: is required", "storage: is required"]


@pytest.mark.parametrize("text", ["[]", "word", "0.1"])
def test_a_document_that_is_no_map_is_refused(text: str) -> None:
    assert problem(text) == "configuration: not a configuration: the document must be a map of keys"


def test_text_that_is_not_yaml_is_refused_with_its_place() -> None:
    assert problem("version: 0.1\nstorage: [inmemory\nhttp: {}\n").startswith("configuration: not YAML: ")
    assert problem("version: 0.1\nhttp: a: b\n").endswith("in line 2, column 8")


def test_a_key_that_stands_twice_is_refused() -> None:
    text = "version: 0.1\nstorage: inmemory\nauth:\n  token: {}\nauth: none\n"
    assert problem(text) == "configuration: the key 'auth' stands twice in one map (in line 5)"


def test_a_merged_map_may_hold_a_key_that_is_overridden() -> None:
    text = (
        "version: 0.1\nstorage: inmemory\nlog:\n  fields: &common {service: a, tier: b}\n"
        "http:\n  headers:\n    <<: *common\n    tier: c\n"
    )
    assert parse(text, {}).http.headers == {"service": ("a",), "tier": ("c",)}


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]",
        "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n"
        "d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e]",
        "a: " + "[" * 200 + "]" * 200,
    ],
    ids=["it holds itself", "it grows without end", "it is too deep"],
)
def test_a_text_that_stands_for_too_much_is_refused(text: str) -> None:
    assert problem(text).startswith("configuration: not ")


def test_a_text_beyond_yaml_s_depth_is_refused() -> None:
    assert problem("a: " + "[" * 5000).startswith("configuration: not YAML")


@pytest.mark.parametrize("text", ["a: !!python/object:os.system {}", "a: \x00", "1: {[a]: b}"])
def test_yaml_that_reaches_beyond_plain_data_is_refused(text: str) -> None:
    assert problem(text).startswith("configuration: not ")


@pytest.mark.parametrize(
    ("written", "read"),
    [("0123", "0123"), ("1_000", "1_000"), ("yes", "yes"), ("1.50", "1.50"), ("2015-04-16", "2015-04-16")],
)
def test_text_that_looks_like_a_number_keeps_its_letters(written: str, read: str) -> None:
    secret = parse(f"{BASE}http: {{secret: {written}}}\n", {}).http.secret
    assert secret is not None
    assert secret.get_secret_value() == read


def test_two_numbers_with_a_colon_are_text_and_not_base_60() -> None:
    assert parse(f"{BASE}log: {{fields: {{at: 20:30}}}}\n", {}).log.fields == {"at": "20:30"}


def test_a_free_form_value_is_what_yaml_makes_of_it() -> None:
    fields = parse(
        f"{BASE}log: {{fields: {{a: 1, b: yes, c: '1', d: [1.5], e: {{f: off}}}}}}\n", {}
    ).log.fields
    assert fields == {"a": 1, "b": True, "c": "1", "d": [1.5], "e": {"f": False}}


@pytest.mark.parametrize("nothing", ["", "~", "null"])
def test_a_key_with_nothing_after_it_keeps_its_default(nothing: str) -> None:
    given = parse(f"{BASE}log: {nothing}\nhttp:\n  addr: {nothing}\n  debug: {nothing}\n", {})
    assert given == parse(BASE, {})


@pytest.mark.parametrize(
    "value", ["!hush", "*hush", "'hush", "{hush", "[hush, ", "hush: hush", "%hush", "!hu'sh", '!h"ush']
)
def test_no_sentence_about_bad_yaml_quotes_a_secret(value: str) -> None:
    for attempt in (
        lambda: parse(f"{BASE}http:\n  secret: {value}\n", {}),
        lambda: parse(BASE, {"REGISTRY_HTTP_SECRET": value}),
    ):
        with pytest.raises(ConfigurationError) as caught:
            attempt()
        sentence = str(caught.value)
        assert "ush" not in sentence.replace("REGISTRY_HTTP_SECRET", "")
        assert "\n" not in sentence
