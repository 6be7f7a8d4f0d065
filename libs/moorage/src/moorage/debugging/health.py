"""What `/debug/health` shows, and who may change it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from moorage.rpc import RpcServer


class Health(Protocol):
    """How a service is: by the name of a check or of a part, a sentence that says what is wrong."""

    @property
    def errors(self) -> Mapping[str, str]:
        """What keeps it from its work; empty while it is ready."""
        ...

    @property
    def degraded(self) -> Mapping[str, str]:
        """What it does without."""
        ...


@runtime_checkable
class SwitchableHealth(Health, Protocol):
    """A health that an operator may make fail, to take an instance out of a load balancer."""

    def fail(self, name: str, reason: str) -> None:
        """Say that a check fails."""
        ...

    def recover(self, name: str) -> None:
        """Say that a check passes."""
        ...


class ServiceHealth:
    """The health of a service behind the gateway: what its gRPC health service says."""

    def __init__(self, server: RpcServer) -> None:
        self._server = server

    @property
    def errors(self) -> Mapping[str, str]:
        """See `Health.errors`."""
        if self._server.is_serving:
            return {}
        return {"serving": "the service cannot do its work; its log says why"}

    @property
    def degraded(self) -> Mapping[str, str]:
        """See `Health.degraded`."""
        return dict.fromkeys(self._server.degraded, "not well; the service's log says why")
