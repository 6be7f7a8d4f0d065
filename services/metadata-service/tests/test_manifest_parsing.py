from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metadata_service.manifests.document import InvalidDocumentError
from metadata_service.manifests.mediatypes import MANIFESTS
from metadata_service.manifests.parse import parse_manifest
from moorage.errors import ErrorCode, RegistryError

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

DIGEST = "sha256:" + "0" * 64
DESCRIPTOR = {"mediaType": "application/x", "digest": DIGEST, "size": 1}
IMAGE = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": DESCRIPTOR, "layers": [DESCRIPTOR]}
INDEX = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [DESCRIPTOR]}


def image(**fields) -> bytes:
    return json.dumps({**IMAGE, **fields}).encode()


def with_layer(**fields) -> bytes:
    return image(layers=[{**DESCRIPTOR, **fields}])


def with_layer_without(key: str) -> bytes:
    return image(layers=[{name: value for name, value in DESCRIPTOR.items() if name != key}])


def accepted_as(content: bytes) -> set[str]:
    """The media types under which a push of this content would be taken."""
    accepted = set()
    for media_type in MANIFESTS:
        try:
            parse_manifest(media_type, content)
        except InvalidDocumentError:
            continue
        accepted.add(media_type)
    return accepted


def test_a_plain_manifest_is_accepted() -> None:
    assert accepted_as(image()) == {OCI_MANIFEST}
    assert accepted_as(json.dumps(INDEX).encode()) == {OCI_INDEX}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"2",
        b"{}",
        b'{"schemaVersion":2}',
        image().decode().encode("utf-16"),
        b"\xef\xbb\xbf" + image(),
        image()[:-1] + b',"x":"\xff"}',
        image() + b"{}",
        image()[:-1] + b',"x":NaN}',
        image()[:-1] + b',"x":-Infinity}',
        image()[:-1] + b',"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        image()[:-1] + b',"x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        image()[:-1] + b',"x":' + b"9" * 5000 + b"}",
    ],
    ids=lambda content: repr(content[:40]),
)
def test_what_is_not_a_json_object_of_sound_json_is_refused(content: bytes) -> None:
    assert accepted_as(content) == set()


@pytest.mark.parametrize("version", [1, 3, 2.0, "2", True, None, [2]])
def test_the_schema_version_must_be_the_number_2(version) -> None:
    assert accepted_as(image(schemaVersion=version)) == set()


@pytest.mark.parametrize("extra", [{"manifests": []}, {"manifests": [DESCRIPTOR]}, {"manifests": None}])
def test_an_image_manifest_that_could_be_read_as_an_index_is_refused(extra) -> None:
    # CVE-2021-41190
    assert accepted_as(image(**extra)) == set()
    assert accepted_as(image(**extra, mediaType=None)) == set()


@pytest.mark.parametrize(
    "extra", [{"layers": []}, {"config": DESCRIPTOR}, {"layers": None}, {"config": None}]
)
def test_an_index_that_could_be_read_as_an_image_manifest_is_refused(extra) -> None:
    # CVE-2021-41190
    assert accepted_as(json.dumps({**INDEX, **extra}).encode()) == set()


def test_a_key_that_stands_twice_is_refused_at_any_depth() -> None:
    assert accepted_as(image()[:-1] + b',"schemaVersion":2}') == set()
    assert accepted_as(image()[:-1] + b',"x":{"a":1,"a":2}}') == set()


@pytest.mark.parametrize(
    "key", ["Layers", "MANIFESTS", "mediatype", "\u212ainds", "manife\u017fts", "Subject"]
)
def test_a_key_that_a_go_reader_would_take_for_a_known_one_is_refused(key: str) -> None:
    known = key.casefold() in {"layers", "manifests", "mediatype", "subject"}
    assert accepted_as(image(**{key: []})) == (set() if known else {OCI_MANIFEST})


@pytest.mark.parametrize("key", ["Digest", "SIZE", "MediaType", "\u017fize"])
def test_a_misspelt_key_of_a_descriptor_is_refused(key: str) -> None:
    assert accepted_as(with_layer(**{key: 1})) == set()


@pytest.mark.parametrize(
    "content",
    [
        image(config=None),
        image(config="sha256:1"),
        image(config=[]),
        image(layers={}),
        image(layers=[None]),
        image(layers=[[]]),
        with_layer_without("mediaType"),
        with_layer_without("digest"),
        with_layer_without("size"),
        with_layer(mediaType=""),
        with_layer(mediaType=1),
        with_layer(digest=""),
        with_layer(digest=1),
        with_layer(digest=DIGEST.upper()),
        with_layer(digest="md5:" + "0" * 32),
        with_layer(digest="sha256:" + "0" * 65),
        with_layer(size=-1),
        with_layer(size=True),
        with_layer(size=1.0),
        with_layer(size="1"),
        with_layer(size=2**63),
        with_layer(urls="https://example.com"),
        with_layer(urls=[1]),
        with_layer(platform=[]),
        with_layer(platform={"os": 1}),
        with_layer(platform={"OS": "linux"}),
        with_layer(annotations=[]),
        with_layer(annotations={"a": 1}),
        image(annotations={"a": None}),
        image(annotations=["a"]),
        image(artifactType=1),
        image(mediaType=1),
    ],
    ids=lambda content: repr(content[60:]),
)
def test_a_malformed_descriptor_or_field_is_refused(content: bytes) -> None:
    assert accepted_as(content) == set()


def test_text_that_utf_8_cannot_hold_is_refused_where_it_would_be_answered() -> None:
    for field in (
        b'"artifactType":"\\ud800"',
        b'"annotations":{"a":"\\udfff"}',
        b'"annotations":{"\\ud800":"a"}',
    ):
        assert accepted_as(image()[:-1] + b"," + field + b"}") == set()
    assert accepted_as(image(annotations={"a": "\U0001f433 \u00fc"})) == {OCI_MANIFEST}


@pytest.mark.parametrize(
    "fields",
    [{"annotations": None}, {"subject": None}, {"artifactType": None}, {"layers": None}, {"x": {"y": [1]}}],
)
def test_null_is_as_good_as_absent_and_unknown_fields_are_kept(fields) -> None:
    assert accepted_as(image(**fields)) == {OCI_MANIFEST}


def test_a_refusal_names_the_field() -> None:
    with pytest.raises(InvalidDocumentError, match=r"^layers\[0\]\.size: "):
        parse_manifest(OCI_MANIFEST, with_layer(size=-1))


# Documents that are nearly manifests

_digests = st.sampled_from([DIGEST, "sha512:" + "a" * 128, "sha256:short", "", 5])
_scalars = (
    st.none() | st.booleans() | st.integers(-3, 5) | st.text(max_size=5) | st.sampled_from(sorted(MANIFESTS))
)
_descriptors = st.fixed_dictionaries(
    {},
    optional={
        "mediaType": st.sampled_from(["application/x", "", None, 1]),
        "digest": _digests,
        "size": st.integers(-1, 5) | st.booleans() | st.none(),
        "urls": st.lists(st.text(max_size=5), max_size=2) | _scalars,
        "annotations": st.dictionaries(st.text(max_size=3), st.text(max_size=3) | _scalars, max_size=2),
        "platform": st.dictionaries(st.sampled_from(["os", "architecture", "Os"]), _scalars, max_size=2),
    },
) | st.just(DESCRIPTOR)
_anything = st.recursive(
    _scalars | _descriptors,
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=4), children, max_size=3)
    ),
    max_leaves=8,
)
_documents = st.fixed_dictionaries(
    {},
    optional={
        "schemaVersion": st.sampled_from([2, 2, 2, 1, "2", 2.0, None]),
        "mediaType": st.sampled_from(sorted(MANIFESTS)) | _scalars,
        "config": _descriptors | _anything,
        "layers": st.lists(_descriptors, max_size=3) | _anything,
        "manifests": st.lists(_descriptors, max_size=3) | _anything,
        "subject": _descriptors | _anything,
        "artifactType": _scalars,
        "annotations": _anything,
        "Layers": _anything,
        "x": _anything,
    },
)
# Manifests with one field made another thing.
_near_misses = st.builds(
    lambda base, key, value: {**base, "mediaType": base["mediaType"], key: value},
    st.sampled_from(
        [
            IMAGE,
            INDEX,
            {**IMAGE, "mediaType": DOCKER_MANIFEST},
            {**INDEX, "mediaType": DOCKER_LIST},
            {**IMAGE, "mediaType": None},
            {**INDEX, "mediaType": ""},
        ]
    ),
    st.sampled_from(
        ["schemaVersion", "mediaType", "config", "layers", "manifests", "subject", "annotations", "y"]
    ),
    _anything,
)
_contents = (
    st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | (_documents | _near_misses | _anything).map(lambda document: json.dumps(document).encode())
    | st.tuples(_near_misses, st.integers(0, 400), st.binary(max_size=3)).map(
        lambda cut: json.dumps(cut[0]).encode()[: cut[1]] + cut[2] + json.dumps(cut[0]).encode()[cut[1] :]
    )
)


@settings(max_examples=600, deadline=None)
@given(_contents)
def test_whatever_the_content_at_most_one_media_type_accepts_it(content: bytes) -> None:
    assert len(accepted_as(content)) <= 1


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=_contents,
    media_type=st.sampled_from(sorted(MANIFESTS)) | st.text(max_size=40),
    reference=st.sampled_from(["v1", DIGEST, "", "a/b"]) | st.text(max_size=20),
)
async def test_whatever_is_pushed_is_taken_whole_or_refused_with_a_4xx(
    registry, sha, content: bytes, media_type: str, reference: str
) -> None:
    error = None
    try:
        pushed = await registry.put("team/app", reference, content, media_type)
    except RegistryError as refusal:
        error = refusal
    if error is not None:
        assert error.code is not ErrorCode.UNKNOWN
        assert 400 <= error.http_status < 500
    else:
        assert (await registry.get("team/app", reference)).content == content
        assert pushed.descriptor.digest == sha(content)
        assert accepted_as(content) == {pushed.descriptor.media_type}
