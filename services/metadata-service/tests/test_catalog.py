from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metadata_service import catalog as catalog_module
from moorage.reference import name_sort_key

LINK = "sha256:" + "0" * 64


async def write_repositories(registry, *names: str) -> None:
    for name in names:
        await registry.write(f"{name}/_manifests/tags/v1/current/link", LINK)


async def test_an_empty_registry_has_an_empty_catalog(registry) -> None:
    assert await registry.catalog() == ([], False)


async def test_repositories_come_in_path_wise_order(registry) -> None:
    names = ["a", "a/b", "a/b/c", "a-b", "a.b", "a0", "aa", "b", "b-1/c", "b/c", "1"]
    await write_repositories(registry, *names)
    catalog, more = await registry.catalog()
    assert catalog == sorted(names, key=name_sort_key)
    assert catalog.index("a/b") < catalog.index("a-b")
    assert not more


async def test_a_repository_is_listed_once_it_has_a_manifest(registry, sha) -> None:
    content = await registry.image("team/app")
    assert await registry.catalog() == ([], False)
    await registry.put("team/app", sha(content), content)
    assert await registry.catalog() == (["team/app"], False)


async def test_a_repository_stays_when_its_last_manifest_is_deleted(stack, folder_driver) -> None:
    registry = await stack.registry(
        folder_driver, "storage: {filesystem: {rootdirectory: /unused}, delete: {enabled: true}}"
    )
    digest = await registry.push("team/app", "v1")
    await registry.delete("team/app", digest)
    assert await registry.catalog() == (["team/app"], False)


async def test_names_that_do_not_parse_are_skipped_with_what_is_below_them(registry) -> None:
    await write_repositories(
        registry, "a", "Upper/b", "a/Upper", "-a/b", "a__b", "a___b/c", ("z" * 200 + "/") + "z" * 80
    )
    assert (await registry.catalog())[0] == ["a", "a__b"]


async def test_a_page_says_whether_there_are_more(registry) -> None:
    await write_repositories(registry, "a", "a/b", "c")
    assert await registry.catalog(limit=2) == (["a", "a/b"], True)
    assert await registry.catalog(last="a/b", limit=2) == (["c"], False)
    assert await registry.catalog(limit=3) == (["a", "a/b", "c"], False)
    assert await registry.catalog(last="c") == ([], False)
    assert await registry.catalog(last="a") == (["a/b", "c"], False)
    assert await registry.catalog(limit=0) == ([], False)
    assert await registry.catalog(limit=2**31 - 1) == (["a", "a/b", "c"], False)


async def test_a_negative_limit_is_refused(registry, refused) -> None:
    with refused("PAGINATION_NUMBER_INVALID"):
        await registry.catalog(limit=-1)


async def test_no_page_is_larger_than_the_largest(registry, monkeypatch) -> None:
    monkeypatch.setattr(catalog_module, "MAX_PAGE", 2)
    await write_repositories(registry, "a", "b", "c")
    assert await registry.catalog(limit=100) == (["a", "b"], True)


@pytest.mark.parametrize(
    "last", ["../..", "/", "//", "a//", "\x00", "ü", "a/" * 3000, "_layers", "A", "/a", "~"]
)
async def test_any_text_can_be_the_last_repository_of_the_page_before(registry, last) -> None:
    await write_repositories(registry, "a", "a/b", "c")
    catalog, more = await registry.catalog(last=last)
    assert catalog == [name for name in ("a", "a/b", "c") if tuple(name.split("/")) > tuple(last.split("/"))]
    assert not more


@pytest.mark.parametrize("glance", [1, 3, 8])
async def test_folders_of_more_names_than_one_call_reads_are_walked_whole(
    registry, monkeypatch, glance: int
) -> None:
    monkeypatch.setattr(catalog_module, "_NAMES", 3)
    monkeypatch.setattr(catalog_module, "_GLANCE", glance)
    monkeypatch.setattr(catalog_module, "_FEWEST_FOLDERS", 1)
    monkeypatch.setattr(catalog_module, "_MOST_FOLDERS", 2)
    # Digits sort before `_manifests`, letters after it.
    names = [f"{parent}{number}" for parent in ("", "team/", "team/x/") for number in range(10)]
    names += [f"team/app{number}" for number in range(5)] + ["team", "team/x"]
    await write_repositories(registry, *names)
    assert (await registry.catalog())[0] == sorted(names, key=name_sort_key)


async def test_a_page_does_not_read_what_comes_before_it(stack, hooked) -> None:
    listed: list[str] = []

    async def note(operation: str, path: str) -> None:
        if operation == "list":
            listed.append(path)

    registry = await stack.registry(hooked(note))
    names = [f"team{number:02}/app" for number in range(40)]
    await write_repositories(registry, *names)
    assert await registry.catalog(last="team38/app", limit=1) == (["team39/app"], False)
    assert any(path.endswith("/team39/app") for path in listed)
    assert not [path for path in listed if any(name.split("/")[0] in path for name in names[:38])]


_components = st.text(st.sampled_from("ab1"), min_size=1, max_size=2) | st.sampled_from(
    ["a-b", "a.b", "a_b", "b-1"]
)
_names = st.lists(_components, min_size=1, max_size=3).map("/".join)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.sets(_names, min_size=1, max_size=12),
    limit=st.integers(1, 5),
    first=st.just("") | _names | st.text(st.sampled_from("ab/-_1"), max_size=4),
)
async def test_the_pages_together_are_the_repositories_after_the_first_in_order(
    registry, names, limit, first
) -> None:
    await registry.clear()
    await write_repositories(registry, *names)
    collected: list[str] = []
    last, more = first, True
    while more:
        page, more = await registry.catalog(last=last, limit=limit)
        assert len(page) == limit or not more
        collected += page
        last = page[-1] if page else last
    after = tuple(first.split("/")) if first else ()
    assert collected == sorted((name for name in names if name_sort_key(name) > after), key=name_sort_key)


# A search for some repositories among many


async def searched(registry, globs: list[str], limit: int) -> list[str]:
    """All that a search finds, page by page."""
    found: list[str] = []
    last = ""
    while True:
        response = await registry.search(globs, last, limit)
        assert len(response.repositories) <= limit
        found += response.repositories
        if not response.more:
            return found
        assert response.position or response.repositories
        last = response.position or response.repositories[-1]


async def test_a_search_finds_what_its_globs_match_and_nothing_else(registry) -> None:
    await write_repositories(registry, "team", "team/app", "team/app/base", "teams/x", "other/app", "z")
    assert await searched(registry, ["team/**"], 10) == ["team/app", "team/app/base"]
    assert await searched(registry, ["team/*", "z"], 10) == ["team/app", "z"]
    assert await searched(registry, ["*/app"], 10) == ["other/app", "team/app"]
    assert await searched(registry, ["absent/**"], 10) == []


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize("looks", [1, 5, 20_000])
async def test_the_pages_of_a_search_together_are_all_that_there_is(
    registry, monkeypatch, limit: int, looks: int
) -> None:
    monkeypatch.setattr(catalog_module, "MOST_LOOKS", looks)
    monkeypatch.setattr(catalog_module, "_NAMES", 2)
    names = ["a", "a/x", "a-b", "b/x/x", "b/y", "c/x", "d", "d/e/f/x", "e/x", "f"]
    await write_repositories(registry, *names)
    expected = [name for name in sorted(names, key=name_sort_key) if name.split("/")[-1] == "x"]
    assert await searched(registry, ["**/x"], limit) == expected


async def test_a_search_in_one_folder_looks_into_no_other(stack, hooked) -> None:
    looked: list[str] = []

    async def hook(operation: str, path: str) -> None:
        if operation == "list":
            looked.append(path)

    registry = await stack.registry(hooked(hook))
    await write_repositories(registry, *(f"many/r{number:03}" for number in range(300)), "team/app")
    assert await searched(registry, ["team/**"], 10) == ["team/app"]
    assert looked
    assert not any("many" in path for path in looked)


async def test_a_search_that_looks_at_much_says_where_it_stands(registry, monkeypatch) -> None:
    monkeypatch.setattr(catalog_module, "MOST_LOOKS", 20)
    monkeypatch.setattr(catalog_module, "_NAMES", 5)
    await write_repositories(registry, *(f"r{number:03}/a" for number in range(40)), "z/wanted")
    response = await registry.search(["*/wanted"], limit=10)
    assert (list(response.repositories), response.more) == ([], True)
    assert response.position > "r000"
    assert await searched(registry, ["*/wanted"], 10) == ["z/wanted"]


async def test_what_is_no_glob_is_refused(registry, refused) -> None:
    with refused("NAME_INVALID"):
        await registry.search(["team/["])
