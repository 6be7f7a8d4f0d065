"""A driver around a driver, which passes every call on."""

from __future__ import annotations

import builtins
from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, TypeVar

from blob_service.drivers.interface import (
    FileInfo,
    FileReader,
    FileWriter,
    Finding,
    RedirectRequest,
    StorageDriver,
    UnsupportedMethodError,
)
from blob_service.drivers.paths import check_path

_T = TypeVar("_T")


class DriverMiddleware(StorageDriver):
    """Answers `redirect_url` in its own way, and leaves all else to the driver that it is around."""

    def __init__(self, driver: StorageDriver) -> None:
        self._driver = driver

    @abstractmethod
    async def redirect(self, request: RedirectRequest, path: str) -> str | None:
        """What `redirect_url` promises, for a request and a path that were checked."""

    async def redirect_url(self, request: RedirectRequest, path: str) -> str | None:
        """See `StorageDriver.redirect_url`."""
        check_path(path)
        if request.method not in ("GET", "HEAD"):
            raise UnsupportedMethodError(f"redirect of {request.method}")
        return await self.redirect(request, path)

    @property
    def name(self) -> str:
        """The driver's name."""
        return self._driver.name

    @property
    def transient(self) -> StorageDriver:
        """See `StorageDriver.transient`: the driver's own, from which nothing is redirected."""
        return self._driver.transient

    def parts(self, calls: int) -> int:
        """See `StorageDriver.parts`."""
        return self._driver.parts(calls)

    async def together(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """See `StorageDriver.together`."""
        return await self._driver.together(work)

    async def get_content(self, path: str) -> bytes:
        """See `StorageDriver.get_content`."""
        return await self._driver.get_content(path)

    async def put_content(self, path: str, content: bytes) -> None:
        """See `StorageDriver.put_content`."""
        await self._driver.put_content(path, content)

    async def reader(self, path: str, offset: int = 0, *, length: int | None = None) -> FileReader:
        """See `StorageDriver.reader`."""
        return await self._driver.reader(path, offset, length=length)

    async def writer(self, path: str, *, append: bool = False) -> FileWriter:
        """See `StorageDriver.writer`."""
        return await self._driver.writer(path, append=append)

    async def stat(self, path: str) -> FileInfo:
        """See `StorageDriver.stat`."""
        return await self._driver.stat(path)

    async def list(
        self, path: str, *, after: str = "", limit: int | None = None, having: str = ""
    ) -> builtins.list[str]:
        """See `StorageDriver.list`."""
        return await self._driver.list(path, after=after, limit=limit, having=having)

    async def move(self, source: str, destination: str) -> None:
        """See `StorageDriver.move`."""
        await self._driver.move(source, destination)

    async def delete(self, path: str) -> None:
        """See `StorageDriver.delete`."""
        await self._driver.delete(path)

    def object_key(self, path: str) -> str | None:
        """See `StorageDriver.object_key`."""
        return self._driver.object_key(path)

    def walk(
        self, path: str, *, start_after: str = "", descend: Callable[[FileInfo], bool] | None = None
    ) -> AsyncGenerator[FileInfo, None]:
        """See `StorageDriver.walk`."""
        return self._driver.walk(path, start_after=start_after, descend=descend)

    def check(
        self, *, repair: bool, older_than: float, thorough: bool = True
    ) -> AsyncGenerator[Finding, None]:
        """See `StorageDriver.check`."""
        return self._driver.check(repair=repair, older_than=older_than, thorough=thorough)

    async def close(self) -> None:
        """See `StorageDriver.close`."""
        await self._driver.close()
