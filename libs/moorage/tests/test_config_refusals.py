"""What this version does not support stops the start; nothing of it is ignored."""

from __future__ import annotations

import pytest
import yaml

from moorage.config import ConfigurationError, parse
from moorage.config.refusals import UNSUPPORTED

# For each row of the table, a document that asks for it.
ASKED = {
    "storage.azure": "storage: {azure: {accountname: a}}",
    "storage.gcs": "storage: {gcs: {bucket: a}}",
    "storage.swift": "storage: {swift: }",
    "storage.oss": "storage: {oss: {bucket: a}}",
    "http.tls.letsencrypt": "http: {tls: {letsencrypt: {email: a@example.org, cachefile: /c}}}",
    "http.h2c.enabled": "http: {h2c: {enabled: true}}",
    "middleware.registry": "middleware: {registry: [{name: a, disabled: true}, {name: ldap}]}",
    "middleware.repository": "middleware: {repository: [{name: audit, options: {key: value}}]}",
    "proxy": "proxy: {remoteurl: 'https://registry-1.docker.io'}",
    "redis.readonly": "redis: {addrs: ['redis:6379'], readonly: true}",
    "redis.routebylatency": "redis: {routebylatency: true}",
    "redis.routerandomly": "redis: {routerandomly: true}",
    "reporting": "reporting: {bugsnag: {apikey: key}}",
    "compatibility.schema1.enabled": "compatibility: {schema1: {enabled: true}}",
}


def document(section: str) -> str:
    base = "version: 0.1\n"
    return f"{base}{section}\n" if section.startswith("storage") else f"{base}storage: inmemory\n{section}\n"


@pytest.mark.parametrize("key", sorted(UNSUPPORTED))
def test_what_is_not_supported_is_refused_by_its_key(key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(document(ASKED[key]), {})
    assert str(caught.value) == f"{key}: {UNSUPPORTED[key].sentence}"
    assert "not supported" in UNSUPPORTED[key].sentence
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    "section",
    [
        "auth: none",
        "auth: {none: }",
        "auth: {none: {}}",
        "http: {tls: }",
        "http: {tls: {letsencrypt: {email: '', hosts: []}, clientcas: []}}",
        "http: {h2c: {enabled: false}, http2: {disabled: true}}",
        "log: {hooks: [{type: mail, disabled: true, levels: [panic], options: {smtp: {addr: 'a:25'}}}]}",
        "middleware: {storage: [{name: cloudfront, disabled: true, options: {baseurl: a}}], registry: []}",
        "notifications: {endpoints: [{name: a, url: 'https://a.example/', disabled: true, timeout: 1s}]}",
        "notifications: {events: {includereferences: true}, endpoints: []}",
        "proxy: {remoteurl: '', username: ''}",
        "reporting: {bugsnag: {}, newrelic: {verbose: false}}",
        "compatibility: {schema1: {enabled: false, signingkeyfile: /key.json}}",
        "services: {tls: {}}",
        "storage: {inmemory: , cache: {blobdescriptor: inmemory}, redirect: {disable: true}}",
    ],
)
def test_what_asks_for_nothing_is_accepted(section: str) -> None:
    read = parse(document(section), {})
    assert read.warnings == ()
    assert read.auth.kind == "none"


@pytest.mark.parametrize("algorithm", ["none", "None", "hs256", "RS255", ""])
def test_no_other_algorithm_can_be_asked_for(algorithm: str) -> None:
    section = (
        "auth: {token: {realm: 'https://a.example/', service: b, issuer: c, jwks: /x, "
        f"signingalgorithms: [RS256, '{algorithm}']}}}}"
    )
    with pytest.raises(
        ConfigurationError, match=r"^auth\.token\.signingalgorithms\[1\]: must be one of EdDSA, "
    ):
        parse(document(section), {})


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("auth: {silly: {realm: a, service: b}}", "silly"),
        ("auth: {htpasswd: {realm: Registry Realm, path: /etc/htpasswd}}", "htpasswd"),
        ("auth: {token: {realm: 'https://a.example/t', service: b, issuer: c, rootcertbundle: /x}}", "token"),
        ("auth: {token: {realm: x, service: b, issuer: c, jwks: /x, autoredirect: true}}", "token"),
    ],
)
def test_a_whole_section_is_the_kind_that_it_names(section: str, kind: str) -> None:
    assert parse(document(section), {}).auth.kind == kind


NO_KIND = "auth: names no kind of access control; remove the key, or write 'auth: none', for an open registry"


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        (
            "auth:",
            NO_KIND,
        ),
        (
            "auth: {}",
            NO_KIND,
        ),
        ("auth: {tokn: {realm: a}}", "auth.tokn: unknown key, did you mean 'token'?"),
        ("auth: {htpasswd: }", "auth.htpasswd.realm: is required"),
        ("auth: {silly: {realm: a}}", "auth.silly.service: is required"),
        ("auth: {token: }", "auth.token.realm: is required"),
        ("auth: htpasswd", "auth.htpasswd.realm: is required"),
        ("auth: {htpasswd: {realm: a, pth: /x}}", "auth.htpasswd.path: is required"),
        ("auth: {htpasswd: {realm: a, path: }}", "auth.htpasswd.path: is required"),
        ("auth: {htpasswd: {realm: a, path: ''}}", "auth.htpasswd.path: must not be empty"),
        ("auth: {htpasswd: {realm: '', path: /x}}", "auth.htpasswd.realm: must not be empty"),
        (
            'auth: {htpasswd: {realm: "a\\r\\nX-Evil: 1", path: /x}}',
            "auth.htpasswd.realm: holds characters that a header cannot have",
        ),
        ("auth: {htpasswd: [x]}", "auth.htpasswd: must be a map, not a list"),
        (
            "auth: {token: {realm: 'https://a.example/', service: b, issuer: c}}",
            "auth.token: needs the keys that tokens are signed with: set rootcertbundle, or jwks, or both",
        ),
        (
            "auth: {token: {realm: somewhere, service: b, issuer: c, jwks: /x}}",
            "auth.token: 'realm' must be the URL of the token server, http or https, not 'somewhere'",
        ),
        (
            "auth: {token: {realm: 'https://a.example/', service: b, issuer: c, jwks: /x, "
            "signingalgorithms: []}}",
            "auth.token: 'signingalgorithms' must name an algorithm, or be left out for all of them",
        ),
        (
            "auth: {token: {realm: x, service: b, issuer: c, jwks: /x, autoredirect: true, "
            "autoredirectpath: t}}",
            "auth.token.autoredirectpath: must be the path of a URL: 't'",
        ),
        ("auth: ldap", "auth.ldap: unknown key"),
        ("auth: false", "auth.false: unknown key"),
        ("auth: [token]", "auth: must be a map, not a list"),
        ("auth: {none: , token: }", "auth: several kinds of access control: none, token; name exactly one"),
        ("aut: {token: {realm: a}}", "aut: unknown key, did you mean 'auth'?"),
    ],
)
def test_no_mistake_about_access_control_leaves_an_open_registry(section: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(document(section), {})
    assert str(caught.value) == sentence


def test_the_values_of_a_refused_section_are_not_complained_about_as_well() -> None:
    text = document("proxy: {remoteurl: 'https://a.example', ttl: soon, xyzzy: 1}")
    with pytest.raises(ConfigurationError) as caught:
        parse(text, {})
    assert [problem.key for problem in caught.value.problems] == ["proxy"]


def test_a_misspelt_key_in_a_section_that_asks_for_nothing_is_found() -> None:
    with pytest.raises(
        ConfigurationError, match=r"^http\.tls\.certficate: unknown key, did you mean 'certificate'"
    ):
        parse(document("http: {tls: {certficate: /etc/cert.pem}}"), {})


def test_a_refused_secret_is_not_shown() -> None:
    text = document(
        "proxy: {remoteurl: 'https://a.example', password: hush}\nreporting: {newrelic: {licensekey: hush}}"
    )
    with pytest.raises(ConfigurationError) as caught:
        parse(text, {})
    assert "hush" not in " ".join(str(problem) for problem in caught.value.problems)


def test_every_example_is_yaml_of_its_own_key() -> None:
    for key, section in ASKED.items():
        assert key.split(".")[0] in yaml.safe_load(section)
    assert ASKED.keys() == UNSUPPORTED.keys()
