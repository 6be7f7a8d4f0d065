"""The four services as programs, made from one configuration."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from moorage.config import Configuration
from moorage.rpc import Address
from moorage.supervisor.child import Program
from moorage.supervisor.listener import Listener
from moorage.supervisor.parent_death import SUPERVISED
from moorage.supervisor.readiness import gateway_is_ready, rpc_is_ready

# Seconds that a service may take to stop, on top of `http.draintimeout`, which it gives to calls under way.
DRAIN_MARGIN = 5.0

# Those that speak gRPC, in the order in which they stop.
BACKENDS = ("metadata", "notifier", "blob")


def service_environment(
    environ: Mapping[str, str], runtime: Path, *, secret: str | None, broker_url: str | None
) -> dict[str, str]:
    """The environment of the services: the operator's, with each other's addresses in `runtime`.

    `secret` and `broker_url` are None where the operator's own stand.
    """
    ours = {f"REGISTRY_SERVICES_{name.upper()}_ADDR": str(socket_of(name, runtime)) for name in BACKENDS}
    if broker_url is not None:
        ours["REGISTRY_SERVICES_NATS_URL"] = broker_url
    if secret is not None:
        ours["REGISTRY_HTTP_SECRET"] = secret
    # Not REGISTRY_SERVICES_BLOB_ADDR_0 beside REGISTRY_SERVICES_BLOB_ADDR either.
    theirs = {name: value for name, value in environ.items() if not name.startswith(tuple(ours))}
    return {**theirs, **ours, SUPERVISED: str(os.getpid())}


def socket_of(name: str, runtime: Path) -> Address:
    """Where a service listens."""
    return Address(path=runtime / f"{name}.sock")


def backend_programs(
    config: Configuration,
    config_path: Path | None,
    runtime: Path,
    environment: Mapping[str, str],
    names: Sequence[str] = BACKENDS,
) -> list[Program]:
    """The services behind the gateway, in the order in which they stop: a caller before its callee."""

    def backend(name: str) -> Program:
        addresses = _addresses(name, config, runtime)

        async def is_healthy(_pid: int) -> bool:
            return all(await asyncio.gather(*map(rpc_is_ready, addresses)))

        return Program(name, serve_command(name, config_path), environment, is_healthy, drain_limit(config))

    return [backend(name) for name in names]


def _addresses(name: str, config: Configuration, runtime: Path) -> list[Address]:
    """Where a service is, in the environment that it is given: one address for each instance."""
    address = socket_of(name, runtime)
    if name != "blob":
        return [address]
    blob = config.services.blob.model_copy(update={"addr": (str(address),)})
    return [Address.parse(each) for each in blob.instances]


def gateway_program(config: Configuration, config_path: Path, environment: Mapping[str, str]) -> Program:
    """The gateway. It starts when the others are healthy: until then its own health check would fail."""
    listener = Listener.of(config)

    async def answers(_pid: int) -> bool:
        return await gateway_is_ready(listener)

    return Program(
        "gateway", serve_command("gateway", config_path), environment, answers, drain_limit(config)
    )


def drain_limit(config: Configuration) -> float:
    """Seconds that a service may take to stop."""
    return config.http.draintimeout + DRAIN_MARGIN


def serve_command(name: str, config_path: Path | None) -> tuple[str, ...]:
    """The command that runs one service, by this interpreter."""
    command = (sys.executable, "-m", "moorage", "serve", name)
    return command if config_path is None else (*command, "-c", str(config_path))
