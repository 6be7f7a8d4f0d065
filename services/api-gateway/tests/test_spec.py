"""What is generated from the descriptor table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from api_gateway import spec
from api_gateway.descriptors import TABLE
from api_gateway.descriptors.model import Route
from api_gateway.error_notes import NOT_ANSWERED, NOTES
from api_gateway.openapi import openapi_document
from moorage.errors import ErrorCode

PAGE = Path(__file__).parents[3] / "docs/spec/api.md"


def test_the_reference_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == spec.page(TABLE)


def test_the_check_fails_on_a_page_that_is_missing_or_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "spec/api.md"
    assert spec.main(["--check", str(page)]) == 1
    assert spec.main([str(page)]) == 0
    assert spec.main(["--check", str(page)]) == 0
    page.write_text(page.read_text() + "\n")
    assert spec.main(["--check", str(page)]) == 1
    assert "not up to date" in capsys.readouterr().err


def test_the_page_names_every_error_code_and_says_which_are_never_answered() -> None:
    page = spec.page(TABLE)
    assert set(NOTES) == set(ErrorCode)
    for code in ErrorCode:
        marked = f"| `{code.name}` | {code.http_status} | *Not answered by this version.*" in page
        assert f"| `{code.name}` | {code.http_status} |" in page
        assert marked == (code in NOT_ANSWERED)


def test_every_documented_code_can_be_answered() -> None:
    documented = {code for route in TABLE for _, _, _, code in route.documented() if code}
    answered_anywhere = {ErrorCode.UNKNOWN, ErrorCode.TOOMANYREQUESTS}
    assert documented == {code.name for code in set(ErrorCode) - NOT_ANSWERED - answered_anywhere}


@pytest.mark.parametrize("route", TABLE, ids=lambda route: route.name)
def test_a_routes_path_names_its_parameters(route: Route) -> None:
    assert re.findall(r"\{(\w+)\}", route.path) == [parameter.name for parameter in route.parameters]


PATHS = {
    "/v2/": ("base", {}),
    "/v2/a/tags/list": ("tags", {"name": "a"}),
    "/v2/a/tags/tags/list": ("tags", {"name": "a/tags"}),
    "/v2//tags/list": ("tags", {"name": ""}),
    "/v2/../etc/tags/list": ("tags", {"name": "../etc"}),
    "/v2/a\nb/tags/list": ("tags", {"name": "a\nb"}),
    "/v2/a/b/manifests/v1": ("manifest", {"name": "a/b", "reference": "v1"}),
    "/v2/a/manifests/manifests/v1": ("manifest", {"name": "a/manifests", "reference": "v1"}),
    "/v2/a/blobs/sha256:x": ("blob", {"name": "a", "digest": "sha256:x"}),
    "/v2/a/blobs/uploads/": ("blob-upload", {"name": "a"}),
    "/v2/a/blobs/uploads/x": ("blob-upload-chunk", {"name": "a", "uuid": "x"}),
    "/v2/blobs/uploads/blobs/uploads/": ("blob-upload", {"name": "blobs/uploads"}),
    "/v2/_catalog": ("catalog", {}),
    "/v2/a/referrers/sha256:x": ("referrers", {"name": "a", "digest": "sha256:x"}),
    "/v2": None,
    "/v2/a/blobs/uploads": None,
    "/v2/tags/list": None,
    "/v2/a/manifests/b/c": None,
    "/v2/a/tags/list/": None,
    "/v2/_catalog\n": None,
    "/v1/": None,
}


@pytest.mark.parametrize("path", PATHS)
def test_a_path_belongs_to_at_most_one_route(path: str) -> None:
    matches = {route.name: match for route in TABLE if (match := route.pattern("/").fullmatch(path))}
    expected = PATHS[path]
    if expected is None:
        assert not matches
    else:
        assert {name: match.groupdict() for name, match in matches.items()} == dict([expected])


def test_a_prefix_stands_before_every_path() -> None:
    pattern = next(route for route in TABLE if route.name == "tags").pattern("/registry/")
    assert pattern.fullmatch("/registry/v2/a/tags/list")
    assert not pattern.fullmatch("/v2/a/tags/list")


def test_openapi_describes_every_method_and_status_of_the_table() -> None:
    paths = openapi_document(TABLE, title="t", version="1")["paths"]
    described = {
        (path, method.upper(), int(status))
        for path, item in paths.items()
        for method, operation in item.items()
        if isinstance(operation, dict)
        for status in operation["responses"]
    }
    documented = {
        (route.path, method, status) for route in TABLE for _, method, status, _ in route.documented()
    }
    assert described == documented
