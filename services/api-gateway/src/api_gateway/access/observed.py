"""What is told of decisions about access: metrics and log; and that a controller's fault lets nobody in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from api_gateway.access.interface import AccessController, AccessRecord, ChallengeError, Grant
from api_gateway.metrics import access_decisions
from moorage.errors import ErrorCode, RegistryError

if TYPE_CHECKING:
    from api_gateway.request import Request

log = structlog.get_logger("api_gateway.access")


class Observed:
    """A controller whose decisions are counted, and whose refusals are logged.

    Counted are `granted`; `challenged`, where no credentials came; `denied`, where those that came do not do;
    and `error`.
    """

    def __init__(self, controller: AccessController, kind: str) -> None:
        self._controller = controller
        self._kind = kind
        self._granted, self._challenged, self._denied, self._error = (
            access_decisions(kind, outcome) for outcome in ("granted", "challenged", "denied", "error")
        )

    async def authorize(self, request: Request, records: Sequence[AccessRecord]) -> Grant:
        """As the controller decides; raises UNKNOWN (500) when it fails. See `AccessController`."""
        try:
            grant = await self._controller.authorize(request, records)
        except ChallengeError as error:
            if not error.reason:
                self._challenged.inc()
                raise
            self._denied.inc()
            self._log_refusal(request, records, error.reason)
            raise
        except RegistryError as error:
            (self._error if error.http_status >= 500 else self._denied).inc()
            self._log_refusal(request, records, str(error))
            raise
        except Exception:
            self._error.inc()
            log.exception("access control failed", controller=self._kind)
            raise RegistryError(ErrorCode.UNKNOWN) from None
        if not isinstance(grant, Grant):
            self._error.inc()
            log.error("access control decided nothing", controller=self._kind)
            raise RegistryError(ErrorCode.UNKNOWN)
        self._granted.inc()
        return grant

    def _log_refusal(self, request: Request, records: Sequence[AccessRecord], reason: str) -> None:
        log.warning(
            "access denied",
            controller=self._kind,
            reason=reason,
            access=" ".join(str(record) for record in records),
            **{"http.request.remoteaddr": request.record.client},
        )
