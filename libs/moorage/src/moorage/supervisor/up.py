"""`moorage up` from start to end."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from moorage.config import Configuration, ConfigurationError, embedded_default
from moorage.supervisor.broker import EmbeddedBroker, find_nats_server, is_worth_saying
from moorage.supervisor.child import Program
from moorage.supervisor.folders import Folders, held, shared_secret
from moorage.supervisor.listener import Listener
from moorage.supervisor.programs import backend_programs, gateway_program, service_environment
from moorage.supervisor.supervisor import Signals, Supervisor

log = structlog.get_logger("moorage.supervisor")

# Seconds that the broker may take to write its store and stop.
BROKER_DRAIN_LIMIT = 10.0


def check(config: Configuration) -> None:
    """Refuse what only `moorage up` cannot do; raises ConfigurationError or OSError."""
    if config.http.net == "tcp" and Listener.of(config).port == 0:
        raise ConfigurationError("http.addr", "'moorage up' needs a port of its own, not 0")
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        raise OSError("socket activation is for 'moorage serve gateway', not for 'moorage up'")


async def up(
    config: Configuration,
    config_path: Path | None,
    data: Path,
    environ: Mapping[str, str],
    announce: Callable[[str, str], None],
) -> bool:
    """Run the broker and the four services until a signal says to stop; True when all of them drained.

    `config` is what `config_path` (None for the embedded default) and `environ` hold. `announce` is given the
    URL and what the storage is, once everything is ready. Raises OSError when an address or a folder cannot
    be had, and StartError when something does not come up.
    """
    listener = Listener.of(config)
    listener.check_free()
    async with held(data) as folders:
        signals = Signals()
        signals.listen()
        supervisor = Supervisor(signals)
        try:
            if await _start(supervisor, config, config_path, folders, environ):
                announce(str(listener), _storage(config))
                await supervisor.watch()
        finally:
            log.info("stopping")
            clean = await supervisor.drain()
            log.info("stopped")
        return clean


async def _start(
    supervisor: Supervisor,
    config: Configuration,
    config_path: Path | None,
    folders: Folders,
    environ: Mapping[str, str],
) -> bool:
    """Start the broker, the services that need its address, the gateway. False when told to stop before."""
    data, runtime = folders.data, folders.runtime
    broker_url = None
    if "url" not in config.services.nats.model_fields_set:
        interval = config.services.nats.syncinterval
        broker = EmbeddedBroker(find_nats_server(), data / "nats", runtime, sync_interval=interval)
        program = Program(
            "nats-server",
            broker.command(os.getpid()),
            environ,
            broker.is_ready,
            BROKER_DRAIN_LIMIT,
            is_worth_saying,
            (folders.lock,),
        )
        if not await supervisor.start([program]):
            return False
        broker_url = broker.url
    if config_path is None:
        config_path = runtime / "config.yml"
        config_path.write_text(embedded_default(data), encoding="utf-8")
    secret = shared_secret(data) if config.http.secret is None else None
    environment = service_environment(environ, runtime, secret=secret, broker_url=broker_url)
    if not await supervisor.start(backend_programs(config, config_path, runtime, environment)):
        return False
    return await supervisor.start([gateway_program(config, config_path, environment)])


def _storage(config: Configuration) -> str:
    name = config.storage.driver_name
    root = config.storage.driver_parameters.get("rootdirectory")
    return f"{name}, {root}" if root else name
