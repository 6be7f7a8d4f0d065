from __future__ import annotations

import json

import pytest
from prometheus_client import REGISTRY

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


def child(digest: str, architecture: str, os: str = "linux", media_type: str = DOCKER_MANIFEST) -> dict:
    platform = {"architecture": architecture, "os": os}
    return {"mediaType": media_type, "digest": digest, "size": 1, "platform": platform}


async def push_list(registry, tag: str, *children: dict) -> str:
    document = {"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": children}
    return (await registry.put("team/app", tag, json.dumps(document).encode(), DOCKER_LIST)).descriptor.digest


async def push_docker_image(registry, name: str) -> str:
    content = await registry.image("team/app", name, media_type=DOCKER_MANIFEST)
    return (await registry.put("team/app", f"of-{name}", content, DOCKER_MANIFEST)).descriptor.digest


def damage(kind: str) -> float:
    """How often damage of a kind was met."""
    return REGISTRY.get_sample_value("moorage_metadata_damage_total", {"kind": kind}) or 0


async def test_an_unknown_tag_is_named_in_the_refusal(registry, refused) -> None:
    with refused("MANIFEST_UNKNOWN") as refusal:
        await registry.get("team/app", "v1")
    assert (refusal.status, refusal.detail) == (404, {"Tag": "v1"})


async def test_an_unknown_digest_is_named_in_the_refusal(registry, refused, sha) -> None:
    with refused("MANIFEST_UNKNOWN") as refusal:
        await registry.get("team/app", sha(b"x"))
    assert refusal.detail == {"Name": "team/app", "Revision": sha(b"x")}


async def test_a_manifest_of_another_repository_is_unknown(registry) -> None:
    digest = await registry.push("team/app", "v1")
    assert not await registry.has_manifest("team/other", digest)


async def test_a_blob_that_is_no_manifest_is_unknown(registry) -> None:
    assert not await registry.has_manifest("team/app", await registry.push_blob("team/app", b"{}"))


async def test_a_description_has_no_content(registry, sha) -> None:
    content = await registry.image("team/app")
    await registry.put("team/app", "v1", content)
    got = await registry.get("team/app", "v1", descriptor_only=True)
    assert (got.content, got.not_modified) == (b"", False)
    assert (got.descriptor.digest, got.descriptor.size) == (sha(content), len(content))
    assert got.descriptor.media_type == OCI_MANIFEST


@pytest.mark.parametrize("by", ["tag", "digest"])
async def test_a_manifest_that_the_caller_holds_is_not_sent_again(registry, by, sha) -> None:
    digest = await registry.push("team/app", "v1")
    reference = "v1" if by == "tag" else digest
    got = await registry.get("team/app", reference, known=[sha(b"other"), digest])
    assert (got.not_modified, got.content, got.descriptor.digest) == (True, b"", digest)
    got = await registry.get("team/app", reference, known=[sha(b"other"), "nonsense"])
    assert not got.not_modified
    assert got.content


async def test_a_manifest_that_the_caller_holds_is_unknown_all_the_same_once_it_is_deleted(
    registry, refused
) -> None:
    digest = await registry.push("team/app", "v1")
    await registry.delete("team/app", digest)
    with refused("MANIFEST_UNKNOWN"):
        await registry.get("team/app", digest, known=[digest])


class TestDamage:
    async def test_a_tag_of_a_manifest_that_is_gone_is_unknown(self, registry, sha) -> None:
        await registry.write("team/app/_manifests/tags/v1/current/link", sha(b"gone"))
        assert not await registry.has_manifest("team/app", "v1")

    @pytest.mark.parametrize("content", [b"", b"nonsense"])
    async def test_an_empty_tag_link_is_unknown_and_logged(self, registry, refused, logged, content) -> None:
        await registry.write("team/app/_manifests/tags/v1/current/link", content)
        before = damage("malformed link")
        with logged() as lines, refused("MANIFEST_UNKNOWN"):
            await registry.get("team/app", "v1")
        assert [line["log_level"] for line in lines] == ["warning"]
        assert damage("malformed link") == before + 1

    async def test_an_empty_revision_link_is_unknown(self, registry) -> None:
        digest = await registry.push("team/app", "v1")
        await registry.write(f"team/app/_manifests/revisions/sha256/{digest[7:]}/link", b"")
        assert not await registry.has_manifest("team/app", digest)
        assert not await registry.has_manifest("team/app", "v1")

    async def test_bytes_that_do_not_match_their_digest_are_never_served(
        self, registry, refused, logged
    ) -> None:
        digest = await registry.push("team/app", "v1")
        content = (await registry.get("team/app", digest)).content
        await registry.damage_bytes(digest, content.replace(b"2", b"3"))
        # The blob service leaves out what it finds damaged; it is counted all the same.
        before = damage("missing bytes")
        with logged() as lines, refused("MANIFEST_UNKNOWN"):
            await registry.get("team/app", "v1")
        assert "error" in {line["log_level"] for line in lines}
        assert damage("missing bytes") == before + 1

    async def test_missing_bytes_are_unknown_and_logged(self, registry, refused, logged) -> None:
        digest = await registry.push("team/app", "v1")
        await registry.lose_bytes(digest)
        with logged() as lines, refused("MANIFEST_UNKNOWN"):
            await registry.get("team/app", digest)
        assert "error" in {line["log_level"] for line in lines}

    @pytest.mark.parametrize(
        "content",
        [
            b"not json",
            b"[]",
            b'{"schemaVersion":1,"name":"x"}',
            b'{"schemaVersion":2,"mediaType":"application/x"}',
            b'{"schemaVersion":2,"mediaType":["x"]}',
            b"[" * 100_000,
            b" " * (9 * 2**20),
        ],
        ids=lambda content: repr(content[:30]),
    )
    async def test_a_revision_that_is_no_manifest_of_ours_is_unknown(
        self, registry, content: bytes, sha
    ) -> None:
        digest = sha(content)
        await registry.damage_bytes(digest, content)
        await registry.write(f"team/app/_manifests/revisions/sha256/{digest[7:]}/link", digest)
        assert not await registry.has_manifest("team/app", digest)

    async def test_what_distribution_accepted_is_served_under_the_type_that_it_has(self, registry) -> None:
        # Stricter rules for what is pushed now do not hide what was pushed then.
        for content, media_type in (
            (b'{"schemaVersion":2,"config":{},"layers":[{}],"x":1,"x":2}', OCI_MANIFEST),
            (b'{"schemaVersion":2,"manifests":[{}, null]}', OCI_INDEX),
            (f'{{"schemaVersion":2,"mediaType":"{DOCKER_MANIFEST}"}}'.encode(), DOCKER_MANIFEST),
        ):
            digest = await registry.store_bytes(content)
            await registry.write(f"team/app/_manifests/revisions/sha256/{digest[7:]}/link", digest)
            got = await registry.get("team/app", digest)
            assert (got.content, got.descriptor.media_type) == (content, media_type)


class TestNegotiation:
    @pytest.mark.parametrize(
        "accept", [[], ["*/*"], ["application/json"], [DOCKER_MANIFEST, DOCKER_LIST], [OCI_INDEX]]
    )
    async def test_an_oci_manifest_is_unknown_to_a_client_that_does_not_name_its_type(
        self, registry, refused, accept
    ) -> None:
        digest = await registry.push("team/app", "v1")
        for reference in ("v1", digest):
            with refused("MANIFEST_UNKNOWN") as refusal:
                await registry.get("team/app", reference, accept=accept)
            assert refusal.status == 404
            assert OCI_MANIFEST in refusal.message
            assert "Accept" in refusal.message

    @pytest.mark.parametrize("accept", [[], ["*/*"], [OCI_MANIFEST]])
    async def test_an_oci_index_is_unknown_to_a_client_that_does_not_name_its_type(
        self, registry, refused, accept
    ) -> None:
        content = b'{"schemaVersion":2,"manifests":[]}'
        digest = (await registry.put("team/app", "v1", content, OCI_INDEX)).descriptor.digest
        for reference in ("v1", digest):
            with refused("MANIFEST_UNKNOWN") as refusal:
                await registry.get("team/app", reference, accept=accept)
            assert OCI_INDEX in refusal.message

    async def test_one_accepted_type_among_others_is_enough(self, registry) -> None:
        await registry.push("team/app", "v1")
        assert (await registry.get("team/app", "v1", accept=["text/plain", OCI_MANIFEST, "*/*"])).content

    @pytest.mark.parametrize("accept", [[], ["*/*"], ["text/plain"], [DOCKER_MANIFEST], [OCI_MANIFEST]])
    async def test_a_docker_image_manifest_is_served_whatever_is_accepted(self, registry, accept) -> None:
        digest = await push_docker_image(registry, "image")
        for reference in ("of-image", digest):
            got = await registry.get("team/app", reference, accept=accept)
            assert (got.descriptor.digest, got.descriptor.media_type) == (digest, DOCKER_MANIFEST)

    @pytest.mark.parametrize("accept", [[], ["*/*"], [DOCKER_MANIFEST], [OCI_INDEX]])
    async def test_a_manifest_list_by_tag_falls_back_to_its_first_linux_amd64_child(
        self, registry, accept
    ) -> None:
        digests = [await push_docker_image(registry, name) for name in ("arm", "windows", "amd", "second")]
        platforms = [("arm64", "linux"), ("amd64", "windows"), ("amd64", "linux"), ("amd64", "linux")]
        listed = await push_list(
            registry,
            "v1",
            *(child(digest, *platform) for digest, platform in zip(digests, platforms, strict=True)),
        )
        got = await registry.get("team/app", "v1", accept=accept)
        assert (got.descriptor.digest, got.descriptor.media_type) == (digests[2], DOCKER_MANIFEST)
        assert (await registry.get("team/app", listed, accept=accept)).descriptor.media_type == DOCKER_LIST
        assert (await registry.get("team/app", "v1", accept=[DOCKER_LIST])).descriptor.digest == listed
        assert (await registry.get("team/app", "v1", accept=accept, known=[digests[2]])).not_modified

    async def test_a_manifest_list_without_such_a_child_is_unknown(self, registry, refused) -> None:
        await push_list(registry, "v1", child(await push_docker_image(registry, "arm"), "arm64"))
        with refused("MANIFEST_UNKNOWN") as refusal:
            await registry.get("team/app", "v1", accept=[DOCKER_MANIFEST])
        assert "linux/amd64" in refusal.message

    async def test_a_manifest_list_whose_child_is_gone_is_unknown(self, registry, refused) -> None:
        digest = await push_docker_image(registry, "amd")
        await push_list(registry, "v1", child(digest, "amd64"))
        await registry.delete("team/app", digest)
        with refused("MANIFEST_UNKNOWN") as refusal:
            await registry.get("team/app", "v1", accept=[])
        assert refusal.detail["Revision"] == digest

    async def test_an_oci_child_is_served_only_to_a_client_that_names_its_type(
        self, registry, refused
    ) -> None:
        digest = await registry.push("team/app", "oci")
        await push_list(registry, "v1", child(digest, "amd64", media_type=OCI_MANIFEST))
        assert (await registry.get("team/app", "v1", accept=[OCI_MANIFEST])).descriptor.digest == digest
        with refused("MANIFEST_UNKNOWN"):
            await registry.get("team/app", "v1", accept=[DOCKER_MANIFEST])
