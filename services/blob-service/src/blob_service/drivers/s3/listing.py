"""Folders, which a bucket does not have: what the keys say of them, in the order of names.

S3 lists in the order of keys, in which the folder `a/` comes after the file `a-b`. The order of names, which
pages are made of, is another one: `a` before `a-b`. So a page is only put out once it is known whether a
folder belongs before its last name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import islice

from blob_service.concurrency import gather_bounded
from blob_service.drivers.errors import PathNotFoundError
from blob_service.drivers.interface import FileInfo
from blob_service.drivers.paths import ROOT, join
from blob_service.drivers.s3.bucket import PAGE, Bucket, Listed, Object, nanoseconds
from blob_service.drivers.s3.keys import is_shown
from blob_service.drivers.s3.record import load_record_only


async def info_of(bucket: Bucket, path: str) -> FileInfo:
    """What is at a path; a file that is not committed yet has the size that is on record.

    Raises PathNotFoundError, InvalidPathError.
    """
    if path == ROOT:
        # It is there whatever is in it, if the bucket is.
        await bucket.page(bucket.keys.prefix(path), limit=1)
        return FileInfo(path, 0, 0, is_dir=True)
    found = await bucket.head(bucket.keys.of(path))
    if found is not None:
        return _file(path, found)
    below = await bucket.page(bucket.keys.prefix(path), folders=False, limit=1)
    if not below.objects:
        raise PathNotFoundError(path)
    first = below.objects[0]
    if first.key != bucket.keys.record(path):
        return FileInfo(path, 0, 0, is_dir=True)
    record = await load_record_only(bucket, path)
    if record is None or record.replaces:
        # Removed since, or left over from a committed file that was moved away.
        raise PathNotFoundError(path)
    return FileInfo(path, record.size, nanoseconds(first.modified), is_dir=False)


async def folder_infos(bucket: Bucket, folder: str) -> list[FileInfo]:
    """What is in a folder, in the order of names. Raises PathNotFoundError if it is not one."""
    infos = {info.path: info async for page in _pages(bucket, folder, "", PAGE) for info in page}
    if not infos:
        await _check_folder(bucket, folder)
    return [infos[path] for path in sorted(infos)]


async def children(bucket: Bucket, folder: str, *, after: str, limit: int | None, having: str) -> list[str]:
    """See `StorageDriver.list`. Raises PathNotFoundError if it is not a folder."""
    found: list[str] = []
    anything = False
    if limit != 0:
        page_size = PAGE if limit is None or having else limit + 1
        async for page in _pages(bucket, folder, after, page_size):
            anything = True
            paths = [info.path for info in page]
            if having:
                there = await gather_bounded(lambda path: _exists(bucket, join(path, having)), paths)
                paths = [path for path, is_there in zip(paths, there, strict=True) if is_there]
            found += paths
            if limit is not None and len(found) >= limit:
                break
    if not anything:
        await _check_folder(bucket, folder)
    return list(islice(found, limit))


async def _check_folder(bucket: Bucket, folder: str) -> None:
    """Raise PathNotFoundError unless something other than a record is below the folder."""
    if folder == ROOT:
        return
    below = await bucket.page(bucket.keys.prefix(folder), folders=False, limit=1)
    if not below.objects or below.objects[0].key == bucket.keys.record(folder):
        raise PathNotFoundError(folder)


async def _pages(bucket: Bucket, folder: str, after: str, page_size: int) -> AsyncIterator[list[FileInfo]]:
    """The content of a folder in the order of names, without empty pages."""
    prefix = bucket.keys.prefix(folder)
    last_name = after
    token = ""
    while True:
        listed = await bucket.page(
            prefix, after=prefix + after if after else "", limit=page_size, token=token
        )
        infos = _infos(folder, prefix, listed)
        if listed.token:
            infos.update(await _folders_before_the_last(bucket, folder, prefix, listed, infos))
        # A folder that was looked up for an earlier page comes once more at its place in the order of keys.
        names = sorted(name for name in infos if name > last_name)
        if names:
            last_name = names[-1]
            yield [infos[name] for name in names]
        token = listed.token
        if not token:
            return


def _infos(folder: str, prefix: str, listed: Listed) -> dict[str, FileInfo]:
    infos = {}
    for key in listed.folders:
        name = key[len(prefix) : -1]
        if is_shown(name):
            infos[name] = FileInfo(join(folder, name), 0, 0, is_dir=True)
    for each in listed.objects:
        name = each.key[len(prefix) :]
        if is_shown(name):
            infos[name] = _file(join(folder, name), each)
    return infos


async def _folders_before_the_last(
    bucket: Bucket, folder: str, prefix: str, listed: Listed, seen: dict[str, FileInfo]
) -> dict[str, FileInfo]:
    """Folders whose names come before the last one of a page, and whose keys come after it.

    Such a name is a beginning of the last one, and `-` or `.`, which come before the slash, follow it there.
    """
    last = listed.last[len(prefix) :].rstrip("/")
    names = [last[:at] for at, character in enumerate(last) if character in "-." and last[:at] not in seen]
    names = [name for name in names if is_shown(name)]
    pages = await asyncio.gather(*(bucket.page(f"{prefix}{name}/", folders=False, limit=1) for name in names))
    return {
        name: FileInfo(join(folder, name), 0, 0, is_dir=True)
        for name, page in zip(names, pages, strict=True)
        if page.objects
    }


async def _exists(bucket: Bucket, path: str) -> bool:
    """Whether there is a file or a folder, mostly with one request."""
    key = bucket.keys.of(path)
    page = await bucket.page(key, folders=False, limit=1)
    if not page.objects:
        return False
    first = page.objects[0].key
    if first == key or first.startswith(f"{key}/"):
        return True
    # Others whose names begin like this one come first.
    return bool((await bucket.page(f"{key}/", folders=False, limit=1)).objects)


def _file(path: str, found: Object) -> FileInfo:
    return FileInfo(path, found.size, nanoseconds(found.modified), is_dir=False)
