"""`moorage storage`: about what is in the storage backend, without starting the service."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterable
from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moorage.cli.failures import FAILURE, complain, failures
from moorage.cli.options import ConfigPath, duration, set_up_logging
from moorage.cli.progress import Step, progress
from moorage.config import Configuration, load

if TYPE_CHECKING:
    from blob_service.drivers.interface import Finding

app = typer.Typer(name="storage", help="Look after the storage backend.", no_args_is_help=True)


@app.callback()
def _storage() -> None:
    """Look after the storage backend."""


@app.command()
def check(
    config_path: ConfigPath = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove or mend what can be, without loss of any file.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON document a line.")] = False,
    older_than: Annotated[
        float,
        typer.Option(
            metavar="DURATION",
            parser=duration,
            help="Leave alone what was changed more lately: somebody may be at work on it.",
        ),
    ] = "1h",  # type: ignore[assignment]  # the parser reads the default as well
) -> None:
    """Find what crashes have left in the storage backend, and what is damaged there.

    It may run while the registry does. Status 0 when nothing is wrong or all was repaired, otherwise 1.
    """
    with failures():
        config = load(config_path, os.environ)
        set_up_logging(config, "storage")
        if not asyncio.run(_check(config, repair=repair, as_json=as_json, older_than=older_than)):
            raise typer.Exit(FAILURE)


async def _check(config: Configuration, *, repair: bool, as_json: bool, older_than: float) -> bool:
    """Print what is found; whether nothing is wrong now."""
    # What the drivers need is loaded only here.
    from blob_service.drivers import factory
    from blob_service.drivers.errors import StorageError

    driver = factory.create(config.storage.driver_name, config.storage.driver_parameters)
    try:
        async with aclosing(driver.check(repair=repair, older_than=older_than)) as findings:
            with progress("checking the storage; findings:", wanted=not as_json) as step:
                found, repaired = await _print(findings, step, as_json=as_json)
    except StorageError as error:
        complain(str(error))
        return False
    finally:
        await driver.close()
    if as_json:
        _print_json({"found": found, "repaired": repaired})
    else:
        typer.echo(f"{found} found, {repaired} repaired" if found else "storage ok")
    return found == repaired


async def _print(findings: AsyncIterable[Finding], step: Step, *, as_json: bool) -> tuple[int, int]:
    found = repaired = 0
    async for finding in findings:
        found += 1
        step(finding.subject)
        repaired += finding.repaired
        if as_json:
            _print_json(asdict(finding))
        else:
            detail = f" ({finding.detail})" if finding.detail else ""
            done = ": repaired" if finding.repaired else ""
            typer.echo(f"{finding.kind}: {finding.subject}{detail}{done}")
    return found, repaired


def _print_json(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document))
