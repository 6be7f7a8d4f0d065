"""The metadata service's objects, and the fence around them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moorage.errors import ErrorCode, RegistryError

BASE = "/docker/registry/v2/repositories"
TAGS = f"{BASE}/team/app/_manifests/tags"

OUTSIDE = [
    "",
    "/",
    "a",
    "/docker/registry/v2",
    "/docker/registry/v2/",
    "/docker/registry/v2/blobs/sha256/aa/data",
    "/docker/registry/v2/repositoriesx/a",
    f"{BASE}/",
    f"{BASE}//a",
    f"{BASE}/../blobs",
    f"{BASE}/a/../../blobs/x",
    f"{BASE}/./a",
    f"{BASE}/a/",
    f"{BASE}/a b",
    f"{BASE}/a\0",
    f"{BASE}/a\n",
    f"{BASE}/ä",
    f"{BASE[1:]}/a",
    f"/{BASE}/a",
    f"{BASE}/team/app/_uploads",
    f"{BASE}/team/app/_uploads/id/data",
    f"{BASE}/_uploads/a",
    "/etc/passwd",
]


@pytest.mark.parametrize("path", OUTSIDE)
async def test_a_path_beyond_the_fence_is_refused_by_every_call(service, refused, path) -> None:
    upload = await service.append(await service.start("team/app"), b"data")
    before = await service.stored_paths()
    for call in (
        service.get_objects(f"{BASE}/a", path),
        service.put_objects((f"{BASE}/a", b"x"), (path, b"x")),
        service.stat_objects(path),
        service.list_objects(path),
        service.delete_objects(path, f"{BASE}/a"),
    ):
        with refused("NAME_INVALID") as refusal:
            await call
        assert refusal.status == 400
    assert await service.stored_paths() == before
    assert (await service.status(upload)).offset == 4


async def test_the_repositories_folder_itself_can_be_listed_but_not_removed(service, refused) -> None:
    await service.put_objects((f"{BASE}/a/_manifests/link", b"x"))
    assert [list(folder.names) for folder in await service.list_objects(BASE)] == [["a"]]
    assert (await service.stat_objects(BASE))[0].is_dir
    for call in (service.delete_objects, service.get_objects):
        with refused("NAME_INVALID"):
            await call(BASE)


async def test_objects_come_back_in_the_order_of_the_request(service) -> None:
    objects = [(f"{TAGS}/v{number}/current/link", f"sha256:{number}".encode()) for number in range(40)]
    await service.put_objects(*objects)
    paths = [path for path, _ in reversed(objects)]
    assert await service.get_objects(*paths) == [content for _, content in reversed(objects)]


async def test_what_is_not_there_is_not_found_and_the_rest_is(service) -> None:
    await service.put_objects((f"{TAGS}/a/current/link", b"A"), (f"{TAGS}/empty", b""))
    assert await service.get_objects(f"{TAGS}/x", f"{TAGS}/a/current/link", TAGS, f"{TAGS}/empty") == [
        None,
        b"A",
        None,
        b"",
    ]
    assert await service.get_objects() == []


async def test_a_later_put_replaces_an_earlier_one_whole(service) -> None:
    path = f"{TAGS}/a/current/link"
    await service.put_objects((path, b"a longer content"), (path, b"short"))
    assert await service.get_objects(path) == [b"short"]


async def test_puts_stop_at_the_first_error(folder_service, refused) -> None:
    """A file where a folder is needed: storage refuses the second object."""
    with refused("UNAVAILABLE") as refusal:
        await folder_service.put_objects((f"{BASE}/a", b"1"), (f"{BASE}/a/b", b"2"), (f"{BASE}/c", b"3"))
    assert refusal.detail == "the storage failed"
    assert await folder_service.get_objects(f"{BASE}/a", f"{BASE}/c") == [b"1", None]


async def test_stat_tells_files_from_folders(service) -> None:
    await service.put_objects((f"{TAGS}/a/current/link", b"12345"))
    file, folder, nothing = await service.stat_objects(f"{TAGS}/a/current/link", TAGS, f"{TAGS}/b")
    assert (file.is_dir, file.size) == (False, 5)
    assert file.modified_ns > 1_600_000_000 * 10**9
    assert (folder.is_dir, folder.size) == (True, 0)
    assert nothing is None


async def test_folders_are_listed_in_byte_order(service) -> None:
    tags = ["b", "B", "a-b", "a.b", "a", "_x", "10", "9"]
    await service.put_objects(*[(f"{TAGS}/{tag}/current/link", b"x") for tag in tags])
    [listed, missing] = await service.list_objects(TAGS, f"{BASE}/none")
    assert list(listed.names) == sorted(tags)
    assert not listed.truncated
    assert missing is None


async def test_pages_of_a_listing_together_are_the_whole(service) -> None:
    tags = sorted(f"v{number}" for number in range(25))
    await service.put_objects(*[(f"{TAGS}/{tag}/current/link", b"x") for tag in tags])
    seen: list[str] = []
    more = True
    while more:
        [page] = await service.list_objects(TAGS, after=seen[-1] if seen else "", limit=7)
        seen += page.names
        more = page.truncated
        assert more == (len(seen) < len(tags))
    assert seen == tags


async def test_only_children_that_have_a_path_below_are_listed(service) -> None:
    await service.put_objects(
        (f"{TAGS}/done/current/link", b"x"),
        (f"{TAGS}/torn/index/sha256/aa/link", b"x"),
        (f"{TAGS}/zzz/current/link", b"x"),
    )
    [page] = await service.list_objects(TAGS, having="current/link", limit=1)
    assert (list(page.names), page.truncated) == (["done"], True)
    [page] = await service.list_objects(TAGS, having="current/link", after="done")
    assert (list(page.names), page.truncated) == (["zzz"], False)


@pytest.mark.parametrize(
    "having", ["/a", "../a", "a/../b", "a//b", "a/", ".", "_uploads", "a b", "a/_uploads/x"]
)
async def test_a_path_below_that_is_no_relative_path_is_refused(service, refused, having) -> None:
    with refused("NAME_INVALID"):
        await service.list_objects(TAGS, having=having)


async def test_a_negative_limit_is_refused(service, refused) -> None:
    with refused("PAGINATION_NUMBER_INVALID"):
        await service.list_objects(TAGS, limit=-1)


async def test_deleted_paths_are_gone_with_all_below_and_their_siblings_stay(service) -> None:
    await service.put_objects(
        (f"{TAGS}/a/current/link", b"x"), (f"{TAGS}/a/index/link", b"x"), (f"{TAGS}/ab/current/link", b"x")
    )
    assert await service.delete_objects(f"{TAGS}/none", f"{TAGS}/a", f"{TAGS}/a") == [f"{TAGS}/a"]
    assert [path for path in await service.stored_paths() if path.startswith(BASE)] == [
        f"{TAGS}/ab/current/link"
    ]


async def test_more_than_a_thousand_paths_at_once_are_refused(service, refused) -> None:
    paths = [f"{TAGS}/{number}" for number in range(1001)]
    assert await service.get_objects(*paths[1:]) == [None] * 1000
    for call in (service.get_objects, service.stat_objects, service.list_objects, service.delete_objects):
        with refused("SIZE_INVALID") as refusal:
            await call(*paths)
        assert refusal.detail == {"paths": 1001, "limit": 1000}


async def test_an_object_over_eight_mebibytes_is_refused_and_none_is_written(service, refused) -> None:
    with refused("SIZE_INVALID") as refusal:
        await service.put_objects((f"{BASE}/a", b"x"), (f"{BASE}/b", bytes((8 << 20) + 1)))
    assert refusal.status == 413
    assert await service.stored_paths() == []


async def test_more_content_than_a_reply_holds_is_refused_and_less_is_served(service, refused) -> None:
    paths = [f"{BASE}/a{number}" for number in range(4)]
    for path in paths:
        await service.put_objects((path, bytes(4 << 20)))
    with refused("SIZE_INVALID"):
        await service.get_objects(*paths)
    assert [len(content or b"") for content in await service.get_objects(*paths[:2])] == [4 << 20] * 2


async def test_a_listing_that_does_not_fit_a_reply_is_truncated(folder_service, tmp_path) -> None:
    folder = tmp_path / "registry" / TAGS[1:]
    folder.mkdir(parents=True)
    names = [f"{number:06}-{'x' * 118}" for number in range(100_000)]
    for name in names:
        (folder / name).touch()
    [page] = await folder_service.list_objects(TAGS)
    assert page.truncated
    assert list(page.names) == names[: len(page.names)]
    [rest] = await folder_service.list_objects(TAGS, after=page.names[-1])
    assert [*page.names, *rest.names] == names
    assert not rest.truncated


_COMPONENTS = st.sampled_from(
    [
        "a",
        "b",
        "..",
        ".",
        "",
        "_uploads",
        "_manifests",
        "docker",
        "registry",
        "v2",
        "repositories",
        "blobs",
        "\0",
    ]
)
_PATHS = st.one_of(
    st.text(max_size=40),
    st.lists(_COMPONENTS, max_size=7).map("/".join),
    st.lists(_COMPONENTS, max_size=5).map(lambda parts: f"{BASE}/{'/'.join(parts)}"),
)


async def code_of(call) -> ErrorCode | None:
    """What a call was refused with."""
    try:
        await call
    except RegistryError as error:
        return error.code
    return None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=_PATHS, content=st.binary(max_size=20))
async def test_no_path_leads_out_of_the_repositories_folder(folder_service, tmp_path, path, content) -> None:
    """Whatever the path: it is refused, or storage takes it below the folder (or says that it cannot)."""
    for call in (
        folder_service.put_objects((path, content)),
        folder_service.get_objects(path),
        folder_service.stat_objects(path),
        folder_service.list_objects(path, having=path),
        folder_service.delete_objects(path),
    ):
        assert await code_of(call) in {None, ErrorCode.NAME_INVALID, ErrorCode.UNAVAILABLE}
    blobs = tmp_path / "registry/docker/registry/v2/blobs"
    files = [file for file in tmp_path.rglob("*") if file.is_file() and not file.is_relative_to(blobs)]
    # Behind this one all objects are put.
    assert {file.read_bytes() for file in blobs.rglob("data")} <= {b"linked"}
    assert all(file.is_relative_to(tmp_path / "registry" / BASE[1:]) for file in files)
    assert not any("_uploads" in Path(file).parts for file in files)


async def test_objects_are_written_behind_a_blob_that_is_there(service, digest_of) -> None:
    digest = await service.upload(b"content")
    descriptor = await service.link(digest, (f"{TAGS}/a", b"first"), (f"{TAGS}/b", b"second"))
    assert (descriptor.digest, descriptor.size) == (digest, 7)
    assert await service.get_objects(f"{TAGS}/a", f"{TAGS}/b") == [b"first", b"second"]


async def test_objects_are_written_behind_content_that_is_stored_first(service, digest_of) -> None:
    descriptor = await service.link(digest_of(b"content"), (f"{TAGS}/a", b"link"), content=b"content")
    assert (descriptor.digest, descriptor.size) == (digest_of(b"content"), 7)
    assert await service.get(descriptor.digest) == b"content"
    assert await service.get_objects(f"{TAGS}/a") == [b"link"]


async def test_without_the_blob_no_object_is_written(service, digest_of, refused) -> None:
    with refused("BLOB_UNKNOWN"):
        await service.link(digest_of(b"missing"), (f"{TAGS}/a", b"link"))
    with refused("DIGEST_INVALID"):
        await service.link(digest_of(b"other"), (f"{TAGS}/a", b"link"), content=b"content")
    with refused("DIGEST_INVALID"):
        await service.link(f"sha512:{'0' * 128}", (f"{TAGS}/a", b"link"))
    assert await service.stored_paths() == []


async def test_without_its_objects_no_content_is_stored(service, digest_of, refused) -> None:
    with refused("NAME_INVALID"):
        await service.link(digest_of(b"content"), ("/etc/passwd", b"link"), content=b"content")
    with refused("SIZE_INVALID"):
        await service.link(digest_of(b"content"), (f"{TAGS}/a", bytes((8 << 20) + 1)), content=b"content")
    assert await service.stored_paths() == []
