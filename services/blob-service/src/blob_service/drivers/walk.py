"""The traversal that `StorageDriver.walk` promises, for any backend that can say what is in one folder."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable

from blob_service.drivers.errors import PathNotFoundError
from blob_service.drivers.interface import FileInfo, StorageDriver
from blob_service.drivers.paths import components

# What is in a folder, in byte order of the names; raises PathNotFoundError if it is not a folder.
FolderReader = Callable[[str], Awaitable[list[FileInfo]]]


async def walk_tree(
    read_folder: FolderReader,
    path: str,
    *,
    start_after: str = "",
    descend: Callable[[FileInfo], bool] | None = None,
) -> AsyncGenerator[FileInfo, None]:
    """Walk with one `read_folder` for each folder; see `StorageDriver.walk`.

    Holds the entries of the folders on the way down, each of which is at most one level deep.
    """
    passed = components(start_after) if start_after else ()
    # The entries still to come of each open folder, the next one at the end.
    levels = [list(reversed(await read_folder(path)))]
    while levels:
        if not levels[-1]:
            levels.pop()
            continue
        info = levels[-1].pop()
        place = components(info.path)
        if place > passed:
            yield info
            if not info.is_dir or (descend is not None and not descend(info)):
                continue
        elif not info.is_dir or passed[: len(place)] != place:
            # It comes before `start_after`, and so does all that is below it.
            continue
        try:
            levels.append(list(reversed(await read_folder(info.path))))
        except PathNotFoundError:
            # Deleted since its parent was read.
            continue


def folder_reader(driver: StorageDriver) -> FolderReader:
    """Read folders through the driver's own `list` and `stat`, for a backend that has nothing better."""

    async def read_folder(path: str) -> list[FileInfo]:
        infos = []
        for child in await driver.list(path):
            try:
                infos.append(await driver.stat(child))
            except PathNotFoundError:
                # Deleted since the list was made.
                continue
        return infos

    return read_folder
