"""`moorage garbage-collect`: distribution's verb, for a registry that is stopped or read-only.

Where the registry runs, its own metadata service collects, so that its caches and its gateways are told.
Where it does not, this command runs a metadata and a blob service of its own meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moorage.cli.failures import FAILURE, complain, failures
from moorage.cli.options import ConfigArgument, set_up_logging
from moorage.cli.progress import Step, progress
from moorage.config import Configuration, ConfigurationError, data_dir, load

if TYPE_CHECKING:
    from moorage.rpc import Address
    from moorage.v1.metadata_pb2 import CollectGarbageRequest, CollectGarbageResponse

# Seconds in which a service that runs takes a connection.
_CONNECT_SECONDS = 5.0

# A caller before its callee.
_SERVICES = ("metadata", "blob")

app = typer.Typer(add_completion=False)


@app.command(name="garbage-collect")
def garbage_collect(
    config_path: ConfigArgument = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-d", help="Only say what would be removed.")] = False,
    delete_untagged: Annotated[
        bool,
        typer.Option(
            "--delete-untagged",
            "-m",
            help="Also remove manifests without a tag, but for children of an index and referrers of a "
            "manifest that stays.",
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the summary alone.")] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Even while the registry takes pushes. What is pushed may be lost."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON document a line.")] = False,
) -> None:
    """Remove blobs that no manifest needs.

    The registry must be read-only (storage.maintenance.readonly) or stopped meanwhile.
    """
    # What the work needs is loaded only here.
    from moorage.v1.metadata_pb2 import CollectGarbageRequest

    with failures():
        config = load(config_path, os.environ)
        set_up_logging(config, "garbage-collect")
        request = CollectGarbageRequest(
            dry_run=dry_run,
            delete_untagged=delete_untagged,
            force=force,
            quiet=quiet,
        )
        say = _json_line if as_json else _quiet_line if quiet else _line
        with progress("collecting garbage", wanted=not as_json) as step:
            collected = asyncio.run(_collect(config, config_path, request, say, step))
        if not collected:
            raise typer.Exit(FAILURE)


async def _collect(
    config: Configuration,
    config_path: Path | None,
    request: CollectGarbageRequest,
    say: Callable[[CollectGarbageResponse], str | None],
    step: Step,
) -> bool:
    """Collect and print; false when it failed, which has been said then."""
    from moorage.errors import RegistryError

    try:
        running = await _running(config, os.environ, force=request.force)
        if running is not None:
            await _ask(running, request, say, step)
        else:
            async with _own_services(config, config_path) as address:
                # Nobody else is there who could push.
                request.force = True
                await _ask(address, request, say, step)
    except RegistryError as error:
        entry = error.entries[0]
        detail = f": {json.dumps(entry.detail)}" if entry.detail else ""
        complain((entry.message or error.code.message) + detail)
        return False
    return True


async def _ask(
    address: Address,
    request: CollectGarbageRequest,
    say: Callable[[CollectGarbageResponse], str | None],
    step: Step,
) -> None:
    """Have a metadata service collect. Raises RegistryError."""
    from moorage.rpc import open_channel, rpc_errors
    from moorage.v1.metadata_pb2_grpc import MetadataStub

    channel = open_channel(address)
    try:
        with rpc_errors():
            async for response in MetadataStub(channel).CollectGarbage(request):
                step(response.repository)
                if (line := say(response)) is not None:
                    sys.stdout.write(f"{line}\n")
                    sys.stdout.flush()
    finally:
        await channel.close(None)


async def _running(config: Configuration, environ: Mapping[str, str], *, force: bool) -> Address | None:
    """Where the metadata service of this configuration runs; None where it does not."""
    from moorage.rpc import Address
    from moorage.supervisor.folders import runtime_folder
    from moorage.supervisor.programs import socket_of

    location = config.storage.location
    runtime = runtime_folder(data_dir(environ))
    if runtime is not None:
        # That of `moorage up`, which may have another configuration.
        supervised = socket_of("metadata", runtime)
        if await _listens(supervised) and await _storage(supervised) == location:
            return supervised
    address = Address.parse(config.services.metadata.addr)
    try:
        if not await _listens(address):
            return None
    except (OSError, TimeoutError) as error:
        if force:
            return None
        raise ConfigurationError(
            "services.metadata.addr",
            f"it cannot be told whether the registry runs ({address}: {error or 'no answer'}); "
            "with --force it counts as stopped",
        ) from error
    other = await _storage(address)
    if other != location:
        raise ConfigurationError("storage", f"the registry that runs has other storage: {other}")
    return address


async def _listens(address: Address) -> bool:
    """Whether somebody takes connections there. Raises OSError or TimeoutError when that cannot be told."""
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            if address.path is not None:
                _, writer = await asyncio.open_unix_connection(str(address.path))
            else:
                _, writer = await asyncio.open_connection(address.host, address.port)
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    writer.close()
    return True


async def _storage(address: Address) -> str:
    """The storage of the service there. Raises RegistryError."""
    from moorage.rpc import open_channel, unary
    from moorage.v1.metadata_pb2 import DescribeStorageRequest
    from moorage.v1.metadata_pb2_grpc import MetadataStub

    channel = open_channel(address)
    try:
        ask = MetadataStub(channel).DescribeStorage
        return (await unary(ask, DescribeStorageRequest(), timeout=_CONNECT_SECONDS)).location
    finally:
        await channel.close(None)


@asynccontextmanager
async def _own_services(config: Configuration, config_path: Path | None) -> AsyncIterator[Address]:
    """A metadata service of our own on the configured storage; its address."""
    from moorage.supervisor.private import private_services
    from moorage.supervisor.programs import socket_of

    if config.storage.inmemory is not None:
        raise ConfigurationError("storage.inmemory", "only a registry that runs has its content")
    environ = {
        "REGISTRY_LOG_LEVEL": "warn",
        **os.environ,
        "REGISTRY_SERVICES_BLOB_WORKERS": "1",
        # No gateway is to be told.
        "REGISTRY_SERVICES_METADATA_LEASE": "0",
    }
    async with private_services(_SERVICES, config, config_path, environ) as runtime:
        yield socket_of("metadata", runtime)


def _line(response: CollectGarbageResponse) -> str | None:
    """What a person reads: distribution's words."""
    item = getattr(response, response.WhichOneof("event") or "")
    match response.WhichOneof("event"):
        case "repository":
            return response.repository
        case "marked":
            return f"{item.repository}: marking {_kind(item)} {item.digest}"
        case "eligible":
            place = f"{item.repository}: " if item.repository else ""
            return f"{place}{_kind(item)} eligible for deletion: {item.digest}"
        case "missing":
            return f"{item.repository}: the manifest {item.digest} is linked, but its bytes are missing"
        case "summary":
            return (
                f"\n{item.marked} blobs marked, {item.blobs} blobs and {item.manifests} manifests eligible "
                f"for deletion ({item.bytes} bytes)"
            )
    return None


def _quiet_line(response: CollectGarbageResponse) -> str | None:
    shown = response.WhichOneof("event") in ("missing", "summary")
    line = _line(response) if shown else None
    return None if line is None else line.strip()


def _json_line(response: CollectGarbageResponse) -> str:
    """The event under its name; `kind` is manifest, blob or link."""
    event = response.WhichOneof("event") or ""
    value = getattr(response, event)
    if event == "summary":
        value = {each.name: getattr(value, each.name) for each in value.DESCRIPTOR.fields}
    elif event != "repository":
        value = {
            "kind": _kind(value),
            "repository": value.repository,
            "digest": value.digest,
            "size": value.size,
        }
    return json.dumps({event: value})


def _kind(item: CollectGarbageResponse.Item) -> str:
    from moorage.v1.metadata_pb2 import CollectGarbageResponse

    name: str = CollectGarbageResponse.Kind.Name(item.kind)
    return name.removeprefix("KIND_").lower()
