from __future__ import annotations

import asyncio
import json

import pytest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


def index(*children: tuple[str, str], media_type: str = OCI_INDEX, **fields) -> bytes:
    """An index of (media type, digest) pairs."""
    manifests = [{"mediaType": kind, "digest": digest, "size": 10} for kind, digest in children]
    return json.dumps(
        {"schemaVersion": 2, "mediaType": media_type, "manifests": manifests, **fields}
    ).encode()


async def test_a_manifest_pushed_by_tag_reads_back_byte_for_byte_by_tag_and_by_digest(registry, sha) -> None:
    # The spaces and the field that no specification knows are part of the digest.
    content = b"  " + await registry.image("team/app", unknown={"kept": [1, 2.5, None]}) + b"\n"
    pushed = await registry.put("team/app", "v1", content)
    assert pushed.descriptor.digest == sha(content)
    assert (pushed.descriptor.media_type, pushed.descriptor.size) == (OCI_MANIFEST, len(content))
    assert list(pushed.tags) == ["v1"]
    assert pushed.subject == ""
    for reference in ("v1", sha(content)):
        got = await registry.get("team/app", reference)
        assert got.content == content
        assert got.descriptor == pushed.descriptor


async def test_a_push_leaves_the_links_that_distribution_reads(registry) -> None:
    content = await registry.image("team/app")
    blobs = await registry.files()
    digest = (await registry.put("team/app", "v1", content)).descriptor.digest
    hexa = digest.removeprefix("sha256:")
    paths = [
        f"team/app/_manifests/revisions/sha256/{hexa}/link",
        f"team/app/_manifests/tags/v1/index/sha256/{hexa}/link",
        "team/app/_manifests/tags/v1/current/link",
    ]
    assert await registry.files() - blobs == set(paths)
    assert [await registry.read(path) for path in paths] == [digest.encode()] * 3


async def test_a_push_by_digest_sets_no_tag(registry, sha) -> None:
    content = await registry.image("team/app")
    pushed = await registry.put("team/app", sha(content), content)
    assert list(pushed.tags) == []
    assert await registry.tags("team/app") == []
    assert (await registry.get("team/app", sha(content))).content == content


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_a_push_by_a_digest_that_does_not_match_is_refused_and_stores_nothing(
    registry, refused, sha, algorithm
) -> None:
    content = await registry.image("team/app")
    before = await registry.files()
    with refused("DIGEST_INVALID"):
        await registry.put("team/app", sha(b"other", algorithm), content)
    assert await registry.files() == before


async def test_a_push_by_digest_sets_the_further_tags_each_once(registry, sha) -> None:
    content = await registry.image("team/app")
    pushed = await registry.put("team/app", sha(content), content, tags=["b", "a", "b"])
    assert list(pushed.tags) == ["b", "a"]
    assert await registry.tags("team/app") == ["a", "b"]
    assert (await registry.get("team/app", "a")).descriptor.digest == sha(content)


async def test_a_hundred_further_tags_are_set_and_one_more_is_refused(registry, refused, sha) -> None:
    content = await registry.image("team/app")
    tags = [f"t{number:03}" for number in range(101)]
    with refused("TAG_INVALID"):
        await registry.put("team/app", sha(content), content, tags=tags)
    assert not await registry.has_manifest("team/app", sha(content))
    await registry.put("team/app", sha(content), content, tags=tags[:100])
    assert await registry.tags("team/app") == tags[:100]


async def test_further_tags_are_refused_with_a_push_by_tag(registry, refused) -> None:
    content = await registry.image("team/app")
    with refused("TAG_INVALID"):
        await registry.put("team/app", "v1", content, tags=["v2"])
    assert not await registry.has_manifest("team/app", "v1")


@pytest.mark.parametrize("tag", ["", "-a", ".a", "a/b", "a" * 129, "ü", "a b", "a\n"])
async def test_a_malformed_tag_is_refused_and_nothing_is_stored(registry, refused, sha, tag) -> None:
    content = await registry.image("team/app")
    before = await registry.files()
    with refused("TAG_INVALID"):
        await registry.put("team/app", tag, content)
    with refused("TAG_INVALID"):
        await registry.put("team/app", sha(content), content, tags=["good", tag])
    assert await registry.files() == before


async def test_a_second_push_of_the_same_manifest_is_fine(registry) -> None:
    content = await registry.image("team/app")
    first = await registry.put("team/app", "v1", content)
    files = await registry.files()
    assert await registry.put("team/app", "v1", content) == first
    assert await registry.files() == files


async def test_a_tag_moves_to_the_manifest_pushed_last_and_the_older_one_stays(registry) -> None:
    first = await registry.push("team/app", "v1", "first")
    second = await registry.push("team/app", "v1", "second")
    assert (await registry.get("team/app", "v1")).descriptor.digest == second
    assert await registry.has_manifest("team/app", first)


async def test_of_many_pushes_to_one_tag_one_wins_whole(registry, sha) -> None:
    contents = [await registry.image("team/app", f"image {number}") for number in range(12)]
    await asyncio.gather(*(registry.put("team/app", "v1", content) for content in contents))
    got = await registry.get("team/app", "v1")
    assert got.content in contents
    assert got.descriptor.digest == sha(got.content)
    for content in contents:
        assert await registry.has_manifest("team/app", sha(content))


async def test_a_manifest_as_large_as_the_limit_is_taken_and_a_larger_one_is_413(start, refused) -> None:
    registry = await start("http: {limits: {manifestsize: 4096}}")
    content = await registry.image("team/app")
    content += b" " * (4096 - len(content))
    await registry.put("team/app", "v1", content)
    with refused("MANIFEST_INVALID") as refusal:
        await registry.put("team/app", "v2", content + b" ")
    assert refusal.status == 413
    assert refusal.detail == {"limit": 4096}


async def test_four_mebibytes_are_taken_by_default(registry, refused) -> None:
    content = await registry.image("team/app", annotations={"a": "x" * (4 * 2**20 - 5000)})
    content += b" " * (4 * 2**20 - len(content))
    await registry.put("team/app", "v1", content)
    assert (await registry.get("team/app", "v1")).content == content
    with refused("MANIFEST_INVALID") as refusal:
        await registry.put("team/app", "v1", content + b" ")
    assert refusal.status == 413


class TestMediaTypes:
    @pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST])
    async def test_image_manifests_are_served_under_the_type_that_they_were_pushed_as(
        self, registry, media_type
    ) -> None:
        content = await registry.image("team/app", media_type=media_type)
        await registry.put("team/app", "v1", content, media_type)
        assert (await registry.get("team/app", "v1")).descriptor.media_type == media_type

    @pytest.mark.parametrize(
        ("media_type", "child"), [(OCI_INDEX, OCI_MANIFEST), (DOCKER_LIST, DOCKER_MANIFEST)]
    )
    async def test_indexes_are_served_under_the_type_that_they_were_pushed_as(
        self, registry, media_type, child, sha
    ) -> None:
        image = await registry.image("team/app", media_type=child)
        await registry.put("team/app", sha(image), image, child)
        content = index((child, sha(image)), media_type=media_type)
        await registry.put("team/app", "v1", content, media_type)
        got = await registry.get("team/app", "v1")
        assert (got.descriptor.media_type, got.content) == (media_type, content)

    async def test_oci_manifests_may_leave_out_their_type(self, registry, sha) -> None:
        image = await registry.image("team/app", mediaType=None)
        await registry.put("team/app", "image", image)
        assert (await registry.get("team/app", "image")).descriptor.media_type == OCI_MANIFEST
        content = index((OCI_MANIFEST, sha(image)))
        content = json.dumps({**json.loads(content), "mediaType": ""}).encode()
        await registry.put("team/app", "index", content, OCI_INDEX)
        assert (await registry.get("team/app", "index")).descriptor.media_type == OCI_INDEX

    async def test_docker_manifests_must_state_their_type(self, registry, refused) -> None:
        content = await registry.image("team/app", mediaType=None)
        with refused("MANIFEST_INVALID") as refusal:
            await registry.put("team/app", "v1", content, DOCKER_MANIFEST)
        assert "mediaType" in refusal.detail["reason"]

    @pytest.mark.parametrize("media_type", [DOCKER_MANIFEST, OCI_INDEX, DOCKER_LIST])
    async def test_a_manifest_of_another_type_than_its_content_type_is_refused(
        self, registry, refused, media_type
    ) -> None:
        content = await registry.image("team/app")
        with refused("MANIFEST_INVALID") as refusal:
            await registry.put("team/app", "v1", content, media_type)
        assert "does not match the Content-Type" in refusal.detail["reason"]

    @pytest.mark.parametrize(
        "media_type", ["", "application/json", "text/plain", "application/vnd.oci.image.config.v1+json"]
    )
    async def test_a_content_type_that_is_no_manifest_s_is_refused(
        self, registry, refused, media_type
    ) -> None:
        content = await registry.image("team/app")
        with refused("MANIFEST_INVALID") as refusal:
            await registry.put("team/app", "v1", content, media_type)
        assert "Content-Type" in refusal.detail["reason"]

    @pytest.mark.parametrize("suffix", ["json", "prettyjws"])
    async def test_schema_1_is_refused_by_its_name(self, registry, refused, suffix) -> None:
        with refused("MANIFEST_INVALID") as refusal:
            await registry.put(
                "team/app",
                "v1",
                b'{"schemaVersion":1}',
                f"application/vnd.docker.distribution.manifest.v1+{suffix}",
            )
        assert "schema version 1" in refusal.detail["reason"]


class TestSha512:
    async def test_the_bytes_are_stored_once_under_the_canonical_digest(self, registry, sha) -> None:
        content = await registry.image("team/app", algorithm="sha512")
        before = await registry.files()
        digest = sha(content, "sha512")
        pushed = await registry.put("team/app", digest, content)
        assert pushed.descriptor.digest == digest
        links = await registry.files() - before
        assert len(links) == 2
        assert {await registry.read(path) for path in links} == {sha(content).encode()}
        for each in (digest, sha(content)):
            got = await registry.get("team/app", each)
            assert (got.content, got.descriptor.digest) == (content, each)

    async def test_tags_name_the_digest_of_the_push(self, registry, sha) -> None:
        content = await registry.image("team/app")
        digest = sha(content, "sha512")
        await registry.put("team/app", digest, content, tags=["v1"])
        assert (await registry.get("team/app", "v1")).descriptor.digest == digest
        hexa = digest.removeprefix("sha512:")
        assert await registry.read(f"team/app/_manifests/tags/v1/index/sha512/{hexa}/link") == digest.encode()

    async def test_a_digest_that_was_not_pushed_is_unknown(self, registry, sha) -> None:
        content = await registry.image("team/app")
        await registry.put("team/app", "v1", content)
        assert not await registry.has_manifest("team/app", sha(content, "sha512"))

    async def test_an_index_and_a_subject_may_name_sha512_digests(self, registry, sha) -> None:
        image = await registry.image("team/app", algorithm="sha512")
        digest = sha(image, "sha512")
        await registry.put("team/app", digest, image)
        await registry.put("team/app", "index", index((OCI_MANIFEST, digest)), OCI_INDEX)
        signature = await registry.image(
            "team/app", "signature", subject={"mediaType": OCI_MANIFEST, "digest": digest, "size": len(image)}
        )
        pushed = await registry.put("team/app", sha(signature, "sha512"), signature)
        assert pushed.subject == digest
        assert await registry.referrers("team/app", digest) == [sha(signature, "sha512")]
