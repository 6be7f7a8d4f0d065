"""The traversal itself, over any tree and from any place."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from blob_service.drivers.errors import PathNotFoundError
from blob_service.drivers.interface import FileInfo
from blob_service.drivers.paths import components, split
from blob_service.drivers.walk import walk_tree

NAMES = st.sampled_from(["a", "ab", "a-", "a.b", "B", "_", "0"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(lambda names: "/" + "/".join(names))


class Tree:
    """A set of paths and of the folders that they are in; a path with others below it is a folder."""

    def __init__(self, paths: set[str]) -> None:
        self.paths = set(paths)
        for path in paths:
            while (path := split(path)[0]) != "/":
                self.paths.add(path)
        self.read: list[str] = []

    def is_folder(self, path: str) -> bool:
        return any(split(other)[0] == path for other in self.paths)

    async def read_folder(self, path: str) -> list[FileInfo]:
        self.read.append(path)
        children = sorted(other for other in self.paths if split(other)[0] == path)
        if not children:
            raise PathNotFoundError(path)
        return [FileInfo(child, 0, 0, self.is_folder(child)) for child in children]


def walk(tree: Tree, **options: object) -> list[str]:
    async def collect() -> list[str]:
        return [info.path async for info in walk_tree(tree.read_folder, "/", **options)]

    return asyncio.run(collect())


@given(paths=st.sets(PATHS, min_size=1, max_size=12), start_after=st.one_of(st.just(""), PATHS))
def test_a_walk_is_the_sorted_tree_from_where_it_starts(paths: set[str], start_after: str) -> None:
    tree = Tree(paths)
    passed = components(start_after) if start_after else ()
    expected = sorted((path for path in tree.paths if components(path) > passed), key=components)
    assert walk(tree, start_after=start_after) == expected


@given(paths=st.sets(PATHS, min_size=1, max_size=12), left_out=st.sets(NAMES, max_size=3))
def test_a_folder_that_is_left_out_is_not_even_read(paths: set[str], left_out: set[str]) -> None:
    tree = Tree(paths)
    walked = walk(tree, descend=lambda info: info.name not in left_out)
    hidden = {path for path in tree.paths if left_out & set(components(path)[:-1])}
    assert walked == sorted(tree.paths - hidden, key=components)
    assert not left_out & {split(path)[1] for path in tree.read}


@given(paths=st.sets(PATHS, min_size=1, max_size=12), start_after=PATHS)
def test_a_continued_walk_reads_only_what_it_needs(paths: set[str], start_after: str) -> None:
    tree = Tree(paths)
    walked = walk(tree, start_after=start_after)
    on_the_way = {"/", *("/" + "/".join(components(start_after)[:depth]) for depth in range(1, 5))}
    assert set(tree.read) <= on_the_way | set(walked)
