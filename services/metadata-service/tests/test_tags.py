from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metadata_service import tags as tags_module

LINK = "sha256:" + "0" * 64


async def write_tags(registry, *tags: str, repository: str = "team/app") -> None:
    for tag in tags:
        await registry.write(f"{repository}/_manifests/tags/{tag}/current/link", LINK)


async def test_tags_are_listed_in_byte_order(registry) -> None:
    names = ["b", "a", "B", "_", "a.b", "a-b", "a_b", "1", "10", "2", "aa"]
    for name in names:
        await registry.push("team/app", name, "same")
    assert await registry.tags("team/app") == sorted(names)


async def test_an_unknown_repository_is_refused(registry, refused) -> None:
    await registry.push("team/app", "v1")
    for name in ("team", "team/other", "team/app/below"):
        for limit in (None, 0, 5):
            with refused("NAME_UNKNOWN") as refusal:
                await registry.tag_page(name, limit=limit)
            assert (refusal.status, refusal.detail) == (404, {"name": name})


async def test_a_repository_without_tags_has_an_empty_list(registry, sha) -> None:
    content = await registry.image("team/app")
    assert await registry.tags("team/app") == []
    await registry.put("team/app", sha(content), content)
    assert await registry.tags("team/app") == []


async def test_a_repository_whose_last_tag_was_deleted_has_an_empty_list(registry) -> None:
    await registry.push("team/app", "v1")
    await registry.delete("team/app", "v1")
    assert await registry.tags("team/app") == []


async def test_a_tag_without_a_current_link_is_not_listed(registry) -> None:
    # What a push that was cut off before its commit leaves.
    await registry.write(f"team/app/_manifests/tags/b/index/sha256/{'0' * 64}/link", LINK)
    await write_tags(registry, "a", "c")
    assert await registry.tags("team/app") == ["a", "c"]
    assert await registry.tag_page("team/app", limit=1) == (["a"], True)
    assert await registry.tag_page("team/app", last="a", limit=1) == (["c"], False)


async def test_what_cannot_be_a_tag_is_not_listed(registry) -> None:
    await write_tags(registry, "a", ".hidden", "-dash", "z" * 129, "z")
    assert await registry.tags("team/app") == ["a", "z"]
    assert await registry.tag_page("team/app", limit=1) == (["a"], True)


async def test_a_page_says_whether_there_are_more(registry) -> None:
    await write_tags(registry, "a", "b", "c")
    assert await registry.tag_page("team/app", limit=2) == (["a", "b"], True)
    assert await registry.tag_page("team/app", last="b", limit=2) == (["c"], False)
    assert await registry.tag_page("team/app", limit=3) == (["a", "b", "c"], False)
    assert await registry.tag_page("team/app", last="c", limit=3) == ([], False)
    assert await registry.tag_page("team/app", last="aa") == (["b", "c"], False)
    assert await registry.tag_page("team/app", limit=0) == ([], False)
    assert await registry.tag_page("team/app", limit=2**31 - 1) == (["a", "b", "c"], False)


@pytest.mark.parametrize("limit", [-1, -(2**31)])
async def test_a_negative_limit_is_refused(registry, refused, limit) -> None:
    await write_tags(registry, "a")
    with refused("PAGINATION_NUMBER_INVALID"):
        await registry.tag_page("team/app", limit=limit)


async def test_no_page_is_larger_than_the_largest_and_the_next_goes_on(registry, monkeypatch) -> None:
    monkeypatch.setattr(tags_module, "MAX_PAGE", 3)
    await write_tags(registry, "a", "b", "c", "d")
    for limit in (None, 100):
        assert await registry.tag_page("team/app", limit=limit) == (["a", "b", "c"], True)
    assert await registry.tag_page("team/app", last="c") == (["d"], False)


@pytest.mark.parametrize("last", ["../../..", "a/b", "\x00", "ü", "x" * 5000, "\n"])
async def test_any_text_can_be_the_last_tag_of_the_page_before(registry, last) -> None:
    await write_tags(registry, "a", "z")
    tags, more = await registry.tag_page("team/app", last=last, limit=5)
    assert tags == [tag for tag in ("a", "z") if tag > last]
    assert not more


_tags = st.text(st.sampled_from("ab1._-"), min_size=1, max_size=4).filter(lambda tag: tag[0] not in ".-")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tags=st.sets(_tags, min_size=1, max_size=14),
    limit=st.integers(1, 5),
    first=st.just("") | _tags | st.text(max_size=3),
)
async def test_the_pages_together_are_the_tags_after_the_first_in_order(registry, tags, limit, first) -> None:
    await registry.clear()
    await write_tags(registry, *tags)
    collected: list[str] = []
    last, more = first, True
    while more:
        page, more = await registry.tag_page("team/app", last=last, limit=limit)
        assert len(page) == limit or not more
        collected += page
        last = page[-1] if page else last
    assert collected == sorted(tag for tag in tags if tag > first)
