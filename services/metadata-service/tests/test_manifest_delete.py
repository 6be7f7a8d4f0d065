from __future__ import annotations

import asyncio

import pytest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def subject_of(digest: str) -> dict:
    return {"mediaType": OCI_MANIFEST, "digest": digest, "size": 1}


class TestByDigest:
    async def test_the_manifest_and_every_tag_that_names_it_go_and_others_stay(self, registry, sha) -> None:
        content = await registry.image("team/app", "gone")
        for tag in ("c", "a", "b"):
            await registry.put("team/app", tag, content)
        kept = await registry.push("team/app", "kept")
        assert await registry.delete("team/app", sha(content)) == ["a", "b", "c"]
        assert not await registry.has_manifest("team/app", sha(content))
        assert await registry.tags("team/app") == ["kept"]
        assert await registry.has_manifest("team/app", kept)

    async def test_the_same_manifest_in_another_repository_stays(self, registry) -> None:
        digest = await registry.push("team/app", "v1", "same")
        assert await registry.push("team/other", "v1", "same") == digest
        await registry.delete("team/app", digest)
        assert await registry.has_manifest("team/other", "v1")

    async def test_a_tag_that_has_moved_on_stays(self, registry) -> None:
        first = await registry.push("team/app", "v1", "first")
        second = await registry.push("team/app", "v1", "second")
        assert await registry.delete("team/app", first) == []
        assert (await registry.get("team/app", "v1")).descriptor.digest == second

    async def test_an_unknown_manifest_is_refused(self, registry, refused, sha) -> None:
        await registry.push("team/app", "v1")
        for repository in ("team/app", "team/nowhere"):
            with refused("MANIFEST_UNKNOWN"):
                await registry.delete(repository, sha(b"unknown"))
        assert await registry.tags("team/app") == ["v1"]

    async def test_a_second_delete_is_refused(self, registry, refused) -> None:
        digest = await registry.push("team/app", "v1")
        await registry.delete("team/app", digest)
        with refused("MANIFEST_UNKNOWN"):
            await registry.delete("team/app", digest)

    async def test_a_deleted_manifest_can_be_pushed_again(self, registry) -> None:
        digest = await registry.push("team/app", "v1")
        await registry.delete("team/app", digest)
        assert await registry.push("team/app", "v1") == digest
        assert await registry.has_manifest("team/app", "v1")

    @pytest.mark.parametrize("by", ["sha256", "sha512"])
    async def test_every_digest_of_the_manifest_goes_with_its_tags(self, registry, sha, by) -> None:
        content = await registry.image("team/app", subject=subject_of(sha(b"subject")))
        await registry.put("team/app", sha(content, "sha512"), content, tags=["long"])
        await registry.put("team/app", "short", content)
        assert len(await registry.referrers("team/app", sha(b"subject"))) == 2
        assert await registry.delete("team/app", sha(content, by)) == ["long", "short"]
        assert await registry.files("team/app/_manifests/revisions") == set()
        assert await registry.files("team/app/_manifests/referrers") == set()
        assert await registry.files("team/app/_manifests/tags") == set()

    async def test_a_manifest_whose_bytes_are_gone_can_be_deleted(self, registry) -> None:
        digest = await registry.push("team/app", "v1")
        await registry.lose_bytes(digest)
        assert await registry.delete("team/app", digest) == ["v1"]
        assert await registry.files("team/app/_manifests") == set()

    async def test_a_delete_that_was_cut_off_is_completed_by_the_next(self, registry, sha) -> None:
        content = await registry.image("team/app")
        await registry.put("team/app", sha(content), content, tags=["a", "b", "c"])
        # What a crash leaves after the first tag was removed.
        await registry.erase("team/app/_manifests/tags/a")
        assert await registry.delete("team/app", sha(content)) == ["b", "c"]
        assert await registry.tags("team/app") == []

    async def test_an_alias_left_by_a_cut_off_delete_is_unknown_and_cleared_away(
        self, registry, refused, sha
    ) -> None:
        content = await registry.image("team/app")
        digest = sha(content, "sha512")
        await registry.put("team/app", digest, content)
        await registry.erase(f"team/app/_manifests/revisions/sha256/{sha(content)[7:]}/link")
        assert not await registry.has_manifest("team/app", digest)
        with refused("MANIFEST_UNKNOWN"):
            await registry.delete("team/app", digest)
        assert await registry.files("team/app/_manifests") == set()

    @pytest.mark.parametrize("limit", [0, 1, 3])
    async def test_hundreds_of_tags_are_searched(self, start, limit) -> None:
        registry = await start(
            f"storage: {{inmemory: {{}}, delete: {{enabled: true}}, tag: {{concurrencylimit: {limit}}}}}"
        )
        digest = await registry.push("team/app", "first")
        other = await registry.push("team/app", "other")
        names = [f"t{number:03}" for number in range(300)]
        for number, name in enumerate(names):
            target = digest if number % 7 == 0 else other
            await registry.write(f"team/app/_manifests/tags/{name}/current/link", target)
        assert await registry.delete("team/app", digest) == ["first", *names[::7]]
        assert set(await registry.tags("team/app")) == {*names, "other"} - set(names[::7])


class TestByTag:
    async def test_the_tag_goes_and_the_manifest_stays(self, registry) -> None:
        digest = await registry.push("team/app", "v1", "same")
        await registry.push("team/app", "v2", "same")
        assert await registry.delete("team/app", "v1") == ["v1"]
        assert await registry.tags("team/app") == ["v2"]
        assert await registry.has_manifest("team/app", digest)
        assert await registry.files("team/app/_manifests/tags/v1") == set()

    async def test_an_unknown_tag_is_refused(self, registry, refused) -> None:
        await registry.push("team/app", "v1")
        for repository, tag in (("team/app", "v2"), ("team/app", "v"), ("team/nowhere", "v1")):
            with refused("MANIFEST_UNKNOWN") as refusal:
                await registry.delete(repository, tag)
            assert refusal.detail == {"Tag": tag}
        assert await registry.tags("team/app") == ["v1"]

    async def test_a_tag_whose_name_is_the_beginning_of_another_goes_alone(self, registry) -> None:
        await registry.push("team/app", "v1")
        await registry.push("team/app", "v1.0")
        await registry.delete("team/app", "v1")
        assert await registry.tags("team/app") == ["v1.0"]

    @pytest.mark.parametrize("content", ["", "nonsense", "sha256:" + "0" * 64])
    async def test_a_tag_that_names_nothing_can_be_deleted(self, registry, content) -> None:
        await registry.write("team/app/_manifests/tags/v1/current/link", content)
        assert await registry.delete("team/app", "v1") == ["v1"]
        assert await registry.files() == set()


class TestRaces:
    async def test_a_push_and_a_delete_at_once_never_leave_a_tag_that_names_nothing(
        self, slow_registry, sha
    ) -> None:
        content = await slow_registry.image("team/app")
        for _ in range(25):
            await slow_registry.put("team/app", "first", content)
            await asyncio.gather(
                slow_registry.delete("team/app", sha(content)),
                slow_registry.put("team/app", "second", content),
                slow_registry.put("team/app", sha(content), content, tags=["third", "fourth"]),
            )
            for tag in await slow_registry.tags("team/app"):
                assert await slow_registry.has_manifest("team/app", tag)
            # Both pushes were acknowledged: the delete took all of each or nothing.
            assert await slow_registry.has_manifest("team/app", sha(content)) == bool(
                await slow_registry.tags("team/app")
            )

    async def test_a_push_that_moves_a_tag_is_not_undone_by_a_delete_of_what_it_named(
        self, slow_registry, sha
    ) -> None:
        old, new = [await slow_registry.image("team/app", name) for name in ("old", "new")]
        for _ in range(25):
            await slow_registry.put("team/app", "v1", old)
            await asyncio.gather(
                slow_registry.delete("team/app", sha(old)), slow_registry.put("team/app", "v1", new)
            )
            assert (await slow_registry.get("team/app", "v1")).content == new

    async def test_a_push_and_a_delete_of_one_tag_leave_it_whole_or_gone(self, slow_registry) -> None:
        content = await slow_registry.image("team/app")
        for _ in range(25):
            await slow_registry.put("team/app", "v1", content)
            await asyncio.gather(
                slow_registry.delete("team/app", "v1"), slow_registry.put("team/app", "v1", content)
            )
            files = await slow_registry.files("team/app/_manifests/tags/v1")
            assert len(files) in {0, 2}
