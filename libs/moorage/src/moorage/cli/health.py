"""`moorage health`: whether the service that runs here is healthy, for whoever supervises its container."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from moorage.cli.failures import FAILURE, complain, failures
from moorage.cli.options import AsJSON, ConfigPath, duration, print_json
from moorage.config import Configuration, load
from moorage.rpc import Address, Security
from moorage.supervisor.listener import Listener
from moorage.supervisor.readiness import gateway_is_ready, rpc_is_ready

_SERVICES = ("gateway", "blob", "metadata", "notifier")


def _known(name: str) -> str:
    if name not in _SERVICES:
        raise typer.BadParameter(f"no service {name!r}; there are {', '.join(_SERVICES)}")
    return name


def health(
    service: Annotated[
        str,
        typer.Argument(
            metavar="SERVICE",
            callback=_known,
            help="gateway, blob, metadata or notifier.",
            show_default=False,
        ),
    ],
    config_path: ConfigPath = None,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="DURATION", parser=duration, help="How long an answer may take.", show_default=True
        ),
    ] = "5s",  # type: ignore[assignment]  # it is parsed
    as_json: AsJSON = False,
) -> None:
    """Ask the service of this host for its health: status 0, or 1 while it cannot do its work.

    It is asked where the configuration has it listen. The gateway is healthy while it answers GET /v2/, the
    others while their gRPC health service says SERVING.
    """
    with failures():
        config = load(config_path, os.environ)
        healthy = asyncio.run(_is_healthy(service, config, timeout))
        if as_json:
            print_json({"service": service, "healthy": healthy})
        elif healthy:
            typer.echo(f"{service} is healthy")
        else:
            complain(f"{service} is not healthy")
        if not healthy:
            raise typer.Exit(FAILURE)


async def _is_healthy(service: str, config: Configuration, timeout: float) -> bool:
    if service == "gateway":
        return await gateway_is_ready(Listener.of(config), timeout=timeout, agent="moorage-health")
    addresses = [Address.parse(text).of_this_host for text in _addresses(service, config)]
    # It asks as the service itself, whose certificate is on this host.
    security = Security.of(config, service)
    answers = (rpc_is_ready(each, timeout=timeout, security=security, name=service) for each in addresses)
    return all(await asyncio.gather(*answers))


def _addresses(service: str, config: Configuration) -> tuple[str, ...]:
    """Where a service listens; several addresses for several processes."""
    services = config.services
    match service:
        case "blob":
            return services.blob.instances
        case "metadata":
            return (services.metadata.addr,)
        case _:
            return (services.notifier.addr,)
