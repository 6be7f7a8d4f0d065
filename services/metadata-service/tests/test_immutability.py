"""Tags that a push may set and not move: by policy, and by a grant to create."""

from __future__ import annotations

import asyncio

import pytest

from moorage.errors import ErrorCode, RegistryError

POLICY = """
policy:
  tags:
    immutable:
      - {repositories: "team/**", tags: ["v*", latest]}
      - {repositories: release, tags: "**", allowdelete: true}
storage: {inmemory: {}, delete: {enabled: true}}
"""


@pytest.fixture
async def registry(start):
    """A registry with immutable tags."""
    return await start(POLICY)


async def images(registry, repository: str, number: int) -> list[bytes]:
    return [await registry.image(repository, f"image {index}") for index in range(number)]


async def test_a_tag_that_the_policy_names_is_set_once(registry, refused, sha) -> None:
    first, second = await images(registry, "team/app", 2)
    await registry.put("team/app", "v1", first)
    with refused("DENIED") as refusal:
        await registry.put("team/app", "v1", second)
    assert refusal.status == 403
    assert (await registry.get("team/app", "v1")).content == first
    # What was refused has stored nothing.
    assert not await registry.has_manifest("team/app", sha(second))


async def test_the_same_manifest_may_be_pushed_again(registry, sha) -> None:
    (content,) = await images(registry, "team/app", 1)
    await registry.put("team/app", "v1", content)
    await registry.put("team/app", "v1", content)
    await registry.put("team/app", sha(content), content, tags=["v1", "v2"])
    assert await registry.tags("team/app") == ["v1", "v2"]


async def test_the_further_tags_of_a_push_by_digest_are_decided_too_and_all_together(
    registry, refused, sha
) -> None:
    first, second = await images(registry, "team/app", 2)
    await registry.put("team/app", "v1", first)
    with refused("DENIED"):
        await registry.put("team/app", sha(second), second, tags=["free", "v1"])
    assert await registry.tags("team/app") == ["v1"]
    await registry.put("team/app", sha(second), second, tags=["free", "v2"])
    assert await registry.tags("team/app") == ["free", "v1", "v2"]


async def test_other_tags_and_other_repositories_move_as_before(registry) -> None:
    first, second = await images(registry, "team/app", 2)
    await registry.put("team/app", "main", first)
    await registry.put("team/app", "main", second)
    assert (await registry.get("team/app", "main")).content == second
    first, second = await images(registry, "team", 2)
    await registry.put("team", "v1", first)
    await registry.put("team", "v1", second)
    assert (await registry.get("team", "v1")).content == second


@pytest.mark.parametrize("tag", ["v1", "latest", "new"])
async def test_who_may_only_create_sets_a_new_tag_and_moves_none_whatever_its_name(
    registry, refused, tag
) -> None:
    first, second = await images(registry, "other/app", 2)
    await registry.put("other/app", tag, first, create_only=True)
    await registry.put("other/app", tag, first, create_only=True)
    with refused("DENIED") as refusal:
        await registry.put("other/app", tag, second, create_only=True)
    assert refusal.status == 403
    assert (await registry.get("other/app", tag)).content == first
    # Who may push may still move it.
    await registry.put("other/app", tag, second)
    assert (await registry.get("other/app", tag)).content == second


@pytest.mark.parametrize("create_only", [True, False])
async def test_of_many_pushes_at_a_time_one_wins(registry, create_only) -> None:
    repository = "other/app" if create_only else "team/app"
    contents = await images(registry, repository, 12)

    async def push(content: bytes) -> bytes | None:
        try:
            await registry.put(repository, "v1", content, create_only=create_only)
        except RegistryError as error:
            if error.code is not ErrorCode.DENIED:
                raise
            return None
        return content

    won = [content for content in await asyncio.gather(*map(push, contents)) if content]
    assert len(won) == 1
    assert (await registry.get(repository, "v1")).content == won[0]


async def test_a_push_that_may_move_and_one_that_may_not_leave_the_tag_whole(registry) -> None:
    contents = await images(registry, "other/app", 8)
    pushes = [
        registry.put("other/app", "x", content, create_only=bool(index % 2))
        for index, content in enumerate(contents)
    ]
    outcomes = await asyncio.gather(*pushes, return_exceptions=True)
    refused = [each for each in outcomes if isinstance(each, RegistryError)]
    assert all(each.code.name == "DENIED" for each in refused)
    acknowledged = [
        content
        for content, outcome in zip(contents, outcomes, strict=True)
        if not isinstance(outcome, RegistryError)
    ]
    assert (await registry.get("other/app", "x")).content in acknowledged


async def test_an_immutable_tag_and_its_manifest_cannot_be_deleted(registry, refused, sha) -> None:
    (content,) = await images(registry, "team/app", 1)
    await registry.put("team/app", "v1", content)
    await registry.put("team/app", "main", content)
    for reference in ("v1", sha(content)):
        with refused("DENIED") as refusal:
            await registry.delete("team/app", reference)
        assert refusal.status == 403
    # The other tag of that manifest went neither.
    assert await registry.tags("team/app") == ["main", "v1"]
    assert await registry.delete("team/app", "main") == ["main"]


async def test_a_tag_that_is_not_there_is_unknown_whatever_the_policy_says(registry, refused) -> None:
    await registry.push("team/app", "main")
    with refused("MANIFEST_UNKNOWN"):
        await registry.delete("team/app", "v9")


async def test_a_manifest_without_immutable_tags_can_be_deleted(registry, sha) -> None:
    first, second = await images(registry, "team/app", 2)
    await registry.put("team/app", "v1", first)
    await registry.put("team/app", "main", second)
    assert await registry.delete("team/app", sha(second)) == ["main"]
    assert await registry.tags("team/app") == ["v1"]


async def test_with_allowdelete_a_tag_can_go_and_then_be_set_anew(registry, refused, sha) -> None:
    first, second = await images(registry, "release", 2)
    await registry.put("release", "1.0", first)
    with refused("DENIED"):
        await registry.put("release", "1.0", second)
    await registry.delete("release", "1.0")
    await registry.put("release", "1.0", second)
    assert await registry.delete("release", sha(second)) == ["1.0"]


async def test_a_tag_whose_link_is_damaged_can_be_pushed_again(registry) -> None:
    (content,) = await images(registry, "team/app", 1)
    await registry.write("team/app/_manifests/tags/v1/current/link", b"")
    await registry.put("team/app", "v1", content)
    assert (await registry.get("team/app", "v1")).content == content


async def test_a_delete_by_digest_and_a_push_that_makes_it_immutable_do_not_lose_the_tag(
    registry, sha
) -> None:
    (content,) = await images(registry, "team/app", 1)
    for _ in range(8):
        await registry.put("team/app", "main", content)
        outcomes = await asyncio.gather(
            registry.delete("team/app", sha(content)),
            registry.put("team/app", "v1", content),
            return_exceptions=True,
        )
        pushed = not isinstance(outcomes[1], RegistryError)
        assert pushed
        # Acknowledged, so it is there, whichever came first.
        assert (await registry.get("team/app", "v1")).content == content
        await registry.clear()
        (content,) = await images(registry, "team/app", 1)
