"""Whatever a client sends, the answer is no failure of the server's, and nothing leaves the storage root.

Each property is tried on the real stack: the answer has a known code in a valid envelope, or is a success,
and the tree under the storage root has only paths of the layout.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import string
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api_gateway.state import StateSigner, UploadState
from moorage.errors import ErrorCode
from moorage.reference import NAME_PATTERN, TAG_PATTERN

SETTINGS = settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

CODES = {code.name for code in ErrorCode}
UPLOAD = "00000000-0000-4000-8000-000000000000"

# Every path that the layout can have below the root.
LAYOUT = re.compile(
    r"docker(/registry(/v2(/blobs(/sha256(/[0-9a-f]{2}(/[0-9a-f]{64}(/data)?)?)?)?"
    rf"|/repositories(/{NAME_PATTERN})?"
    r"|/repositories/[a-z0-9/._-]+/_(layers|manifests|uploads)(/[A-Za-z0-9_.:-]+)*)?)?)?",
    re.ASCII,
)

names = st.one_of(
    st.from_regex(NAME_PATTERN, fullmatch=True).filter(lambda name: len(name) < 300),
    st.text(max_size=40),
    st.text(alphabet="ab./_-~A%\x00\n", max_size=30),
    st.sampled_from(
        ["..", ".", "a/../b", "a//b", "_uploads", "a/_manifests/b", "\ud7ff", "a" * 256, "-a", "a-"]
    ),
)
tags = st.one_of(
    st.from_regex(TAG_PATTERN, fullmatch=True), st.text(max_size=40), st.sampled_from(["..", "-x", "x" * 129])
)
digests = st.one_of(
    st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True),
    st.from_regex(r"sha512:[0-9a-f]{128}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9+._-]{0,10}:[0-9a-fA-F./]{0,70}", fullmatch=True),
    st.text(max_size=80),
)
numbers = st.one_of(st.integers(-(2**70), 2**70).map(str), st.text(max_size=20), st.just("9" * 5000))
# What an HTTP client can put into a header: its library trims and refuses the rest.
header_values = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=60
).map(str.strip)
ranges = st.one_of(
    header_values,
    st.builds("bytes={}-{}".format, st.integers(-1, 2**70), st.one_of(st.just(""), st.integers(-1, 2**70))),
    st.lists(st.builds("{}-{}".format, st.integers(0, 20), st.integers(0, 20)), max_size=70).map(
        lambda parts: "bytes=" + ",".join(parts)
    ),
)
content_ranges = st.one_of(
    header_values, st.builds("{}-{}".format, st.integers(-1, 2**70), st.integers(-1, 2**70))
)


def segment(text: str) -> str:
    """A text as one segment of a path, or several where it has slashes."""
    return quote(text.encode("utf-8", "surrogatepass"), safe="/" + string.ascii_letters)


class Answer:
    """An answer, read by a client that sends paths and headers as they are."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status_code = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.content = response.read()


def ask(
    registry: Any, method: str, path: str, *, headers: dict[str, str] | None = None, content: bytes = b""
) -> Answer:
    """Ask, and check what holds for every answer."""
    with contextlib.closing(http.client.HTTPConnection(registry.host, timeout=20)) as connection:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value.encode("latin-1"))
        if content:
            connection.putheader("Content-Length", str(len(content)))
        connection.endheaders(content)
        answer = Answer(connection.getresponse())
    assert answer.status_code < 500, answer.content
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"
    if answer.status_code >= 400 and method != "HEAD" and answer.status_code != 412:
        assert answer.headers["content-type"] == "application/json"
        errors = json.loads(answer.content)["errors"]
        assert errors
        assert {error["code"] for error in errors} <= CODES
        assert all(isinstance(error["message"], str) and error["message"] for error in errors)
    return answer


@pytest.fixture(autouse=True)
def nothing_outside_the_layout(registry):
    parent = registry.root.parent
    yield
    assert {path.name for path in parent.iterdir()} <= {registry.root.name}
    strange = {path for path in registry.stored_paths() if not LAYOUT.fullmatch(path)}
    assert not strange


@SETTINGS
@given(
    names,
    st.sampled_from(["tags/list", "blobs/uploads/", "manifests/x"]),
    st.sampled_from(["GET", "POST", "PUT"]),
)
def test_any_name(registry, name: str, rest: str, method: str) -> None:
    answer = ask(registry, method, f"/v2/{segment(name)}/{rest}")
    if answer.status_code in (200, 202):
        assert re.fullmatch(NAME_PATTERN, name)


@SETTINGS
@given(tags, st.sampled_from(["GET", "HEAD", "PUT", "DELETE"]))
def test_any_tag(registry, tag: str, method: str) -> None:
    ask(registry, method, f"/v2/properties/tags/manifests/{segment(tag)}")


@SETTINGS
@given(
    digests,
    st.sampled_from(["blobs", "manifests", "referrers"]),
    st.sampled_from(["GET", "HEAD", "PUT", "DELETE"]),
)
def test_any_digest(registry, digest: str, kind: str, method: str) -> None:
    ask(registry, method, f"/v2/properties/digests/{kind}/{segment(digest)}")


@SETTINGS
@given(digests, st.one_of(names, st.none()), st.sampled_from(["digest", "mount", "digest-algorithm"]))
def test_any_parameter_of_a_new_upload(registry, digest: str, source: str | None, parameter: str) -> None:
    query = f"{parameter}={quote(digest)}" + ("" if source is None else f"&from={segment(source)}")
    ask(registry, "POST", f"/v2/properties/post/blobs/uploads/?{query}")


@SETTINGS
@given(numbers, st.text(max_size=60), st.sampled_from(["_catalog", "properties/x/tags/list"]))
def test_any_page(registry, n: str, last: str, path: str) -> None:
    query = (
        f"n={quote(n.encode('utf-8', 'surrogatepass'))}&last={quote(last.encode('utf-8', 'surrogatepass'))}"
    )
    ask(registry, "GET", f"/v2/{path}?{query}")


@SETTINGS
@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=80))
def test_any_query_string(registry, query: str) -> None:
    escaped = quote(query, safe="%&=+;/?:@!$'()*,-._~")
    ask(registry, "GET", f"/v2/_catalog?{escaped}")
    ask(registry, "POST", f"/v2/properties/query/blobs/uploads/?{escaped}")


@SETTINGS
@given(ranges, header_values, st.sampled_from(["GET", "HEAD"]))
def test_any_range(registry, asked: str, condition: str, method: str) -> None:
    digest = registry.push_blob("properties/ranges", b"ten bytes.")
    path = f"/v2/properties/ranges/blobs/{digest}"
    answer = ask(registry, method, path, headers={"Range": asked, "If-Range": condition})
    assert answer.status_code in (200, 206, 416)
    answer = ask(registry, method, path, headers={"Range": asked})
    if answer.status_code == 206 and method == "GET" and "content-range" in answer.headers:
        first, last = map(int, re.findall(r"\d+", answer.headers["content-range"])[:2])
        assert answer.content == b"ten bytes."[first : last + 1]


@SETTINGS
@given(header_values, header_values, header_values)
def test_any_condition_and_any_accept(registry, accept: str, none_match: str, match: str) -> None:
    digest = registry.push_blob("properties/conditions", b"content")
    headers = {"If-None-Match": none_match, "If-Match": match, "Accept": accept}
    ask(registry, "GET", f"/v2/properties/conditions/blobs/{digest}", headers=headers)
    ask(registry, "GET", "/v2/properties/conditions/manifests/none", headers=headers)


@SETTINGS
@given(content_ranges, st.binary(max_size=20), st.sampled_from(["PATCH", "PUT"]))
def test_any_content_range(registry, content_range: str, body: bytes, method: str) -> None:
    location = registry.start_upload("properties/content-ranges").headers["location"]
    path = location.removeprefix(registry.url) + f"&digest=sha256:{'0' * 64}"
    answer = ask(registry, method, path, headers={"Content-Range": content_range}, content=body)
    status = registry.client.get(path.partition("?")[0])
    if answer.status_code == 416:
        assert (status.status_code, status.headers["range"]) == (204, "0-0")


states = st.one_of(
    st.text(max_size=100),
    st.builds(
        lambda name, upload, offset, started, secret: StateSigner(secret).sign(
            UploadState(name, upload, offset, started)
        ),
        st.sampled_from(["properties/states", "properties/other"]),
        st.one_of(st.just(UPLOAD), st.text(max_size=40)),
        st.integers(0, 2**63 - 1),
        st.text(max_size=30),
        st.sampled_from([b"of this test", b"another"]),
    ),
)


@SETTINGS
@given(states, st.sampled_from(["PATCH", "PUT", "DELETE"]), st.one_of(st.just(UPLOAD), st.text(max_size=40)))
def test_any_state(registry, state: str, method: str, upload: str) -> None:
    query = f"_state={quote(state)}&digest=sha256:{'0' * 64}"
    path = f"/v2/properties/states/blobs/uploads/{segment(upload)}"
    answer = ask(registry, method, f"{path}?{query}", content=b"x")
    # 301: a path with an empty component is sent to one without.
    assert answer.status_code in (301, 400, 404, 405)


@SETTINGS
@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=10),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["schemaVersion", "mediaType", "config", "layers", "manifests", "subject", "digest"]
                    ),
                    inner,
                    max_size=5,
                )
            ),
            max_leaves=15,
        ).map(lambda value: json.dumps(value).encode()),
    ),
    st.one_of(st.just("application/vnd.oci.image.manifest.v1+json"), header_values),
)
def test_any_manifest(registry, content: bytes, media_type: str) -> None:
    path = "/v2/properties/manifests/manifests/x"
    answer = ask(registry, "PUT", path, content=content, headers={"Content-Type": media_type})
    assert answer.status_code in (201, 400)
