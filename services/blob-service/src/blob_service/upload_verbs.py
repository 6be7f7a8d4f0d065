"""`moorage uploads`: about the uploads in the storage backend, whether or not the service runs."""

from __future__ import annotations

import asyncio
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from moorage.cli.failures import FAILURE, failures
from moorage.cli.options import AsJSON, ConfigPath, duration, log_warnings, print_json, set_up_logging
from moorage.cli.progress import Step, progress
from moorage.config import Configuration, ConfigurationError, load

if TYPE_CHECKING:
    from blob_service.purging import PurgeSummary

app = typer.Typer(name="uploads", help="Look after uploads.", no_args_is_help=True)


@app.callback()
def _uploads() -> None:
    """Look after uploads."""


@app.command()
def purge(
    config_path: ConfigPath = None,
    age: Annotated[
        float | None,
        typer.Option(
            metavar="DURATION",
            parser=duration,
            help="How long nothing must have been written. Default: storage.maintenance.uploadpurging.age.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-d", help="Only say which those are.")] = False,
    as_json: AsJSON = False,
) -> None:
    """Remove uploads that nobody went on with, once, whether or not the registry does so by itself.

    The registry may run meanwhile: an upload that somebody is writing to is left alone.
    """
    with failures():
        config = load(config_path, os.environ)
        set_up_logging(config, "uploads")
        log_warnings(config)
        if config.storage.inmemory is not None:
            raise ConfigurationError("storage.inmemory", "only the blob service itself can reach its memory")
        if age is None:
            age = config.storage.maintenance.uploadpurging.age
        with progress("looking at uploads", wanted=not as_json) as step:
            summary = asyncio.run(_purge(config, age, dry_run, step))
        if as_json:
            print_json({**asdict(summary), "dry_run": dry_run})
        else:
            verb = "would be purged" if dry_run else "purged"
            typer.echo(
                f"{summary.found} uploads found, {summary.purged} {verb}, {summary.in_use} in use, "
                f"{summary.failed} failed"
            )
        if summary.failed or not summary.complete:
            raise typer.Exit(FAILURE)


async def _purge(config: Configuration, age: float, dry_run: bool, step: Step) -> PurgeSummary:
    # What the drivers need is loaded only here.
    from blob_service.blobs import Blobs
    from blob_service.hashing import new_executor
    from blob_service.purging import UploadPurger
    from blob_service.storage import open_storage
    from blob_service.uploads import Uploads

    driver = await open_storage(config)
    try:
        with new_executor() as executor:
            uploads = Uploads(driver, Blobs(driver, executor), executor)
            purger = UploadPurger(driver, uploads, age=age, dry_run=dry_run)
            return await purger.run(lambda key: step(key.repository))
    finally:
        await driver.close()
