from __future__ import annotations

import asyncio

import pytest

CONTENT = b"a layer"


@pytest.fixture(
    params=[
        "{inmemory: {}, delete: {enabled: true}}",
        "{inmemory: {}, delete: {enabled: true}, cache: {blobdescriptor: inmemory}}",
    ],
    ids=["no cache", "cache in memory"],
)
async def registry(request, start):
    return await start(f"storage: {request.param}")


async def test_a_linked_blob_has_a_descriptor(registry) -> None:
    digest = await registry.push_blob("team/app", CONTENT)
    descriptor = await registry.stat("team/app", digest)
    assert (descriptor.digest, descriptor.size) == (digest, len(CONTENT))
    assert descriptor.media_type == "application/octet-stream"


async def test_a_link_holds_the_digest_without_a_newline_where_distribution_looks_for_it(registry) -> None:
    digest = await registry.push_blob("team/app", CONTENT)
    path = f"team/app/_layers/sha256/{digest.removeprefix('sha256:')}/link"
    assert await registry.files() == {path}
    assert await registry.read(path) == digest.encode()


async def test_a_blob_is_unknown_in_a_repository_that_does_not_link_it(registry, refused) -> None:
    digest = await registry.push_blob("team/app", CONTENT)
    with refused("BLOB_UNKNOWN") as refusal:
        await registry.stat("team/other", digest)
    assert refusal.detail == {"digest": digest}


async def test_a_blob_whose_bytes_are_not_stored_cannot_be_linked(registry, refused, sha) -> None:
    with refused("BLOB_UNKNOWN"):
        await registry.link("team/app", sha(b"never stored"))
    assert await registry.files() == set()


async def test_a_blob_is_linked_by_its_canonical_digest_only(registry, refused, sha) -> None:
    await registry.store_bytes(CONTENT)
    with refused("DIGEST_INVALID"):
        await registry.link("team/app", sha(CONTENT, "sha512"))


async def test_a_link_to_missing_bytes_is_unknown_and_logged(registry, refused, logged, sha) -> None:
    digest = await registry.push_blob("team/app", CONTENT)
    await registry.lose_bytes(digest)
    other = sha(b"other")
    await registry.write(f"team/app/_layers/sha256/{other[7:]}/link", other)
    with logged() as lines, refused("BLOB_UNKNOWN"):
        await registry.stat("team/app", other)
    assert [line["log_level"] for line in lines] == ["warning"]


@pytest.mark.parametrize(
    "content", [b"", b"not a digest", b"sha256:12", b"sha256:" + b"a" * 64 + b"\n", b"\xff"]
)
async def test_an_empty_or_malformed_link_counts_as_absent_and_is_logged(
    registry, refused, logged, content: bytes
) -> None:
    digest = await registry.store_bytes(CONTENT)
    await registry.write(f"team/app/_layers/sha256/{digest[7:]}/link", content)
    with logged() as lines, refused("BLOB_UNKNOWN"):
        await registry.stat("team/app", digest)
    assert [line["log_level"] for line in lines] == ["warning"]


async def test_a_link_that_names_other_content_than_its_path_counts_as_absent(registry, refused) -> None:
    digest = await registry.store_bytes(CONTENT)
    other = await registry.push_blob("team/app", b"other")
    await registry.write(f"team/app/_layers/sha256/{digest[7:]}/link", other)
    with refused("BLOB_UNKNOWN"):
        await registry.stat("team/app", digest)


async def test_a_link_that_a_crash_left_empty_is_mended_by_the_next_push(registry) -> None:
    digest = await registry.store_bytes(CONTENT)
    await registry.write(f"team/app/_layers/sha256/{digest[7:]}/link", b"")
    await registry.push_blob("team/app", CONTENT)
    assert await registry.has_blob("team/app", digest)


async def test_an_unlinked_blob_is_unknown_and_its_bytes_stay(registry, refused) -> None:
    digest = await registry.push_blob("team/app", CONTENT)
    await registry.push_blob("team/other", CONTENT)
    await registry.unlink("team/app", digest)
    assert not await registry.has_blob("team/app", digest)
    assert await registry.has_blob("team/other", digest)
    with refused("BLOB_UNKNOWN"):
        await registry.unlink("team/app", digest)


async def test_a_blob_that_was_unlinked_can_be_pushed_again(registry) -> None:
    digest = await registry.push_blob("team/app", CONTENT)
    await registry.unlink("team/app", digest)
    await registry.push_blob("team/app", CONTENT)
    assert await registry.has_blob("team/app", digest)


async def test_what_another_repository_reads_does_not_bring_back_an_unlinked_blob(registry) -> None:
    # CVE-2026-35172: the read in B refilled what A's stale membership pointed at.
    digest = await registry.push_blob("team/a", CONTENT)
    await registry.push_blob("team/b", CONTENT)
    assert await registry.has_blob("team/a", digest)
    assert await registry.has_blob("team/b", digest)
    await registry.unlink("team/a", digest)
    for _ in range(3):
        assert await registry.has_blob("team/b", digest)
        assert not await registry.has_blob("team/a", digest)


async def test_reads_that_race_with_unlinks_never_bring_a_blob_back(registry) -> None:
    async def read_again_and_again() -> None:
        while not done.is_set():
            await registry.has_blob("team/app", digest)

    done = asyncio.Event()
    digest = await registry.push_blob("team/app", CONTENT)
    readers = [asyncio.create_task(read_again_and_again()) for _ in range(6)]
    try:
        for _ in range(40):
            await registry.unlink("team/app", digest)
            assert not await registry.has_blob("team/app", digest)
            await registry.link("team/app", digest)
            assert await registry.has_blob("team/app", digest)
    finally:
        done.set()
        await asyncio.gather(*readers)


async def test_a_link_and_an_unlink_at_once_leave_all_digests_of_a_blob_or_none(slow_registry, sha) -> None:
    registry = slow_registry
    alias = await registry.push_blob("team/app", CONTENT, "sha512")
    for _ in range(25):
        await asyncio.gather(
            registry.unlink("team/app", alias), registry.link("team/app", sha(CONTENT), [alias])
        )
        assert len(await registry.files("team/app")) in {0, 2}
        await registry.link("team/app", sha(CONTENT), [alias])


class TestMount:
    async def test_links_a_blob_of_the_source(self, registry) -> None:
        digest = await registry.push_blob("team/source", CONTENT)
        descriptor = await registry.mount("team/target", "team/source", digest)
        assert (descriptor.digest, descriptor.size) == (digest, len(CONTENT))
        assert descriptor.media_type == "application/octet-stream"
        assert await registry.has_blob("team/target", digest)

    async def test_needs_the_link_in_the_source_even_if_the_bytes_are_there(self, registry, refused) -> None:
        digest = await registry.push_blob("team/private", CONTENT)
        with refused("BLOB_UNKNOWN"):
            await registry.mount("team/target", "team/source", digest)
        assert not await registry.has_blob("team/target", digest)
        assert await registry.files("team/target") == set()

    async def test_needs_the_bytes(self, registry, refused) -> None:
        digest = await registry.push_blob("team/source", CONTENT)
        await registry.lose_bytes(digest)
        with refused("BLOB_UNKNOWN"):
            await registry.mount("team/target", "team/source", digest)

    async def test_under_an_alias_links_both_digests(self, registry, sha) -> None:
        alias = await registry.push_blob("team/source", CONTENT, "sha512")
        descriptor = await registry.mount("team/target", "team/source", alias)
        assert descriptor.digest == sha(CONTENT)
        assert await registry.has_blob("team/target", alias)
        assert await registry.has_blob("team/target", sha(CONTENT))

    async def test_into_the_source_itself_changes_nothing(self, registry) -> None:
        digest = await registry.push_blob("team/source", CONTENT)
        before = await registry.files()
        await registry.mount("team/source", "team/source", digest)
        assert await registry.files() == before


class TestAliases:
    async def test_an_alias_has_the_canonical_descriptor(self, registry, sha) -> None:
        alias = await registry.push_blob("team/app", CONTENT, "sha512")
        assert (await registry.stat("team/app", alias)).digest == sha(CONTENT)
        assert (await registry.stat("team/app", sha(CONTENT))).digest == sha(CONTENT)

    async def test_an_alias_link_holds_the_canonical_digest(self, registry, sha) -> None:
        alias = await registry.push_blob("team/app", CONTENT, "sha512")
        path = f"team/app/_layers/sha512/{alias.removeprefix('sha512:')}/link"
        assert await registry.read(path) == sha(CONTENT).encode()

    async def test_an_alias_is_unknown_where_only_the_canonical_digest_was_pushed(
        self, registry, sha
    ) -> None:
        await registry.push_blob("team/app", CONTENT)
        assert not await registry.has_blob("team/app", sha(CONTENT, "sha512"))

    async def test_an_alias_without_the_canonical_link_is_unknown(self, registry, sha) -> None:
        alias = sha(CONTENT, "sha512")
        await registry.store_bytes(CONTENT)
        await registry.write(f"team/app/_layers/sha512/{alias[7:]}/link", sha(CONTENT))
        assert not await registry.has_blob("team/app", alias)

    async def test_unlinking_the_alias_unlinks_the_canonical_digest_too(self, registry, sha) -> None:
        alias = await registry.push_blob("team/app", CONTENT, "sha512")
        for digest in (alias, sha(CONTENT)):
            assert await registry.has_blob("team/app", digest)
        await registry.unlink("team/app", alias)
        for digest in (alias, sha(CONTENT)):
            assert not await registry.has_blob("team/app", digest)
        assert await registry.files("team/app") == set()

    async def test_unlinking_the_canonical_digest_makes_the_alias_unreadable(
        self, registry, refused, sha
    ) -> None:
        alias = await registry.push_blob("team/app", CONTENT, "sha512")
        for digest in (alias, sha(CONTENT)):
            assert await registry.has_blob("team/app", digest)
        await registry.unlink("team/app", sha(CONTENT))
        for digest in (alias, sha(CONTENT)):
            assert not await registry.has_blob("team/app", digest)
        with refused("BLOB_UNKNOWN"):
            await registry.unlink("team/app", alias)


@pytest.mark.parametrize("name", ["", "UPPER", "a//b", "../etc", "a/_layers", "a" * 256, "a/../b", "a\x00b"])
async def test_a_name_outside_the_grammar_is_refused(registry, refused, name: str) -> None:
    digest = await registry.store_bytes(CONTENT)
    for call in (
        registry.stat(name, digest),
        registry.link(name, digest),
        registry.unlink(name, digest),
        registry.mount(name, "a", digest),
        registry.mount("a", name, digest),
    ):
        with refused("NAME_INVALID"):
            await call
    assert await registry.files() == set()


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "sha256",
        "sha256:",
        "sha256:xyz",
        "sha256:" + "A" * 64,
        "md5:" + "a" * 32,
        "sha256:" + "a" * 63,
        "sha256:../../" + "a" * 58,
    ],
)
async def test_a_digest_outside_the_grammar_is_refused(registry, refused, digest: str) -> None:
    canonical = await registry.store_bytes(CONTENT)
    for call in (
        registry.stat("a", digest),
        registry.link("a", digest),
        registry.unlink("a", digest),
        registry.mount("a", "b", digest),
        registry.link("a", canonical, [digest]),
    ):
        with refused("DIGEST_INVALID"):
            await call
    assert await registry.files() == set()
