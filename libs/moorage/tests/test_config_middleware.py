"""`middleware`: the kinds that are known, and their options."""

from __future__ import annotations

import pytest

from moorage.config import Configuration, ConfigurationError, parse
from moorage.config.middleware import CloudFront, RedirectTo, Rewrite

WHOLE = "baseurl: d111.cloudfront.example, privatekey: /etc/key.pem, keypairid: 0123"


def configured(entries: str, environ: dict[str, str] | None = None) -> Configuration:
    return parse(f"version: 0.1\nstorage: inmemory\nmiddleware: {{storage: [{entries}]}}\n", environ or {})


def cloudfront(options: str = "") -> CloudFront:
    settings = (
        configured(f"{{name: cloudfront, options: {{{WHOLE}{options}}}}}").middleware.storage[0].settings
    )
    assert isinstance(settings, CloudFront)
    return settings


def problems(entries: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        configured(entries)
    return [str(problem) for problem in caught.value.problems]


def test_cloudfront_has_the_defaults_of_distribution() -> None:
    settings = cloudfront()
    assert settings.baseurl == "https://d111.cloudfront.example"
    assert settings.keypairid == "0123"
    assert (settings.duration, settings.update_seconds) == (20 * 60, 12 * 3600)
    assert settings.ipfilteredby == "none"
    assert settings.iprangesurl == "https://ip-ranges.amazonaws.com/ip-ranges.json"


def test_cloudfront_reads_distributions_two_spellings_and_its_list_of_regions() -> None:
    settings = cloudfront(
        ", ipfilteredby: ' AWSRegion', awsregion: 'us-east-1, EU-west-2,', updatefrenquency: 1h"
    )
    assert settings.ipfilteredby == "awsregion"
    assert settings.regions == {"us-east-1", "eu-west-2"}
    assert settings.update_seconds == 3600
    assert cloudfront(", updatefrequency: 2h").update_seconds == 7200
    assert cloudfront(", ipfilteredby: ''").ipfilteredby == "none"


def test_a_duration_without_a_unit_is_the_default_as_in_distribution_and_said() -> None:
    read = configured(f"{{name: cloudfront, options: {{{WHOLE}, duration: 3000}}}}")
    assert read.middleware.storage[0].settings == cloudfront()
    assert read.warnings == ("middleware.storage: cloudfront: duration: 3000 has no unit; 20m is used",)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (", duration: soon", "options.duration: not a duration: 'soon'"),
        (", duration: 0s", "options: 'duration' and 'updatefrequency' must be more than nothing"),
        (", ipfilteredby: gcp", "options.ipfilteredby: must be one of none, aws, awsregion, not 'gcp'"),
        (
            ", ipfilteredby: awsregion",
            "options: 'ipfilteredby: awsregion' needs 'awsregion', a list of regions with commas",
        ),
        (", region: us-east-1", "options.region: unknown key"),
        (
            ", iprangesurl: 'file:///etc/passwd'",
            "options.iprangesurl: not an absolute http or https URL: 'file:///etc/passwd'",
        ),
    ],
)
def test_a_wrong_option_of_cloudfront_is_found_by_its_key(options: str, problem: str) -> None:
    entry = f"{{name: cloudfront, options: {{{WHOLE}{options}}}}}"
    assert problems(entry) == [f"middleware.storage[0].{problem}"]


def test_a_key_pair_id_that_would_change_the_url_is_refused() -> None:
    found = problems(f"{{name: cloudfront, options: {{{WHOLE.replace('0123', 'a&b=c')}}}}}")
    assert found == ["middleware.storage[0].options.keypairid: must be letters and digits"]


def test_what_a_kind_needs_is_asked_for_also_when_it_has_no_options_at_all() -> None:
    assert problems("{name: redirect}, {name: cloudfront, options: {baseurl: [a]}}") == [
        "middleware.storage[0].options.baseurl: is required",
        "middleware.storage[1].options.privatekey: is required",
        "middleware.storage[1].options.keypairid: is required",
        "middleware.storage[1].options.baseurl: must be text, not a list",
    ]


@pytest.mark.parametrize(
    ("name", "hint"), [("cloudfrnt", "; did you mean 'cloudfront'?"), ("akamai-secure-edge", "")]
)
def test_an_unknown_kind_refuses_to_start_and_the_known_ones_are_named(name: str, hint: str) -> None:
    assert problems(f"{{name: {name}}}") == [
        f"middleware.storage[0].name: unknown storage middleware '{name}'; known are cloudfront, redirect, "
        f"rewrite{hint}"
    ]


def test_a_disabled_entry_may_be_anything() -> None:
    read = configured("{name: akamai, disabled: true, options: {a: b}}, {name: redirect, disabled: true}")
    assert [entry.disabled for entry in read.middleware.storage] == [True, True]
    assert read.warnings == ()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("cdn.example", "not an absolute http or https URL: 'cdn.example'"),
        ("https://cdn.example/?a=b", "must have no user, no query and no fragment"),
        ("https://user:hush@cdn.example", "must have no user, no query and no fragment"),
    ],
)
def test_a_redirect_needs_a_plain_url(url: str, problem: str) -> None:
    found = problems(f"{{name: redirect, options: {{baseurl: '{url}'}}}}")
    assert found == [f"middleware.storage[0].options.baseurl: {problem}"]


@pytest.mark.parametrize("host", ["a b", "a/b", "user@a", "a:b", ""])
def test_a_rewrite_to_what_is_no_host_is_refused(host: str) -> None:
    found = problems(f"{{name: rewrite, options: {{host: '{host}'}}}}")
    assert found == [f"middleware.storage[0].options.host: not a host: '{host}'"]


def test_the_order_of_the_entries_is_kept_and_the_environment_reaches_options() -> None:
    entries = "{name: redirect}, {name: rewrite, options: {scheme: HTTP, host: '[::1]:8080'}}"
    read = configured(entries, {"REGISTRY_MIDDLEWARE_STORAGE_0_OPTIONS_BASEURL": "https://cdn.example/v2"})
    assert [entry.settings for entry in read.middleware.storage] == [
        RedirectTo(baseurl="https://cdn.example/v2"),
        Rewrite(scheme="http", host="[::1]:8080"),
    ]
