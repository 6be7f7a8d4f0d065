"""The S3 driver: the interface over one bucket.

Layout: a driver path is a key below `rootdirectory`, as in distribution, so the two can take turns on one
bucket. Beside the files lie records of those that are not committed yet (`record`), which no path leads to.

What S3 cannot do at once: a move is a copy and then a deletion; a folder is deleted in batches; and another
process is not kept from opening a path, but only from putting anything on record after somebody else did.
"""

from __future__ import annotations

import builtins
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta

from blob_service.drivers.errors import WriterBusyError
from blob_service.drivers.interface import (
    FileInfo,
    FileReader,
    FileWriter,
    Finding,
    RedirectRequest,
    StorageDriver,
)
from blob_service.drivers.s3.bucket import Bucket
from blob_service.drivers.s3.connection import Connection
from blob_service.drivers.s3.deleting import delete_all, orphans
from blob_service.drivers.s3.keys import Keys
from blob_service.drivers.s3.listing import children, folder_infos, info_of
from blob_service.drivers.s3.moving import Mover
from blob_service.drivers.s3.reader import open_reader
from blob_service.drivers.s3.requests import NAME, Requests
from blob_service.drivers.s3.settings import Settings
from blob_service.drivers.s3.writer import S3Writer, open_new, open_to_append
from blob_service.drivers.walk import walk_tree

# How long a signed URL works, in seconds; as in distribution.
_SIGNED_SECONDS = 20 * 60

_LOGGED = {
    "off": frozenset[str](),
    "debug": frozenset({"all"}),
    "debugwithrequestretries": frozenset({"retries"}),
    "debugwithrequesterrors": frozenset({"errors"}),
}


class S3Driver(StorageDriver):
    """Keeps everything in one bucket, which is there already."""

    def __init__(self, settings: Settings) -> None:
        self._connection = Connection(settings)
        requests = Requests(self._connection, timeout=settings.timeout, logged=_LOGGED[settings.loglevel])
        self._bucket = Bucket(requests, settings, Keys(settings.rootdirectory))
        self._mover = Mover(self._bucket)
        # None while the writer of a path is being opened.
        self._writers: dict[str, S3Writer | None] = {}

    @property
    def name(self) -> str:
        """`s3`."""
        return NAME

    async def get_content(self, path: str) -> bytes:
        """See `StorageDriver.get_content`."""
        piece = await self._bucket.read(self._bucket.keys.of(path), 0, None)
        return b"" if piece is None else piece.content

    async def put_content(self, path: str, content: bytes) -> None:
        """See `StorageDriver.put_content`."""
        await self._bucket.put(self._bucket.keys.of(path), content)
        self._lose(path)

    async def reader(self, path: str, offset: int = 0, *, length: int | None = None) -> FileReader:
        """See `StorageDriver.reader`."""
        return await open_reader(self._bucket, path, offset, length)

    async def writer(self, path: str, *, append: bool = False) -> FileWriter:
        """See `StorageDriver.writer`."""
        if path in self._writers:
            raise WriterBusyError(path)
        self._writers[path] = None
        try:
            opened = await (open_to_append if append else open_new)(self._bucket, path)
        except BaseException:
            del self._writers[path]
            raise
        writer = S3Writer(self._bucket, path, opened, lambda: self._release(path))
        self._writers[path] = writer
        return writer

    async def stat(self, path: str) -> FileInfo:
        """See `StorageDriver.stat`."""
        return await info_of(self._bucket, path)

    async def list(
        self, path: str, *, after: str = "", limit: int | None = None, having: str = ""
    ) -> builtins.list[str]:
        """See `StorageDriver.list`."""
        return await children(self._bucket, path, after=after, limit=limit, having=having)

    async def move(self, source: str, destination: str) -> None:
        """See `StorageDriver.move`."""
        await self._mover.move(source, destination)
        if source != destination:
            self._lose(source)
            self._lose(destination)

    async def delete(self, path: str) -> None:
        """See `StorageDriver.delete`."""
        lost = [held for held in self._writers if held == path or held.startswith(f"{path}/")]
        await delete_all(self._bucket, path)
        for held in lost:
            self._lose(held)

    async def redirect_url(self, request: RedirectRequest, path: str) -> str | None:
        """A signed URL that works for 20 minutes; see `StorageDriver.redirect_url`."""
        signer = await self._connection.signer()
        url: str = await signer.generate_presigned_url(
            "get_object" if request.method == "GET" else "head_object",
            Params={"Bucket": self._bucket.name, "Key": self._bucket.keys.of(path)},
            ExpiresIn=_SIGNED_SECONDS,
        )
        return url

    def object_key(self, path: str) -> str | None:
        """See `StorageDriver.object_key`."""
        return self._bucket.keys.of(path)

    def walk(
        self, path: str, *, start_after: str = "", descend: Callable[[FileInfo], bool] | None = None
    ) -> AsyncGenerator[FileInfo, None]:
        """See `StorageDriver.walk`."""
        return walk_tree(
            lambda folder: folder_infos(self._bucket, folder), path, start_after=start_after, descend=descend
        )

    def check(
        self, *, repair: bool, older_than: float, thorough: bool = True
    ) -> AsyncGenerator[Finding, None]:
        """See `StorageDriver.check`: finds multipart uploads that a crash left, and aborts them."""
        return orphans(self._bucket, timedelta(seconds=older_than), abort=repair)

    async def close(self) -> None:
        """See `StorageDriver.close`."""
        await self._connection.close()

    def _lose(self, path: str) -> None:
        writer = self._writers.get(path)
        if writer is not None:
            writer.lose()

    def _release(self, path: str) -> None:
        del self._writers[path]
