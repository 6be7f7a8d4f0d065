from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metadata_service import referrers as referrers_module
from metadata_service.referrers import fallback_tag
from moorage.digest import Digest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
SBOM = "application/vnd.example.sbom"
SIGNATURE = "application/vnd.example.signature"
SUBJECT = "sha256:" + "5" * 64


def descriptor(digest: str, media_type: str = OCI_MANIFEST, **fields) -> dict:
    return {"mediaType": media_type, "digest": digest, "size": 1, **fields}


async def refer(registry, name: str, subject: str = SUBJECT, repository: str = "team/app", **fields) -> str:
    """Push a manifest by digest that refers to the subject; its digest."""
    content = await registry.image(repository, name, subject=descriptor(subject), **fields)
    pushed = await registry.put(repository, f"tag-of-{name}", content)
    assert pushed.subject == subject
    return pushed.descriptor.digest


async def fold(
    registry, subject: str, *digests: str, media_type: str = OCI_INDEX, repository: str = "team/app"
) -> None:
    """Write the index under the fallback tag as a client of a registry without referrers does."""
    algorithm, _, hexa = subject.partition(":")
    children = [descriptor(digest, artifactType="claimed/by-the-index") for digest in digests]
    content = json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": children}).encode()
    digest = await registry.store_bytes(content)
    await registry.write(f"{repository}/_manifests/revisions/sha256/{digest[7:]}/link", digest)
    await registry.write(f"{repository}/_manifests/tags/{algorithm}-{hexa[:64]}/current/link", digest)


async def test_nothing_refers_to_a_digest_that_nobody_knows(registry) -> None:
    for repository in ("team/app", "nowhere"):
        assert await registry.referrers(repository, SUBJECT) == []


async def test_referrers_are_listed_in_the_order_of_their_digests(registry) -> None:
    pushed = [await refer(registry, f"r{number}") for number in range(6)]
    await refer(registry, "of-another", "sha256:" + "6" * 64)
    assert await registry.referrers("team/app", SUBJECT) == sorted(pushed)


async def test_a_referrer_is_described_by_its_own_manifest(registry) -> None:
    annotations = {"org.example/a": "1", "ü": "\U0001f433"}
    content = await registry.image(
        "team/app", subject=descriptor(SUBJECT), artifactType=SBOM, annotations=annotations
    )
    digest = (await registry.put("team/app", "v1", content)).descriptor.digest
    (referrer,) = (await registry.referrer_page("team/app", SUBJECT)).referrers
    assert referrer.descriptor.digest == digest
    assert (referrer.descriptor.media_type, referrer.descriptor.size) == (OCI_MANIFEST, len(content))
    assert referrer.artifact_type == SBOM
    assert dict(referrer.annotations) == annotations


async def test_without_an_artifact_type_that_of_the_configuration_stands_in(registry) -> None:
    await refer(registry, "image")
    (referrer,) = (await registry.referrer_page("team/app", SUBJECT)).referrers
    assert referrer.artifact_type == OCI_CONFIG


@pytest.mark.parametrize("artifact_type", ["", SBOM])
async def test_an_index_can_refer_and_has_only_an_artifact_type_of_its_own(registry, artifact_type) -> None:
    document = {"schemaVersion": 2, "manifests": [], "subject": descriptor(SUBJECT)}
    if artifact_type:
        document["artifactType"] = artifact_type
    await registry.put("team/app", "v1", json.dumps(document).encode(), OCI_INDEX)
    (referrer,) = (await registry.referrer_page("team/app", SUBJECT)).referrers
    assert (referrer.descriptor.media_type, referrer.artifact_type) == (OCI_INDEX, artifact_type)


async def test_referrers_are_those_of_one_repository(registry) -> None:
    await refer(registry, "r", repository="team/other")
    assert await registry.referrers("team/app", SUBJECT) == []


async def test_the_filter_leaves_one_artifact_type(registry) -> None:
    sboms = [await refer(registry, f"sbom{number}", artifactType=SBOM) for number in range(3)]
    await refer(registry, "signature", artifactType=SIGNATURE)
    page = await registry.referrer_page("team/app", SUBJECT, artifact_type=SBOM)
    assert [each.descriptor.digest for each in page.referrers] == sorted(sboms)
    assert not (await registry.referrer_page("team/app", SUBJECT, artifact_type="other")).referrers


async def test_a_page_says_whether_there_are_more_of_the_type(registry) -> None:
    sboms = sorted([await refer(registry, f"sbom{number}", artifactType=SBOM) for number in range(3)])
    for number in range(4):
        await refer(registry, f"signature{number}", artifactType=SIGNATURE)
    page = await registry.referrer_page("team/app", SUBJECT, artifact_type=SBOM, limit=2)
    assert ([each.descriptor.digest for each in page.referrers], page.more) == (sboms[:2], True)
    page = await registry.referrer_page("team/app", SUBJECT, artifact_type=SBOM, last=sboms[1], limit=2)
    assert ([each.descriptor.digest for each in page.referrers], page.more) == (sboms[2:], False)


async def test_a_page_of_no_referrers_is_empty(registry) -> None:
    await refer(registry, "r")
    page = await registry.referrer_page("team/app", SUBJECT, limit=0)
    assert (list(page.referrers), page.more) == ([], False)


async def test_a_page_ends_before_its_annotations_are_too_large(registry, monkeypatch) -> None:
    monkeypatch.setattr(referrers_module, "MAX_PAGE_BYTES", 2500)
    digests = sorted([await refer(registry, f"r{n}", annotations={"a": "x" * 1000}) for n in range(5)])
    large = await refer(registry, "large", annotations={"a": "x" * 9000})
    collected: list[str] = []
    last, more = "", True
    while more:
        page = await registry.referrer_page("team/app", SUBJECT, last=last)
        assert 1 <= len(page.referrers) <= 2
        collected += [each.descriptor.digest for each in page.referrers]
        last, more = collected[-1], page.more
    assert collected == sorted([*digests, large])


@pytest.mark.parametrize("last", ["", "sha256", "sha256:", "sha256:g", "sha512:", "z", "../..", "\x00", "ü"])
async def test_any_text_can_be_the_last_referrer_of_the_page_before(registry, last) -> None:
    digest = await refer(registry, "r")
    page = await registry.referrer_page("team/app", SUBJECT, last=last)
    assert [each.descriptor.digest for each in page.referrers] == ([digest] if digest > last else [])


@pytest.mark.parametrize("digest", ["", "latest", "sha256:1", "sha256:" + "A" * 64])
async def test_a_malformed_digest_is_refused(registry, refused, digest) -> None:
    with refused("DIGEST_INVALID"):
        await registry.referrer_page("team/app", digest)


async def test_a_deleted_referrer_is_not_listed(registry) -> None:
    gone, stays = await refer(registry, "gone"), await refer(registry, "stays")
    await registry.delete("team/app", gone)
    assert await registry.referrers("team/app", SUBJECT) == [stays]


async def test_referrers_outlive_their_subject(registry) -> None:
    subject = await registry.push("team/app", "v1")
    referrer = await refer(registry, "r", subject)
    await registry.delete("team/app", subject)
    assert await registry.referrers("team/app", subject) == [referrer]


async def test_an_entry_is_not_believed_without_the_manifest_it_names(registry) -> None:
    digest = await refer(registry, "r")
    await registry.erase(f"team/app/_manifests/revisions/sha256/{digest[7:]}/link")
    assert await registry.referrers("team/app", SUBJECT) == []


async def test_an_entry_is_not_believed_when_the_manifest_says_otherwise(registry) -> None:
    digest = await registry.push("team/app", "no-subject")
    await registry.write(
        f"team/app/_manifests/referrers/sha256/{SUBJECT[7:]}/sha256/{digest[7:]}/link", digest
    )
    assert await registry.referrers("team/app", SUBJECT) == []


async def test_entries_lie_where_distribution_does_not_look(registry) -> None:
    digest = await refer(registry, "r")
    entries = await registry.files("team/app/_manifests/referrers")
    path = f"team/app/_manifests/referrers/sha256/{SUBJECT[7:]}/sha256/{digest[7:]}/link"
    assert entries == {path}
    assert await registry.read(path) == digest.encode()


class TestFallbackTag:
    def test_is_cut_as_the_tag_schema_says(self) -> None:
        assert fallback_tag(Digest("sha512", "ab" * 64)) == "sha512-" + "ab" * 32
        assert fallback_tag(Digest("sha256", "cd" * 32)) == "sha256-" + "cd" * 32

    @pytest.mark.parametrize("subject", [SUBJECT, "sha512:" + "7" * 128])
    async def test_what_its_index_names_is_listed_with_what_was_pushed_here(self, registry, subject) -> None:
        here = await refer(registry, "here", subject)
        both = await refer(registry, "both", subject)
        old = await registry.push("team/app", "old")
        await fold(registry, subject, old, both)
        assert await registry.referrers("team/app", subject) == sorted([here, both, old])

    async def test_the_manifest_decides_what_is_said_of_it(self, registry) -> None:
        await fold(registry, SUBJECT, await registry.push("team/app", "old", annotations={"a": "b"}))
        (referrer,) = (await registry.referrer_page("team/app", SUBJECT)).referrers
        assert (referrer.artifact_type, dict(referrer.annotations)) == (OCI_CONFIG, {"a": "b"})

    async def test_a_manifest_that_is_not_in_the_repository_is_left_out(self, registry, sha) -> None:
        elsewhere = await registry.push("team/other", "v1")
        await fold(registry, SUBJECT, elsewhere, sha(b"nowhere"))
        assert await registry.referrers("team/app", SUBJECT) == []

    async def test_a_manifest_that_names_another_subject_is_left_out(self, registry) -> None:
        other = await refer(registry, "r", "sha256:" + "6" * 64)
        await fold(registry, SUBJECT, other)
        assert await registry.referrers("team/app", SUBJECT) == []

    async def test_a_tag_of_that_name_that_names_no_index_is_only_a_tag(self, registry) -> None:
        tag = fallback_tag(Digest.parse(SUBJECT))
        await registry.push("team/app", tag)
        assert await registry.referrers("team/app", SUBJECT) == []
        assert await registry.tags("team/app") == [tag]

    async def test_a_client_may_still_push_and_delete_it_as_a_tag(self, registry) -> None:
        old = await registry.push("team/app", "old")
        tag = fallback_tag(Digest.parse(SUBJECT))
        content = json.dumps({"schemaVersion": 2, "manifests": [descriptor(old)]}).encode()
        await registry.put("team/app", tag, content, OCI_INDEX)
        assert await registry.referrers("team/app", SUBJECT) == [old]
        await registry.delete("team/app", tag)
        assert await registry.referrers("team/app", SUBJECT) == []


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.sets(st.sampled_from("abcdefghijkl"), min_size=1),
    folded=st.sets(st.sampled_from("mnopqrst")),
    long=st.sets(st.sampled_from("uvwxyz")),
    limit=st.integers(1, 4),
    listed=st.integers(1, 3),
)
async def test_the_pages_together_are_the_referrers_in_order(
    registry, sha, names, folded, long, limit, listed
) -> None:
    await registry.clear()
    digests = [await refer(registry, name) for name in names]
    old = [await registry.push("team/app", name) for name in folded]
    await fold(registry, SUBJECT, *old, *digests[:2])
    for name in long:
        content = await registry.image("team/app", name, subject=descriptor(SUBJECT))
        digests.append((await registry.put("team/app", sha(content, "sha512"), content)).descriptor.digest)
    collected: list[str] = []
    last, more = "", True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(referrers_module, "_LISTED", listed)
        while more:
            page = await registry.referrer_page("team/app", SUBJECT, last=last, limit=limit)
            assert len(page.referrers) == limit or not page.more
            collected += [each.descriptor.digest for each in page.referrers]
            last, more = (collected or [last])[-1], page.more
    assert collected == sorted([*digests, *old])
