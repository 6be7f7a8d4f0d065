"""Upload purging: uploads that nobody goes on with are removed in the end.

Source: distribution's `storage.maintenance.uploadpurging`. There, an upload's age is the time since it was
started; here it is the time since anything was last written to it, so a slow push is not cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from blob_service.drivers.interface import FileInfo, PathNotFoundError, StorageDriver, StorageError
from blob_service.layout import (
    REPOSITORIES,
    UPLOADS,
    InvalidUploadIdError,
    UploadKey,
    upload_folder,
    upload_started_at,
)
from blob_service.metrics import UPLOAD_PURGE_FAILURES, UPLOAD_PURGES, UPLOADS_PURGED
from blob_service.uploads import Uploads
from moorage.config import Configuration
from moorage.reference import InvalidReferenceError
from moorage.workers import is_first_worker

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class PurgeSummary:
    """What one run came to."""

    # Uploads that were looked at.
    found: int = 0
    # Those that were removed; in a dry run, those that would be.
    purged: int = 0
    # Those that are old enough and that somebody had all the same.
    in_use: int = 0
    # Those that could not be looked at or removed.
    failed: int = 0
    # What interrupted calls had left in the backend, where no path leads.
    leftovers: int = 0
    # Whether all uploads could be found.
    complete: bool = True


def _nobody_watches(_key: UploadKey) -> None:
    """Whoever runs it sees the summary."""


class UploadPurger:
    """Removes the uploads to which nothing was written for `age` seconds, leftovers of uploads included.

    With `dry_run` it only says which those are.
    """

    def __init__(self, driver: StorageDriver, uploads: Uploads, *, age: float, dry_run: bool = False) -> None:
        self._driver = driver
        self._uploads = uploads
        self._age = timedelta(seconds=age)
        self._dry_run = dry_run

    async def run(self, looking_at: Callable[[UploadKey], None] = _nobody_watches) -> PurgeSummary:
        """Look at every upload once. What cannot be looked at or removed is logged, and counted as failed.

        `looking_at` is told of each.
        """
        summary = PurgeSummary()
        before = datetime.now(UTC) - self._age
        try:
            async for key in self._found():
                summary.found += 1
                looking_at(key)
                await self._consider(key, before, summary)
        except StorageError as error:
            summary.complete = False
            UPLOAD_PURGE_FAILURES.inc()
            log.warning("uploads could not be listed", error=str(error))
        await self._remove_leftovers(summary)
        UPLOAD_PURGES.labels("complete" if summary.complete and not summary.failed else "incomplete").inc()
        log.info(
            "upload purging has ended",
            found=summary.found,
            purged=summary.purged,
            in_use=summary.in_use,
            failed=summary.failed,
            leftovers=summary.leftovers,
            complete=summary.complete,
            dryrun=self._dry_run,
        )
        return summary

    async def _remove_leftovers(self, summary: PurgeSummary) -> None:
        try:
            check = self._driver.check(
                repair=not self._dry_run, older_than=self._age.total_seconds(), thorough=False
            )
            async with aclosing(check) as findings:
                async for _ in findings:
                    summary.leftovers += 1
        except StorageError as error:
            summary.complete = False
            UPLOAD_PURGE_FAILURES.inc()
            log.warning("what interrupted uploads left could not be removed", error=str(error))

    async def _consider(self, key: UploadKey, before: datetime, summary: PurgeSummary) -> None:
        active: datetime | None = None

        async def abandoned(modified_ns: int | None) -> bool:
            """The second look, when nobody can write any more, decides."""
            nonlocal active
            active = await self._last_activity(key, modified_ns)
            if active is None or active >= before:
                active = None
                return False
            return not self._dry_run

        try:
            seen = await self._last_activity(key)
            if seen is None or seen >= before:
                return
            if not await self._uploads.purge(key, abandoned):
                summary.in_use += 1
                return
        except PathNotFoundError:
            # Finished or cancelled meanwhile.
            return
        except StorageError as error:
            summary.failed += 1
            UPLOAD_PURGE_FAILURES.inc()
            log.warning(
                "an upload could not be purged", repository=key.repository, upload=key.id, error=str(error)
            )
            return
        if active is None:
            return
        summary.purged += 1
        if not self._dry_run:
            UPLOADS_PURGED.inc()
        log.info(
            "an upload would be purged" if self._dry_run else "an upload was purged",
            repository=key.repository,
            upload=key.id,
            last_activity=active.isoformat(timespec="seconds"),
        )

    async def _last_activity(self, key: UploadKey, modified_ns: int | None = None) -> datetime | None:
        """When anything of an upload was last written; None when the backend does not know.

        `modified_ns` is what a writer knows of data that the backend does not show. Raises PathNotFoundError
        when there is nothing of the upload.
        """
        folder = upload_folder(key)
        moments = [info.modified async for info in self._driver.walk(folder) if not info.is_dir]
        if modified_ns is not None:
            moments.append(datetime.fromtimestamp(modified_ns / 10**9, UTC))
        if not moments:
            info = await self._driver.stat(folder)
            return info.modified if info.modified_ns else None
        started = await self._started_at(key)
        return max([*moments, started] if started is not None else moments)

    async def _started_at(self, key: UploadKey) -> datetime | None:
        """When an upload was started, if that can be read."""
        try:
            content = await self._driver.get_content(upload_started_at(key))
            moment = datetime.fromisoformat(content.decode("ascii"))
        except (PathNotFoundError, ValueError):
            return None
        return moment if moment.tzinfo is not None else None

    async def _found(self) -> AsyncIterator[UploadKey]:
        """Every folder among a repository's uploads, of all repositories."""

        def descend(info: FileInfo) -> bool:
            # What is in `_layers` and `_manifests` are links, and there are many.
            return not info.name.startswith("_")

        try:
            async for info in self._driver.walk(REPOSITORIES, descend=descend):
                if info.is_dir and info.name == UPLOADS:
                    async for key in self._in(info.path):
                        yield key
        except PathNotFoundError:
            # Nothing was ever pushed.
            return

    async def _in(self, folder: str) -> AsyncIterator[UploadKey]:
        repository = folder.removeprefix(f"{REPOSITORIES}/").removesuffix(f"/{UPLOADS}")
        try:
            children = await self._driver.list(folder)
        except PathNotFoundError:
            # Removed meanwhile.
            return
        for child in children:
            try:
                yield UploadKey.parse(repository, child.rpartition("/")[2])
            except (InvalidReferenceError, InvalidUploadIdError) as error:
                log.warning("not an upload", path=child, error=str(error))


def purges_here(config: Configuration, environ: Mapping[str, str]) -> bool:
    """Whether this process is the one that purges uploads: of several workers, only the first does.

    Nobody does while the registry is read-only.
    """
    maintenance = config.storage.maintenance
    wanted = maintenance.uploadpurging.enabled and not maintenance.readonly.enabled
    return wanted and is_first_worker(environ)


async def purge_periodically(purger: UploadPurger, *, first_after: float, interval: float) -> None:
    """Run the purger after `first_after` seconds, and then every `interval` seconds, until cancelled."""
    await asyncio.sleep(first_after)
    while True:
        try:
            await purger.run()
        except Exception:
            # A mistake of ours. The next run may be spared it, and the service goes on in any case.
            UPLOAD_PURGE_FAILURES.inc()
            log.exception("upload purging was broken off")
        await asyncio.sleep(interval)
